"""What the pruning loop works on: groups on an FPGA (`Session`), or kernels for an edge device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rfprune.methods import Choice, Method
from rfprune.spec import TrialSpec
from rfprune.training import Fit, Penalty

__all__ = ["Masks", "Snapshot", "Subject", "drawn_seed"]

#: By layer name: of the weights in the weight's shape, or of the kernels (n_kernels,).
Masks = dict[str, Tensor]


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


class Subject(Protocol):
    """One pruning run: a network, how it is trained, and how it is decided what goes."""

    @property
    def spec(self) -> TrialSpec:
        """The trial."""

    @property
    def model(self) -> nn.Module:
        """The network, changed in place."""

    @property
    def method(self) -> Method:
        """How it is chosen what stays."""

    @property
    def teacher(self) -> Tensor | None:
        """(N, classes) the dense network's probabilities on the training rows, or None."""

    @property
    def accepted_from(self) -> float:
        """Validation accuracy from which on a step is accepted."""

    def seed(self, step: int, purpose: int) -> int:
        """Return a seed that depends on the trial, the step and the purpose alone."""

    def val_accuracy(self) -> float:
        """Return the accuracy on the validation rows; it decides."""

    def accuracy(self) -> float:
        """Return the accuracy on the test rows; it is only reported."""

    def select(self, step: int, progress: float) -> Choice:
        """Return what stays at `progress` between the dense network (0) and the budgets (1)."""

    def masks(self, choice: Choice) -> Masks:
        """Return the masks of a choice."""

    def penalty(self, prices: NDArray[np.float64] | None) -> Penalty | None:
        """Return the regularizer, or None if there is none."""

    def fit(self, how: Fit, masks: Masks | None) -> None:
        """Train under masks, or the whole network."""

    def snapshot(self) -> Snapshot:
        """Return a copy of everything that training changes."""

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""


def drawn_seed(seed: int, step: int, purpose: int) -> int:
    """Return a seed that depends on these numbers alone.

    So a resumed trial draws the same numbers as one that was never interrupted.
    """
    mixed = np.random.SeedSequence([seed % 2**32, step, purpose])
    return int(mixed.generate_state(1)[0])
