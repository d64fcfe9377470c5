"""The hypervolume: how much of the objective space a front dominates, up to a reference point.

Exact. Knows arrays of losses, and how a sweep's trials add up to a curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.results.dominance import pareto_mask
from rfprune.results.points import SweepView, losses

__all__ = [
    "CurvePoint",
    "GrowingFront",
    "exclusive_volume",
    "hypervolume",
    "hypervolume_curve",
    "point_behind",
    "reference_losses",
]

Array = NDArray[np.float64]

#: A reference point that nobody has fixed lies this part of the range behind the worst values.
_MARGIN = 0.1


def hypervolume(values: Array, reference: Array) -> float:
    """Return the volume between `reference` and the points that dominate it.

    While, Bradstreet and Barone 2012 ("A fast way of calculating exact hypervolumes"): a point's
    exclusive volume is its own box less what the points after it share with that box. With the
    points ordered by their last objective, worst first, the shared part has one dimension less.

    Args:
        values: losses, (N, M); rows with NaN do not count.
        reference: (M,); points that are not better than it in every objective do not count.

    Returns:
        The volume, in the product of the objectives' units; 0 if no point counts.
    """
    # A point on the edge of the reference dominates nothing.
    inside = values[(values < reference).all(axis=1)]
    return _volume(inside[pareto_mask(inside)], reference) if len(inside) else 0.0


def point_behind(values: Array) -> Array:
    """Return a reference point (M,) for values (N, M) where nobody has fixed one.

    It lies a part of their range behind the worst of them, in every objective.
    """
    span = np.ptp(values, axis=0)
    return np.asarray(values.max(axis=0) + np.where(span > 0, _MARGIN * span, 1.0))


def _volume(points: Array, reference: Array) -> float:
    """Return the volume of points that are inside and do not dominate each other."""
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - points.min())
    # Slices along the last objective, from the worst: each dominates what no later one does.
    points = points[np.argsort(-points[:, -1], kind="stable")]
    if points.shape[1] == 2:
        # Worst second objective first means best first objective first.
        right = np.append(points[1:, 0], reference[0])
        return float(((right - points[:, 0]) * (reference[1] - points[:, 1])).sum())
    depths = reference[-1] - points[:, -1]
    flat, corner = points[:, :-1], reference[:-1]
    return float(
        sum(
            d * exclusive_volume(p, flat[k + 1 :], corner)
            for k, (d, p) in enumerate(zip(depths, flat, strict=True))
        )
    )


def exclusive_volume(point: Array, others: Array, reference: Array) -> float:
    """Return the volume that `point` dominates and none of `others` does.

    Args:
        point: losses, (M,), all below `reference`, dominated by none of `others`.
        others: losses, (N, M).
        reference: (M,).
    """
    # Its own box, less what the others dominate of it: each of them moved into the box.
    return float(np.prod(reference - point)) - hypervolume(np.maximum(others, point), reference)


class GrowingFront:
    """A front and its hypervolume, to which points are added; what is dominated is dropped.

    Args:
        reference: losses (M,).
    """

    def __init__(self, reference: Array) -> None:
        self.reference = reference
        self.points: Array = np.empty((0, len(reference)))
        self.volume = 0.0

    def add(self, values: Array) -> float:
        """Add losses (N, M), of which those with NaN do not count; return the volume now."""
        for point in values[(values < self.reference).all(axis=1)]:
            # A dominated or repeated point adds nothing and must not enter the front.
            if not (self.points <= point).all(axis=1).any():
                self.volume += exclusive_volume(point, self.points, self.reference)
                self.points = np.vstack([self.points[(self.points < point).any(axis=1)], point])
        return self.volume


@dataclass(frozen=True)
class CurvePoint:
    """The hypervolume after `trials` finished trials, the last of which was number `trial`."""

    trials: int
    trial: int
    hypervolume: float


def reference_losses(view: SweepView) -> Array | None:
    """Return the sweep's reference point as losses (M,), or None if it has none."""
    if view.reference_point is None:
        return None
    reference: Array = losses([view.reference_point], view.objectives)[0]
    return reference


def hypervolume_curve(view: SweepView) -> list[CurvePoint]:
    """Return the feasible hypervolume after each finished trial, in the order they ended.

    Trials that are still running do not count, so the curve only ever grows at its end. Empty if
    the sweep has no reference point.
    """
    reference = reference_losses(view)
    if reference is None:
        return []
    front = GrowingFront(reference)
    curve = []
    for count, trial in enumerate(view.finished, start=1):
        new = losses([c.metrics for c in trial.candidates if c.feasible], view.objectives)
        curve.append(CurvePoint(count, trial.number, front.add(new)))
    return curve
