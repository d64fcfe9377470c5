"""One pruning run on the kernels of a CNN: what the loop of `rfprune.pruning` works on."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.arrays import BoolArray, FloatArray, IntArray
from rfprune.edge.conditions import under_conditions
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.penalty import kernel_penalty
from rfprune.edge.task import KernelTask, Scene
from rfprune.edge.values import kernel_values
from rfprune.kernels import KernelMap, masked, shrink
from rfprune.kernels import Masks as KernelMasks
from rfprune.methods import Choice, Problem, check_choice
from rfprune.methods.coupled import select_coupled
from rfprune.pruning import Purpose, Snapshot, Subject
from rfprune.pruning.subject import Masks
from rfprune.quantities import EDGE_RESOURCES
from rfprune.scores import NORMALIZERS
from rfprune.spec import EdgeSpec
from rfprune.training import Fit, Penalty, evaluate, fit

__all__ = ["KernelSession"]


@dataclass(kw_only=True)
class KernelSession(Subject):
    """The network with its kernels, data and method.

    Pruned kernels keep their weights and are masked, so that a later step may take them back.
    Between two calls the model is whole, that is, not masked. Without a budget (`fractions` is
    empty) the agent's reward decides how much goes.

    Attributes:
        costs: of what is kept, on the device of the trial.
        floor: (L,) kernels that each layer keeps at least.
        agent_dir: where the agent keeps its checkpoints, one folder per step; None = nowhere.
        left: kernels that are left since the last training; None = all.
        dense: the network before anything was pruned, which the agent plays on.
    """

    costs: EdgeCosts
    floor: IntArray
    agent_dir: Path | None = None
    left: KernelMasks | None = None
    dense: nn.Module = field(init=False)

    score_rows: ClassVar[int] = 2048
    score_batch: ClassVar[int] = 256

    def __post_init__(self) -> None:
        """Keep a copy of the dense network."""
        self.dense = copy.deepcopy(self.model).eval()

    @property
    def kernels(self) -> KernelMap:
        """The kernels of the network."""
        return self.costs.kernels

    @property
    def edge(self) -> EdgeSpec:
        """The device's section of the trial."""
        assert self.spec.edge is not None
        return self.spec.edge

    @property
    def kept(self) -> IntArray:
        """(L,) kernels that are left."""
        return self.kernels.n_kernels if self.left is None else self.left.kept

    @property
    def dense_use(self) -> dict[str, float]:
        """What the dense network uses of each of `EDGE_RESOURCES`."""
        return dict(zip(EDGE_RESOURCES, self.costs.dense.tolist(), strict=True))

    def as_deployed(self) -> AbstractContextManager[Any]:
        """While open, the model computes what it does without the pruned kernels."""
        return nullcontext() if self.left is None else masked(self.model, self.left)

    def fit(self, how: Fit, masks: Masks | None) -> None:
        """Train under masks, or the whole network; what is left afterwards is what was trained."""
        self.left = None if masks is None else KernelMasks(self.kernels, masks)
        with self.as_deployed():
            fit(self.model, self.data.x_train, self.data.y_train, how)

    def masks(self, choice: Choice) -> Masks:
        """Return which kernels stay, by layer."""
        sizes = self.kernels.n_kernels.tolist()
        parts = torch.split(torch.from_numpy(choice.keep), sizes)
        return {layer.name: part for layer, part in zip(self.kernels.prunable, parts, strict=True)}

    def snapshot(self) -> Snapshot:
        """Return a copy of the weights, and which kernels are left."""
        return Snapshot.of(self.model, None if self.left is None else dict(self.left))

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""
        self.model.load_state_dict(snapshot.weights)
        left = snapshot.masks
        self.left = None if left is None else KernelMasks(self.kernels, left)

    def penalty(self, prices: FloatArray | None) -> Penalty | None:
        """Return the regularizer on the prunable convolutions, or None if its weight is 0.

        Args:
            prices: not looked at; what a kernel costs depends on the others.
        """
        regularizer = self.spec.prune.regularizer
        if self.method.penalty == "none" or regularizer.weight == 0:
            return None
        paths = [path for layer in self.kernels.prunable for path in layer.convs]
        weights = [self.model.get_parameter(f"{path}.weight") for path in paths]
        return kernel_penalty(weights, regularizer.weight, self.method.penalty, regularizer.form)

    def select(self, step: int, progress: float) -> Choice:
        """Return which kernels the method keeps at `progress` of the budgets."""
        problem = self._problem(step, progress)
        choice = select_coupled(self.method, problem, self._costs_beside)
        check_choice(problem, choice)
        return choice

    def _problem(self, step: int, progress: float) -> Problem:
        budget = self.budget(progress)
        task = self._task(step, budget) if self.method.learns else None
        removable = np.array([layer.removable for layer in self.kernels.prunable])
        return Problem(
            value=self._values(step),
            cost=self.costs.marginal(self.kept)[self._layer_index],
            budget=budget,
            layer=self._layer_index,
            # The agent's levels say themselves what is left of a layer.
            floor=self.floor if task is None else np.where(removable, 0, 1),
            used=lambda keep: self.costs.resources(self._counts(keep)),
            rng=self.rng(step, Purpose.SELECT),
            agent=self.spec.prune.agent,
            task=task,
            tuned=lambda keep: self._tuned_accuracy(step, keep),
            agent_folder=None if self.agent_dir is None else self.agent_dir / f"{step:03d}",
            resources=EDGE_RESOURCES,
        )

    @cached_property
    def _layer_index(self) -> IntArray:
        return np.repeat(np.arange(len(self.kernels.prunable)), self.kernels.n_kernels)

    def _counts(self, keep: BoolArray) -> IntArray:
        return np.bincount(self._layer_index[keep], minlength=len(self.kernels.prunable))

    def _costs_beside(self, keep: BoolArray) -> FloatArray:
        return self.costs.marginal(self._counts(keep))[self._layer_index]

    def _values(self, step: int) -> FloatArray:
        """Return (G,) what each kernel is worth; nothing if it is pruned already."""
        rng, batches = self.rng(step, Purpose.SCORE), self.score_batches()
        with self.as_deployed():
            found = kernel_values(self.model, self.kernels, self._score, batches, rng)
        scale = NORMALIZERS[self.spec.prune.normalize]
        parts = []
        for layer in self.kernels.prunable:
            value = scale(found[layer.name], layer.weights_per_kernel)
            parts.append(value if self.left is None else value * self.left[layer.name])
        return torch.cat(parts).numpy().astype(np.float64)

    @property
    def _score(self) -> str:
        return self.method.kernel_score or self.spec.prune.score

    def _task(self, step: int, budget: FloatArray) -> KernelTask:
        """Return what the agent plays: always on the dense network, within this step's budget."""
        limit = budget if np.isfinite(budget).any() else None
        return KernelTask(
            self.dense,
            self.costs,
            self._dense_values,
            self.edge.levels,
            self._scene,
            limit,
            self._known_accuracies,
        )

    def _tuned_accuracy(self, step: int, keep: BoolArray) -> float:
        """Return what a smaller copy reaches on the validation rows after a short fine-tuning."""
        smaller = shrink(self.model, KernelMasks(self.kernels, self.masks(Choice(keep))))
        prune, train = self.spec.prune, self.spec.train
        how = Fit(
            epochs=prune.agent.shortlist_epochs,
            learning_rate=prune.learning_rate or train.learning_rate,
            train=train.model_copy(update={"learning_rate_schedule": "cosine"}),
            seed=self.seed(step, Purpose.SHORTLIST),
        )
        fit(smaller, self.data.x_train, self.data.y_train, how)
        return evaluate(smaller, self.data.x_val, self.data.y_val)

    @cached_property
    def _known_accuracies(self) -> dict[tuple[int, ...], float]:
        """Every step plays on the same network, so none measures what another one has."""
        return {}

    @cached_property
    def _dense_values(self) -> dict[str, Tensor]:
        rng, batches = self.rng(0, Purpose.SCORE), self.score_batches()
        return kernel_values(self.dense, self.kernels, self.spec.prune.score, batches, rng)

    @cached_property
    def _scene(self) -> Scene:
        rows = min(self.edge.agent_rows, len(self.data.y_val))
        x = self.data.x_val[:rows]
        inputs = under_conditions(x, self.data, self.edge.conditions, self.seed(0, Purpose.NOISE))
        return Scene(inputs, self.data.y_val[:rows], self._settling_rows(), self.edge.agent_measure)

    def _settling_rows(self) -> Tensor | None:
        """Return rows drawn from the training rows, which may be sorted by class."""
        rows = min(self.edge.settling_rows, len(self.data.y_train))
        drawn = self.rng(0, Purpose.SETTLE).choice(len(self.data.y_train), rows, replace=False)
        index = torch.from_numpy(drawn)
        x = self.data.x_train
        return x.index_select(0, index.to(x.device)) if rows else None
