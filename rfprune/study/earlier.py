"""Whether trials of other sweeps are a guide here: their best points are tried, and compared.

What an earlier sweep found may be worth little where other points are good. That shows as soon as
its points have been tried: if their order there is not their order here, it is forgotten, and the
sweep continues as if it had not been named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.results.dominance import pareto_mask
from rfprune.results.points import losses
from rfprune.study.parameters import Scalar

__all__ = ["Earlier"]

#: So many of the best points of earlier sweeps are tried first: as many as TPE draws at random.
_TRIED = 10
#: So many of them say whether the others can be believed.
_COMPARED = 5
#: Spearman's correlation, the mean over the objectives, from which on they are.
_BELIEVED = 0.5

Point = tuple[tuple[str, Scalar], ...]


class Earlier:
    """Points with the objectives that another sweep has told for them.

    Args:
        objectives: ``"max"`` or ``"min"`` by quantity.
    """

    def __init__(self, objectives: Mapping[str, str]) -> None:
        self._objectives = objectives
        self._told: dict[Point, tuple[FloatArray, bool]] = {}
        self._pairs: list[tuple[FloatArray, FloatArray]] = []

    def __len__(self) -> int:
        return len(self._told)

    def add(self, point: Point, values: Sequence[float], feasible: bool) -> None:
        """Take in a point and the objectives that were told for it, in their order."""
        self._told[point] = self._losses(values), feasible

    def compare(self, point: Point, values: Sequence[float]) -> None:
        """Take in the objectives of a trial of this sweep; of points that are not known nothing."""
        if point in self._told:
            self._pairs.append((self._told[point][0], self._losses(values)))

    def _losses(self, values: Sequence[float]) -> FloatArray:
        named = dict(zip(self._objectives, values, strict=True))
        found: FloatArray = losses([named], self._objectives)[0]
        return found

    def best(self) -> list[dict[str, Scalar]]:
        """Return the points to be tried first: of the feasible front, spread over its range.

        The first ones are its ends; each further one is the farthest from those before it.
        """
        feasible = [(point, told) for point, (told, good) in self._told.items() if good]
        if not feasible:
            return []
        values = np.array([told for _, told in feasible])
        rows = np.flatnonzero(pareto_mask(values))
        front = values[rows]
        span = np.ptp(front, axis=0)
        scaled = front / np.where(span > 0, span, 1.0)
        chosen = [int(np.argmin(scaled[:, 0]))]
        distance = np.linalg.norm(scaled - scaled[chosen[0]], axis=1)
        while len(chosen) < min(_TRIED, len(rows)) and distance.max() > 0:
            chosen.append(int(np.argmax(distance)))
            newest = np.linalg.norm(scaled - scaled[chosen[-1]], axis=1)
            distance = np.minimum(distance, newest)
        return [dict(feasible[rows[index]][0]) for index in chosen]

    @property
    def misleads(self) -> bool:
        """Whether enough points have been tried, and came out in another order."""
        if len(self._pairs) < _COMPARED:
            return False
        theirs, ours = (np.array(side) for side in zip(*self._pairs, strict=True))
        found = [_rank_correlation(*columns) for columns in zip(theirs.T, ours.T, strict=True)]
        return float(np.mean(found)) < _BELIEVED


def _rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Return Spearman's correlation, equal values sharing their ranks; 0 where one is constant."""
    ranks = np.array([_ranks(values) for values in (a, b)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    _, member, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: FloatArray = last - (counts - 1) / 2
    return middle[member]
