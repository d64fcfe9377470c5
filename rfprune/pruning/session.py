"""Everything that one pruning run works on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.data import Dataset, Rows
from rfprune.groups import Groups, Masks
from rfprune.methods import Choice, Method, Problem, check_choice
from rfprune.pruning.budget import step_budget
from rfprune.pruning.subject import Snapshot, drawn_seed
from rfprune.quantities import RESOURCES
from rfprune.scores import score_groups
from rfprune.spec.trial import TrialSpec
from rfprune.training import (
    Fit,
    Penalty,
    evaluate,
    fit,
    fixed_point,
    group_penalty,
    weight_penalty,
)

__all__ = ["Session"]

#: Training rows that gradient-based scores look at, and their batch size.
_SCORE_ROWS, _SCORE_BATCH = 4096, 512


@dataclass(frozen=True)
class Session:
    """One pruning run: the network with its data, groups and method.

    Attributes:
        spec: the trial.
        model: changed in place.
        data: on the model's device.
        groups: the groups that are pruned.
        method: how they are chosen.
        fractions: final budget by resource, as a fraction of dense.
        dense_val_accuracy: reference of the tolerance.
        teacher: (N, classes) the dense network's probabilities on the training rows, or None.
    """

    spec: TrialSpec
    model: nn.Module
    data: Dataset
    groups: Groups
    method: Method
    fractions: dict[str, float]
    dense_val_accuracy: float
    teacher: Tensor | None = None

    @property
    def accepted_from(self) -> float:
        """Validation accuracy from which on a step is accepted."""
        return (1 - self.spec.prune.tolerance) * self.dense_val_accuracy

    def seed(self, step: int, purpose: int) -> int:
        """Return a seed that depends on the trial, the step and the purpose alone."""
        return drawn_seed(self.spec.seed, step, purpose)

    def val_accuracy(self) -> float:
        """Return the accuracy on the validation rows; it decides."""
        return self._accuracy(self.data.x_val, self.data.y_val)

    def accuracy(self) -> float:
        """Return the accuracy on the test rows; it is only reported."""
        return self._accuracy(self.data.x_test, self.data.y_test)

    def _accuracy(self, x: Rows, y: Tensor) -> float:
        with fixed_point(self.model, self.groups.plan, self.spec.prune.fixed_point):
            return evaluate(self.model, x, y)

    def select(self, step: int, progress: float) -> Choice:
        """Return which groups the method keeps at `progress` of the budgets."""
        prune, rng = self.spec.prune, np.random.default_rng(self.seed(step, 1))
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
        with fixed_point(self.model, self.groups.plan, self.spec.prune.fixed_point):
            fit(self.model, self.data.x_train, self.data.y_train, replace(how, masks=by_path))

    def snapshot(self) -> Snapshot:
        """Return a copy of the weights; what is pruned is zero among them."""
        return Snapshot.of(self.model, None)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""
        self.model.load_state_dict(snapshot.weights)

    def score_batches(self) -> list[tuple[Tensor, Tensor]]:
        """Return training rows for gradient-based scores; always the same ones."""
        x, y = self.data.x_train[:_SCORE_ROWS], self.data.y_train[:_SCORE_ROWS]
        size = _SCORE_BATCH
        return list(zip(torch.split(x, size), torch.split(y, size), strict=True))

    def problem(self, value: np.ndarray, progress: float, step: int) -> Problem:
        """Return the selection problem of one step."""
        groups = self.groups

        def used(keep: np.ndarray) -> np.ndarray:
            return groups.used_when(keep) - groups.fixed

        return Problem(
            value=value,
            cost=groups.cost,
            budget=np.maximum(step_budget(groups, self.fractions, progress) - groups.fixed, 0.0),
            layer=groups.layer_index,
            floor=groups.floor,
            used=used,
            rng=np.random.default_rng(self.seed(step, 2)),
            accuracy=self.masked_accuracy,
            agent=self.spec.prune.agent,
        )

    def masked_accuracy(self, keep: np.ndarray) -> float:
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

    def penalty(self, prices: np.ndarray | None) -> Penalty | None:
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

    def _strength(self, index: int, prices: np.ndarray | None) -> Tensor:
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

    def price_table(self, prices: np.ndarray | None) -> dict[str, float]:
        """Return prices by resource, for those that have a budget."""
        if prices is None:
            return {}
        return {name: float(prices[RESOURCES.index(name)]) for name in self.fractions}
