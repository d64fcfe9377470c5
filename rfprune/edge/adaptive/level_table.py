"""What each level achieves under each condition of the input, as it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.edge.adaptive.slimmable import SlimmableNetwork
from rfprune.edge.monitor import Reading, input_statistics
from rfprune.errors import DataError
from rfprune.methods.agent_task import AgentMeasurement
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.training import evaluate

__all__ = ["LevelTable", "LevelTask", "measure_levels"]


@dataclass(frozen=True, eq=False)
class LevelTable:
    """Accuracy and power of A levels under C conditions, and how to tell the conditions apart.

    The power of a level does not depend on the input: dense arithmetic takes what it takes.

    Attributes:
        conditions: (C,) names.
        statistics: (F,) names of the input statistics.
        mean: (C, F) input statistics of each condition.
        scale: (F,) their standard deviation over the images of one condition.
        accuracy: (C, A) the task's score, negated where a small one is good (`Task.merit`).
        power_mw: (A,).
        power_source: how the power was found: measured or estimated, and from what.

    Raises:
        DataError: arrays of contradicting shapes, or values that are not finite.
    """

    conditions: tuple[str, ...]
    statistics: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    accuracy: FloatArray
    power_mw: FloatArray
    power_source: str

    def __post_init__(self) -> None:
        n_conditions, n_statistics = len(self.conditions), len(self.statistics)
        n_levels = len(self.power_mw)
        expected = {
            "mean": (n_conditions, n_statistics),
            "scale": (n_statistics,),
            "accuracy": (n_conditions, n_levels),
            "power_mw": (n_levels,),
        }
        for name, shape in expected.items():
            values = np.asarray(getattr(self, name), dtype=float)
            if values.shape != shape or not np.isfinite(values).all() or 0 in shape:
                raise DataError(
                    f"level table: {name} has the shape {values.shape}, expected {shape} finite "
                    "numbers."
                )
            object.__setattr__(self, name, values)
        if (self.power_mw <= 0).any() or (self.scale <= 0).any():
            raise DataError("level table: power_mw and scale must be above 0.")

    def nearest(self, features: FloatArray) -> int:
        """Return the condition whose statistics are nearest to (F,) those of a batch.

        In units of the spread over images, as a linear discriminant with independent statistics.

        Raises:
            DataError: another number of statistics, or one that is not finite.
        """
        # Lists: it is asked for every batch, and arrays are slower for so few numbers.
        given = features.tolist()
        if len(given) != len(self.statistics) or not all(map(math.isfinite, given)):
            raise DataError(
                f"input statistics: {given}; expected {len(self.statistics)} finite numbers "
                f"({', '.join(self.statistics)})."
            )
        scale = self.scale.tolist()
        distances = [
            sum(((m - x) / s) ** 2 for m, x, s in zip(mean, given, scale, strict=True))
            for mean in self.mean.tolist()
        ]
        return distances.index(min(distances))


def measure_levels(
    network: SlimmableNetwork,
    rows: Mapping[str, Tensor],
    y: Any,
    power: Sequence[Reading],
    task: Task | None = None,
    weight: Tensor | None = None,
) -> LevelTable:
    """Measure the accuracy of every level under every condition.

    Args:
        network: fitted.
        rows: condition to (N, ...) validation rows as they look under it.
        y: their targets.
        task: whose merit stands for accuracy; classification if not given.
        power: (A,) mean power of each level, as a meter or `EdgeCosts.readings` gives it.
        weight: (N,) of the rows, or None.

    Raises:
        DataError: no condition, or another number of powers than levels.
    """
    if not rows or len(power) != len(network.levels):
        raise DataError(
            f"{len(rows)} conditions and {len(power)} powers for {len(network.levels)} levels; "
            "give at least one condition, and one power per level."
        )
    task = task or make_task(TaskSpec())
    found = {name: input_statistics(x) for name, x in rows.items()}
    accuracy = [
        [
            task.merit(evaluate(network.at(level), x, y, task, weight))
            for level in range(len(network.levels))
        ]
        for x in rows.values()
    ]
    # Within a condition: the distance between conditions is what it has to be compared with.
    variance = np.mean([part.values.var(axis=0) for part in found.values()], axis=0)
    return LevelTable(
        conditions=tuple(found),
        statistics=next(iter(found.values())).names,
        mean=np.stack([part.mean for part in found.values()]),
        # Rounding alone makes a spread where all images are alike.
        scale=np.maximum(np.sqrt(variance), 1e-6),
        accuracy=np.array(accuracy),
        power_mw=np.array([reading.value for reading in power]),
        power_source="; ".join(dict.fromkeys(f"{p.kind}: {p.source}" for p in power)),
    )


class LevelTask:
    """A table as the task of an agent: one decision, the level of the whole network."""

    layers = ("network",)

    def __init__(self, table: LevelTable, fractions: Sequence[float]) -> None:
        """Take a table and (A,) how much each level prunes, e.g. `Levels.sparsity`."""
        self._table = table
        self.levels = tuple(fractions)
        self.allowed: BoolArray = np.ones((1, len(self.levels)), dtype=bool)
        self.conditions = len(table.conditions)

    def features(self, condition: int) -> FloatArray:
        """Return (F,) the input statistics of a condition."""
        row: FloatArray = self._table.mean[condition]
        return row

    def layer_features(self) -> FloatArray:
        """Return (1, 0): there is one thing to decide, nothing tells it from others."""
        return np.zeros((1, 0))

    def network(self, choice: IntArray, condition: int) -> tuple[int, ...]:
        """Return the level."""
        return (int(choice[0]),)

    def measure(self, choice: IntArray, upto: int, condition: int) -> AgentMeasurement:
        """Return what the table says of the chosen level."""
        level = int(choice[0]) if upto else 0
        accuracy, power = self._table.accuracy[condition, level], self._table.power_mw[level]
        return AgentMeasurement(float(accuracy), float(power))
