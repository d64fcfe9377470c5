"""The hypervolume: how much of the objective space a front dominates, up to a reference point.

Exact. Knows arrays of losses, and how a sweep's trials add up to a curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.front.dominance import pareto_mask
from rfprune.front.points import SweepView, losses

__all__ = ["CurvePoint", "hypervolume", "hypervolume_curve", "reference_losses"]

Array = NDArray[np.float64]


def hypervolume(values: Array, reference: Array) -> float:
    """Return the volume between `reference` and the points that dominate it.

    While, Bradstreet and Barone 2012 ("A fast way of calculating exact hypervolumes"): a point's
    exclusive volume is its own box less what the points after it share with that box. With the
    points ordered by their last objective, worst first, the shared part has one dimension less.

    Args:
        values: losses, (N, M); rows with NaN count nothing.
        reference: (M,); points that are not better than it everywhere count nothing.

    Returns:
        The volume, in the product of the objectives' units; 0 if no point counts.
    """
    inside = values[(values < reference).all(axis=1)]
    return _volume(inside[pareto_mask(inside)], reference) if len(inside) else 0.0


def _volume(points: Array, reference: Array) -> float:
    """Return the volume of points that are inside and do not dominate each other."""
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - points.min())
    points = points[np.argsort(-points[:, -1], kind="stable")]
    if points.shape[1] == 2:
        # Worst second objective first means best first objective first.
        right = np.append(points[1:, 0], reference[0])
        return float(((right - points[:, 0]) * (reference[1] - points[:, 1])).sum())
    depths = reference[-1] - points[:, -1]
    flat, corner = points[:, :-1], reference[:-1]
    return float(
        sum(
            d * _exclusive(p, flat[k + 1 :], corner)
            for k, (d, p) in enumerate(zip(depths, flat, strict=True))
        )
    )


def _exclusive(point: Array, others: Array, reference: Array) -> float:
    """Return the volume that `point` dominates and none of `others` does."""
    shared = np.maximum(others, point)
    own = float(np.prod(reference - point))
    return own - _volume(shared[pareto_mask(shared)], reference) if len(shared) else own


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
    signs = np.array([-1.0 if way == "max" else 1.0 for way in view.objectives.values()])
    values = np.array([view.reference_point[name] for name in view.objectives])
    reference: Array = signs * values
    return reference


def hypervolume_curve(view: SweepView) -> list[CurvePoint]:
    """Return the feasible hypervolume after each finished trial, in the order they ended.

    Trials still running count nothing, so that the curve only ever grows at its end. Empty if the
    sweep has no reference point.
    """
    reference = reference_losses(view)
    if reference is None:
        return []
    front = np.empty((0, len(reference)))
    volume = 0.0
    curve = []
    for count, trial in enumerate(view.finished, start=1):
        new = losses([c for c in trial.candidates if c.feasible], view.objectives)
        for point in new[(new < reference).all(axis=1)]:
            if not (front <= point).all(axis=1).any():
                volume += _exclusive(point, front, reference)
                front = np.vstack([front[(front < point).any(axis=1)], point])
        curve.append(CurvePoint(count, trial.number, volume))
    return curve
