"""Whether trials of other sweeps are a guide here: their best points are tried, and compared.

What an earlier sweep found may be worth little where other points are good. That shows as soon as
its points have been tried: if their order there is not their order here, it is forgotten, and the
sweep continues as if it had not been named.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.results.dominance import pareto_mask
from rfprune.results.hypervolume import hypervolume, point_behind
from rfprune.results.points import losses
from rfprune.study.parameters import Scalar

__all__ = ["Earlier"]

#: So many of the best points of earlier sweeps are tried first, as far as each still adds a part of
#: the volume.
_TRIED, _WORTH = 20, 1e-3
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
        self._told: dict[Point, FloatArray] = {}
        self._curves: dict[Point, FloatArray] = {}
        self._pairs: list[tuple[FloatArray, FloatArray]] = []

    def __len__(self) -> int:
        return len(self._told)

    def add(self, point: Point, values: Sequence[float], curve: FloatArray) -> None:
        """Take in a point of an earlier trial.

        Args:
            point: in this sweep's space.
            values: the objectives that were told for it, in their order.
            curve: losses (K, M) of its feasible steps.
        """
        self._told[point] = self._losses(values)
        self._curves[point] = curve

    def compare(self, point: Point, values: Sequence[float]) -> None:
        """Take in the objectives of a trial of this sweep; of points that are not known nothing."""
        if point in self._told:
            self._pairs.append((self._told[point], self._losses(values)))

    def _losses(self, values: Sequence[float]) -> FloatArray:
        named = dict(zip(self._objectives, values, strict=True))
        found: FloatArray = losses([named], self._objectives)[0]
        return found

    def best(self, reference: FloatArray | None = None) -> list[dict[str, Scalar]]:
        """Return the points to be tried first: each adds most hypervolume to those before it.

        All accepted steps of the earlier trials count, since trying a point again makes them again.

        Args:
            reference: losses (M,) that volumes are measured from; where they are None, or do not
                lie behind what was found there, a point behind all of it takes their place.
        """
        curves = {point: curve for point, curve in self._curves.items() if len(curve)}
        if not curves:
            return []
        every = np.vstack(list(curves.values()))
        if reference is None or not (every < reference).all(axis=1).any():
            reference = point_behind(every)
        front, volume = np.empty((0, every.shape[1])), 0.0
        # What a point adds never grows, so that only the most promising is looked at again.
        waiting = [(-np.inf, rank, point) for rank, point in enumerate(curves)]
        chosen: list[dict[str, Scalar]] = []
        while waiting and len(chosen) < _TRIED:
            _, rank, point = heapq.heappop(waiting)
            with_it = np.vstack([front, curves[point]])
            with_it = with_it[pareto_mask(with_it)]
            gain = hypervolume(with_it, reference) - volume
            if waiting and gain < -waiting[0][0]:
                heapq.heappush(waiting, (-gain, rank, point))
                continue
            if gain <= _WORTH * volume:
                break
            front, volume = with_it, volume + gain
            chosen.append(dict(point))
        return chosen

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
