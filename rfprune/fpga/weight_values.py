"""Every weight of a network is a group of its own, which has a menu of values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from math import prod
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.core.quantities import RESOURCES
from rfprune.pruning import Masks, Prunable, Purpose, Session, Values
from rfprune.spec.pruning import PruneSpec
from rfprune.training import Fit
from rfprune.training.penalty import Penalty, Watcher

__all__ = ["WeightValues", "rung_epochs"]


class SavedNumbers(Protocol):
    """What is chosen beside the weights."""

    def saved(self) -> Values:
        """Return everything as tensors by name, for a checkpoint."""

    def take(self, saved: Values) -> None:
        """Take what was saved."""


class WeightValues(Prunable):
    """What all ways to build a network of chosen values have in common.

    Attributes:
        spec: the settings.
        shapes: of the weights in torch, by layer.
        numbers: what is chosen.
    """

    coupled: ClassVar[bool] = False
    zeroes: ClassVar[bool] = True
    numbers: SavedNumbers

    def __init__(self, spec: PruneSpec, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Take the settings and the layers."""
        self.spec, self.shapes = spec, shapes
        self.resources = RESOURCES
        self.layers = tuple(shapes)
        self.sizes = (1,) * len(self.layers)
        self.weights = ()

    @property
    def counts(self) -> IntArray:
        """(L,) weights of each layer."""
        return np.array([prod(shape) for shape in self.shapes.values()], dtype=np.int64)

    @property
    def floor(self) -> IntArray:
        """(L,) zeros: what nothing flows through is found by the tolerance."""
        return np.zeros(len(self.layers), dtype=np.int64)

    @property
    def fixed(self) -> FloatArray:
        """(R,) zeros."""
        return np.zeros(len(RESOURCES))

    @property
    def least(self) -> dict[str, float]:
        """Nothing: every weight may be zero."""
        return dict.fromkeys(RESOURCES, 0.0)

    def used(self, keep: BoolArray) -> FloatArray:
        """Return (R,) what all weights in `keep` (G,) hold with all of their digits."""
        return np.asarray(self.cost(keep)[keep].sum(axis=0))

    def masks(self, keep: BoolArray) -> Masks:
        """Return masks of the weights in `keep` (G,), in torch's shapes, by layer name."""
        parts = np.split(keep, np.cumsum(self.counts)[:-1])
        return {
            name: torch.from_numpy(part.reshape(shape)).float()
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def kept(self, masks: Masks | None) -> BoolArray:
        """Return (G,) which weights a mask leaves; None = all."""
        if masks is None:
            return np.ones(int(self.counts.sum()), dtype=bool)
        return np.concatenate([masks[name].cpu().numpy().reshape(-1) != 0 for name in self.layers])

    def by_parameter(self, masks: Masks) -> dict[str, Tensor]:
        """Nothing: weights that are zero now keep a value from which they can come back."""
        return {}

    def masked(self, model: nn.Module, masks: Masks) -> AbstractContextManager[Any]:
        """The numbers say what is zero."""
        return nullcontext()

    def values(self) -> Values | None:
        """Return the numbers as tensors by name."""
        return self.numbers.saved()

    def take(self, values: Values | None) -> None:
        """Go back to numbers that were saved."""
        if values is not None:
            self.numbers.take(values)

    def fit(self, session: Session, step: int, watcher: Watcher, penalty: Penalty | None) -> None:
        """Train the epochs of a rung."""
        how = self.how(session, step)
        session.fit(replace(how, watcher=watcher, penalty=penalty), None)

    def how(self, session: Session, step: int) -> Fit:
        """Return how a rung is trained, but for what is called around every update."""
        usual = self.spec.learning_rate_schedule or "cosine"
        return Fit(
            epochs=rung_epochs(self.spec, step),
            learning_rate=self.spec.learning_rate or session.spec.train.learning_rate,
            train=session.spec.train.model_copy(update={"learning_rate_schedule": usual}),
            seed=session.seed(step, Purpose.MASKED),
            teacher=session.teacher,
            distillation=self.spec.distillation,
        )


def rung_epochs(spec: PruneSpec, step: int) -> int:
    """Return the epochs of a step, from 1: few while the network is large and loses little."""
    early = spec.widths.early
    risen = min(1.0, (step - 1) / max(spec.steps // 2, 1))
    return max(1, round(spec.epochs_per_step * (early + (1 - early) * risen)))
