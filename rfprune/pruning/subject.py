"""What the pruning loop works on: groups on an FPGA (`Session`), or kernels for an edge device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.arrays import FloatArray
from rfprune.data import Dataset, Rows
from rfprune.methods import Choice, Method
from rfprune.pruning.budget import step_budget, step_fractions
from rfprune.spec import TrialSpec
from rfprune.training import Fit, Penalty, evaluate

__all__ = ["Masks", "Purpose", "Snapshot", "Subject", "drawn_seed"]

#: By layer name: of the weights in the weight's shape, or of the kernels (n_kernels,).
Masks = dict[str, Tensor]


@unique
class Purpose(IntEnum):
    """What random numbers of a step are drawn for; a number once given keeps its meaning.

    Otherwise a trial that an earlier version began would not go on with the same numbers.
    """

    MASKED = 0  #: fine-tuning under masks
    SCORE = 1
    SELECT = 2
    UNMASKED = 3  #: warm-up, and training in which what was pruned may come back
    RELEASE = 4  #: fine-tuning without the regularizer
    NOISE = 5  #: of the inputs that an agent sees
    SETTLE = 6  #: rows on which batch norms are settled before an agent measures
    SHORTLIST = 7  #: fine-tuning of the agent's best networks, of which one is kept


@dataclass(frozen=True)
class Snapshot:
    """Where a subject stood.

    Attributes:
        weights: a copy of the model's state.
        masks: of the last training, None if it had none.
    """

    weights: dict[str, Tensor]
    masks: Masks | None

    @classmethod
    def of(cls, model: nn.Module, masks: Masks | None) -> Snapshot:
        """Copy the state of `model`."""
        return cls({name: v.detach().clone() for name, v in model.state_dict().items()}, masks)


@dataclass(kw_only=True)
class Subject(ABC):
    """One pruning run: a network, how it is trained, and how it is decided what goes.

    Attributes:
        spec: the trial.
        model: changed in place.
        data: on the model's device.
        method: how it is chosen what stays.
        fractions: final budget by resource, as a fraction of dense; empty = no budget.
        dense_val_accuracy: reference of the tolerance.
        teacher: (N, classes) the dense network's probabilities on the training rows, or None.
    """

    spec: TrialSpec
    model: nn.Module
    data: Dataset
    method: Method
    fractions: dict[str, float]
    dense_val_accuracy: float
    teacher: Tensor | None = None

    #: Training rows that gradient-based scores look at, and how many of them at once.
    score_rows: ClassVar[int]
    score_batch: ClassVar[int]

    @property
    def accepted_from(self) -> float:
        """Validation accuracy from which on a step is accepted."""
        return (1 - self.spec.prune.tolerance) * self.dense_val_accuracy

    def seed(self, step: int, purpose: Purpose) -> int:
        """Return a seed that depends on the trial, the step and the purpose alone."""
        return drawn_seed(self.spec.seed, step, purpose)

    def rng(self, step: int, purpose: Purpose) -> np.random.Generator:
        """Return random numbers that depend on the trial, the step and the purpose alone."""
        return np.random.default_rng(self.seed(step, purpose))

    def val_accuracy(self) -> float:
        """Return the accuracy on the validation rows; it decides."""
        return self._accuracy(self.data.x_val, self.data.y_val)

    def accuracy(self) -> float:
        """Return the accuracy on the test rows; it is only reported."""
        return self._accuracy(self.data.x_test, self.data.y_test)

    def _accuracy(self, x: Rows, y: Tensor) -> float:
        with self.as_deployed():
            return evaluate(self.model, x, y)

    def score_batches(self) -> list[tuple[Tensor, Tensor]]:
        """Return training rows for gradient-based scores; always the same ones."""
        x, y = self.data.x_train[: self.score_rows], self.data.y_train[: self.score_rows]
        size = self.score_batch
        return list(zip(torch.split(x, size), torch.split(y, size), strict=True))

    def budget(self, progress: float) -> FloatArray:
        """Return (R,) the budget at `progress` between dense (0) and final (1); inf = no limit."""
        return step_budget(self.dense_use, self.fractions, progress)

    def budget_fractions(self, progress: float) -> dict[str, float]:
        """Return each budget at `progress` as a fraction of the dense network's use."""
        return step_fractions(self.fractions, progress)

    @property
    @abstractmethod
    def dense_use(self) -> dict[str, float]:
        """What the dense network uses of each resource, in the order of the resource axis."""

    @abstractmethod
    def as_deployed(self) -> AbstractContextManager[Any]:
        """While open, the model computes, and is trained, as it will be on its device."""

    @abstractmethod
    def select(self, step: int, progress: float) -> Choice:
        """Return what the method keeps at `progress` of the budgets."""

    @abstractmethod
    def masks(self, choice: Choice) -> Masks:
        """Return the masks of a choice, by layer name."""

    @abstractmethod
    def penalty(self, prices: FloatArray | None) -> Penalty | None:
        """Return the regularizer, or None if there is none.

        Args:
            prices: (R,) of the step's selection, or None.
        """

    @abstractmethod
    def fit(self, how: Fit, masks: Masks | None) -> None:
        """Train under masks, or the whole network."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Return a copy of everything that training changes."""

    @abstractmethod
    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""


def drawn_seed(seed: int, step: int, purpose: int) -> int:
    """Return a seed that depends on these numbers alone.

    So a resumed trial draws the same numbers as one that was never interrupted.
    """
    mixed = np.random.SeedSequence([seed % 2**32, step, purpose])
    return int(mixed.generate_state(1)[0])
