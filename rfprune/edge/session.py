"""One pruning run on the kernels of a CNN: what the loop of `rfprune.pruning` works on."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rfprune.data import Dataset, Rows
from rfprune.edge.conditions import under_conditions
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.penalty import kernel_penalty
from rfprune.edge.task import KernelTask, Scene
from rfprune.edge.values import kernel_values
from rfprune.kernels import KernelMap, masked
from rfprune.kernels import Masks as KernelMasks
from rfprune.methods import Choice, Method, Problem, check_choice
from rfprune.methods.coupled import select_coupled
from rfprune.pruning import Snapshot
from rfprune.pruning.subject import Masks, drawn_seed
from rfprune.quantities import EDGE_RESOURCES
from rfprune.scores import NORMALIZERS
from rfprune.spec import EdgeSpec, TrialSpec
from rfprune.training import Fit, Penalty, evaluate, fit

__all__ = ["KernelSession"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
#: Training rows that gradient-based scores look at, and their batch size.
_SCORE_ROWS, _SCORE_BATCH = 2048, 256
#: What random numbers are drawn for, beside those of the loop; see `Subject.seed`.
_SCORE, _SELECT, _NOISE = 1, 2, 5


@dataclass
class KernelSession:
    """The network with its kernels, data and method; a `rfprune.pruning.Subject`.

    Pruned kernels keep their weights and are masked, so that a later step may take them back.

    Attributes:
        spec: the trial.
        model: changed in place; whole, that is, not masked, between two calls.
        data: on the model's device.
        costs: of what is kept, on the device of the trial.
        method: how it is chosen.
        fractions: final budget by resource, as a fraction of dense; empty = the agent's reward
            decides.
        floor: (L,) kernels that each layer keeps at least.
        dense_val_accuracy: reference of the tolerance.
        teacher: (N, classes) the dense network's probabilities on the training rows, or None.
        agent_dir: where the agent keeps its checkpoints, one folder per step; None = nowhere.
        left: kernels that are left since the last training; None = all.
    """

    spec: TrialSpec
    model: nn.Module
    data: Dataset
    costs: EdgeCosts
    method: Method
    fractions: dict[str, float]
    floor: NDArray[np.int64]
    dense_val_accuracy: float
    teacher: Tensor | None = None
    agent_dir: Path | None = None
    left: KernelMasks | None = None
    dense: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        """Keep the dense network, which the agent plays on."""
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
    def accepted_from(self) -> float:
        """Validation accuracy from which on a step is accepted."""
        return (1 - self.spec.prune.tolerance) * self.dense_val_accuracy

    @property
    def kept(self) -> NDArray[np.int64]:
        """(L,) kernels that are left."""
        return self.kernels.n_kernels if self.left is None else self.left.kept

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
        with self.pruned():
            return evaluate(self.model, x, y)

    def pruned(self) -> AbstractContextManager[Any]:
        """While open, the model computes what it does without the pruned kernels."""
        return nullcontext() if self.left is None else masked(self.model, self.left)

    def fit(self, how: Fit, masks: Masks | None) -> None:
        """Train under masks, or the whole network; what is left afterwards is what was trained."""
        self.left = None if masks is None else KernelMasks(self.kernels, masks)
        with self.pruned():
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
        """Return the regularizer on the prunable convolutions, or None if its weight is 0."""
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
        budget = self._budget(progress)
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
            rng=np.random.default_rng(self.seed(step, _SELECT)),
            agent=self.spec.prune.agent,
            task=task,
            agent_folder=None if self.agent_dir is None else self.agent_dir / f"{step:03d}",
            resources=EDGE_RESOURCES,
        )

    @cached_property
    def _layer_index(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.kernels.prunable)), self.kernels.n_kernels)

    def _counts(self, keep: BoolArray) -> NDArray[np.int64]:
        return np.bincount(self._layer_index[keep], minlength=len(self.kernels.prunable))

    def _costs_beside(self, keep: BoolArray) -> FloatArray:
        return self.costs.marginal(self._counts(keep))[self._layer_index]

    def _budget(self, progress: float) -> FloatArray:
        """Return (R,) the budget at `progress` between dense (0) and final (1); inf = no limit."""
        final = np.array([self.fractions.get(name, np.inf) for name in EDGE_RESOURCES])
        limited = np.isfinite(final)
        shares = np.where(limited, 1 - progress * (1 - np.where(limited, final, 1.0)), np.inf)
        return np.where(limited, shares * self.costs.dense, np.inf)

    def _values(self, step: int) -> FloatArray:
        """Return (G,) what each kernel is worth; nothing if it is pruned already."""
        rng = np.random.default_rng(self.seed(step, _SCORE))
        with self.pruned():
            found = kernel_values(self.model, self.kernels, self._score, self._score_batches(), rng)
        scale = NORMALIZERS[self.spec.prune.normalize]
        parts = []
        for layer in self.kernels.prunable:
            value = scale(found[layer.name], layer.weights_per_kernel)
            parts.append(value if self.left is None else value * self.left[layer.name])
        return torch.cat(parts).numpy().astype(np.float64)

    @property
    def _score(self) -> str:
        """The score that the method is named after, else that of the file."""
        return {"magnitude": "l2", "l1": "l1"}.get(self.spec.prune.method, self.spec.prune.score)

    def _score_batches(self) -> list[tuple[Tensor, Tensor]]:
        x, y = self.data.x_train[:_SCORE_ROWS], self.data.y_train[:_SCORE_ROWS]
        pairs = zip(torch.split(x, _SCORE_BATCH), torch.split(y, _SCORE_BATCH), strict=True)
        return list(pairs)

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

    @cached_property
    def _known_accuracies(self) -> dict[tuple[int, ...], float]:
        """Every step plays on the same network, so none measures what another one has."""
        return {}

    @cached_property
    def _dense_values(self) -> dict[str, Tensor]:
        rng = np.random.default_rng(self.seed(0, _SCORE))
        score, batches = self.spec.prune.score, self._score_batches()
        return kernel_values(self.dense, self.kernels, score, batches, rng)

    @cached_property
    def _scene(self) -> Scene:
        rows = min(self.edge.agent_rows, len(self.data.y_val))
        x = self.data.x_val[:rows]
        inputs = under_conditions(x, self.data, self.edge.conditions, self.seed(0, _NOISE))
        return Scene(inputs, self.data.y_val[:rows])
