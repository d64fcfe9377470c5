"""What the agent plays: layers, levels of pruning, and a measurement of what they cost.

Axes: L layers in the order in which they are decided, A levels of pruning, C conditions of the
input, F input statistics, K features of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.errors import DataError, NetworkError

__all__ = ["AgentMeasurement", "AgentTask", "check_task", "random_levels"]


@dataclass(frozen=True)
class AgentMeasurement:
    """What a pruned network achieves.

    Attributes:
        accuracy: how good it is on validation rows: the task's score, negated where a small one is
            good, so that larger is always better (`rfprune.tasks.Task.merit`). The name is the one
            that measurements, records and rewards have in files.
        power: in any unit; the agent divides it by the dense network's.
        extra: further quantities for the record (time, sparsity, ...); the agent ignores them.
    """

    accuracy: float
    power: float
    extra: Mapping[str, float] = field(default_factory=dict)


class AgentTask(Protocol):
    """A network whose layers are pruned one after the other.

    A task without conditions of its own has ``conditions == 1``. With more, every episode is played
    under one of them, e.g. a clean, a noisy and a dark input, and its statistics are in the state.
    """

    @property
    def layers(self) -> Sequence[str]:
        """(L,) names of the layers, in the order in which they are decided."""

    @property
    def levels(self) -> Sequence[float]:
        """(A,) fractions of a layer that an action prunes, rising from 0."""

    @property
    def allowed(self) -> BoolArray:
        """(L, A) True where the level may be chosen; at least one in each layer."""

    @property
    def conditions(self) -> int:
        """C, the number of conditions of the input."""

    def features(self, condition: int) -> FloatArray:
        """Return (F,) statistics of the input under a condition; the same F for all."""

    def layer_features(self) -> FloatArray:
        """Return (L, K) what distinguishes the layers: size, cost, position, ..."""

    def measure(self, choice: IntArray, upto: int, condition: int) -> AgentMeasurement:
        """Return what the network achieves with its first layers pruned.

        Args:
            choice: (L,) index of the level of each layer; 0 from `upto` on.
            upto: layers that are decided; 0 = the dense network.
            condition: of the input.
        """

    def network(self, choice: IntArray, condition: int) -> tuple[int, ...]:
        """Return what names the finished network that decisions (L,) come to under a condition.

        Decisions with one name come to one network; asking measures nothing.
        """


def random_levels(allowed: BoolArray, rng: np.random.Generator) -> IntArray:
    """Return (L,) a level by index for every layer, each of those in `allowed` (L, A) as likely."""
    return np.array([rng.choice(np.flatnonzero(row)) for row in allowed])


def check_task(task: AgentTask) -> None:
    """Raise if a task contradicts itself.

    Raises:
        NetworkError: no layer to prune, or a layer without an allowed level.
        DataError: levels, features or layer features of a wrong shape, or not finite.
    """
    n_layers, n_levels = len(task.layers), len(task.levels)
    if n_layers == 0:
        raise NetworkError("the network has no layer that the agent could prune.")
    levels = np.asarray(task.levels, dtype=float)
    rising = n_levels > 0 and levels[0] == 0 and bool(np.all(np.diff(levels) > 0))
    if not rising or levels[-1] > 1:
        raise DataError(f"levels: {list(task.levels)}. Allowed: rising fractions from 0 to 1.")
    if task.allowed.shape != (n_layers, n_levels):
        raise DataError(
            f"allowed: has the shape {task.allowed.shape}, expected {(n_layers, n_levels)}."
        )
    # A state in which nothing may be done would end the episode in its middle.
    for name, row in zip(task.layers, task.allowed, strict=True):
        if not row.any():
            raise NetworkError(f"layer '{name}': no level of pruning is allowed.")
    if task.conditions < 1:
        raise DataError(f"conditions: {task.conditions}. Allowed: 1 or more.")
    of_layers = np.asarray(task.layer_features(), dtype=float)
    if of_layers.ndim != 2 or len(of_layers) != n_layers or not np.isfinite(of_layers).all():
        raise DataError(
            f"layer_features: has the shape {of_layers.shape}, expected ({n_layers}, K) finite "
            "numbers."
        )
    expected = np.shape(task.features(0))
    # All conditions share one encoder, which has one size.
    for condition in range(task.conditions):
        found = np.asarray(task.features(condition), dtype=float)
        if found.ndim != 1 or found.shape != expected or not np.isfinite(found).all():
            raise DataError(
                f"features of condition {condition}: has the shape {found.shape}, expected "
                f"{expected} finite numbers."
            )
