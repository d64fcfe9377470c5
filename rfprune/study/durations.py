"""How long a trial will take, by those of the trials so far that are most like it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.study.parameters import Listed, Parameter, Scalar
from rfprune.study.space import Space

__all__ = ["Durations", "coordinates"]

#: Trials before anything is said, and how many of them say it.
_LEAST, _NEAREST = 5, 3


class Durations:
    """Takes in how long trials took, by their points.

    Args:
        space: that the points are of.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._rows: list[FloatArray] = []
        self._logs: list[float] = []

    def add(self, values: Mapping[str, Scalar], seconds: float) -> None:
        """Take in a trial."""
        self._rows.append(coordinates(self._space, values))
        self._logs.append(math.log(max(seconds, 1e-3)))

    def expected(self, values: Mapping[str, Scalar]) -> float | None:
        """Return the seconds of a trial at a point: the geometric mean of the nearest ones.

        None before there are trials enough.
        """
        if len(self._rows) < _LEAST:
            return None
        gaps = np.abs(np.array(self._rows) - coordinates(self._space, values)).sum(axis=1)
        nearest = np.argsort(gaps, kind="stable")[:_NEAREST]
        return math.exp(float(np.mean(np.array(self._logs)[nearest])))


def coordinates(space: Space, values: Mapping[str, Scalar]) -> FloatArray:
    """Return a point as numbers from 0 to 1 (D,); -1 where a path is not searched there."""
    parts = [
        _place(p, values[p.path])
        if p.path in values and space.active(p, values)
        else [-1.0] * _width(p)
        for p in space.parameters
    ]
    return np.array([number for part in parts for number in part])


def _width(parameter: Parameter) -> int:
    words = isinstance(parameter, Listed) and not parameter.ordered
    return (parameter.count or 1) if words else 1


def _place(parameter: Parameter, value: Scalar) -> list[float]:
    """Return where a value lies among those of its path, from 0 to 1; of words which one it is."""
    if isinstance(parameter, Listed):
        at = parameter.values.index(value)
        if parameter.ordered:
            return [at / max(1, len(parameter.values) - 1)]
        # Two words are as far apart as the ends of a range.
        return [0.5 * (index == at) for index in range(len(parameter.values))]
    low, high, here = float(parameter.low), float(parameter.high), float(value)
    if parameter.log:
        low, high, here = math.log(low), math.log(high), math.log(here)
    return [(here - low) / (high - low) if high > low else 0.0]
