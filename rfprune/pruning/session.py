"""One pruning run on the groups of an FPGA."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rfprune.arrays import BoolArray, FloatArray
from rfprune.groups import Groups, Masks
from rfprune.methods import Choice, Problem, check_choice
from rfprune.pruning.budget import dense_use
from rfprune.pruning.subject import Purpose, Snapshot, Subject
from rfprune.quantities import RESOURCES
from rfprune.scores import score_groups
from rfprune.training import Fit, Penalty, fit, fixed_point, group_penalty, weight_penalty

__all__ = ["Session"]


@dataclass(kw_only=True)
class Session(Subject):
    """The network with its data, groups and method.

    What is pruned is zero among the model's weights.

    Attributes:
        groups: the groups that are pruned.
    """

    groups: Groups

    score_rows: ClassVar[int] = 4096
    score_batch: ClassVar[int] = 512

    @property
    def dense_use(self) -> dict[str, float]:
        """What the dense network's weights hold of each resource."""
        return dense_use(self.groups)

    def as_deployed(self) -> AbstractContextManager[Any]:
        """While open, the model computes in its hls4ml types if the trial asks for that."""
        return fixed_point(self.model, self.groups.plan, self.spec.prune.fixed_point)

    def select(self, step: int, progress: float) -> Choice:
        """Return which groups the method keeps at `progress` of the budgets."""
        prune, rng = self.spec.prune, self.rng(step, Purpose.SCORE)
        batches = self.score_batches()
        value = score_groups(self.model, self.groups, prune.score, prune.normalize, batches, rng)
        problem = self.problem(value, progress, step)
        choice = self.method.select(problem)
        check_choice(problem, choice)
        return choice

    def masks(self, choice: Choice) -> Masks:
        """Return the weight masks of a choice, by layer name."""
        return self.groups.masks(choice.keep)

    def fit(self, how: Fit, masks: Masks | None) -> None:
        """Train under masks, through the layers' types if the trial asks for that."""
        by_path = None if masks is None else self.masks_by_path(masks)
        with self.as_deployed():
            fit(self.model, self.data.x_train, self.data.y_train, replace(how, masks=by_path))

    def snapshot(self) -> Snapshot:
        """Return a copy of the weights; what is pruned is zero among them."""
        return Snapshot.of(self.model, None)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""
        self.model.load_state_dict(snapshot.weights)

    def problem(self, value: FloatArray, progress: float, step: int) -> Problem:
        """Return the selection problem of one step.

        Args:
            value: (G,) what each group is worth.
            progress: of the budgets, 0 = dense, 1 = final.
            step: number of the step, for random numbers.
        """
        groups = self.groups

        def used(keep: BoolArray) -> FloatArray:
            return groups.used_when(keep) - groups.fixed

        return Problem(
            value=value,
            cost=groups.cost,
            budget=np.maximum(self.budget(progress) - groups.fixed, 0.0),
            layer=groups.layer_index,
            floor=groups.floor,
            used=used,
            rng=self.rng(step, Purpose.SELECT),
            accuracy=self.masked_accuracy,
            agent=self.spec.prune.agent,
        )

    def masked_accuracy(self, keep: BoolArray) -> float:
        """Return the validation accuracy with only the groups in `keep` (G,), not fine-tuned."""
        masks = self.masks_by_path(self.groups.masks(keep))
        weights = {path: self.model.get_parameter(f"{path}.weight") for path in masks}
        before = {path: weight.detach().clone() for path, weight in weights.items()}
        with torch.no_grad():
            try:
                for path, mask in masks.items():
                    weights[path].mul_(mask.to(weights[path].device))
                return self.val_accuracy()
            finally:
                for path, weight in weights.items():
                    weight.copy_(before[path])

    def penalty(self, prices: FloatArray | None) -> Penalty | None:
        """Return the regularizer, or None if its weight is 0 in every layer.

        A group's factor is ``weight * sqrt(weights in the group)`` (Yuan and Lin 2006), so that one
        weight suits layers of different reuse factors. With ``prune.regularizer.priced`` it is
        multiplied by ``1 + price . cost / mean``: more for what occupies scarce resources.
        """
        if self.method.penalty == "none":
            return None
        strength = [self._strength(index, prices) for index in range(len(self.groups.layers))]
        if all(float(s.max()) == 0 for s in strength):
            return None
        build = group_penalty if self.method.penalty == "group" else weight_penalty
        form = self.spec.prune.regularizer.form
        return build(self.model, self.groups, strength, form == "proximal")

    def _strength(self, index: int, prices: FloatArray | None) -> Tensor:
        layer = self.groups.layers[index]
        own = self.spec.prune.layers.get(layer.plan.name)
        regularizer = self.spec.prune.regularizer
        weight = regularizer.weight
        if own is not None and own.regularizer_weight is not None:
            weight = own.regularizer_weight
        factor = np.ones(layer.count)
        if regularizer.priced and prices is not None:
            # A resource without a limit has no price; the mean makes the factor unit-free.
            finite = np.where(np.isfinite(prices), prices, 0.0)
            worth = layer.cost @ finite
            mean = float((self.groups.cost @ finite).mean())
            factor = 1.0 + worth / mean if mean > 0 else factor
        size = layer.size**0.5 if self.method.penalty == "group" else 1.0
        return torch.from_numpy(weight * size * factor).to(torch.float32)

    def masks_by_path(self, masks: Masks) -> dict[str, Tensor]:
        """Return masks by torch path instead of layer name."""
        paths = {layer.plan.name: layer.plan.layer.path for layer in self.groups.layers}
        return {paths[name]: mask for name, mask in masks.items()}

    def price_table(self, prices: FloatArray | None) -> dict[str, float]:
        """Return (R,) prices by resource, for those that have a budget."""
        if prices is None:
            return {}
        return {name: float(prices[RESOURCES.index(name)]) for name in self.fractions}
