"""What a picture of a front shows on its axes; the same for PNG and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rfprune.front.dominance import pareto_mask
from rfprune.front.front import Front, main_cost
from rfprune.front.points import Candidate, losses
from rfprune.quantities import DIRECTIONS

__all__ = ["LOG_RATIO", "axis_pairs", "known_quantities", "upper_edge"]

#: From this ratio of largest to smallest cost on, the cost axis is logarithmic.
LOG_RATIO = 20.0


def axis_pairs(front: Front) -> list[tuple[str, str]]:
    """Return the (x, y) pairs worth a picture: the first objective to maximise over every other.

    A sweep with one objective only is shown over its main cost (or over accuracy, if that is it).
    """
    names = list(front.view.objectives)
    upward = [name for name, way in front.view.objectives.items() if way == "max"]
    y = (upward or names)[0]
    cost = main_cost(front)
    others = [name for name in names if name != y] or ["val_accuracy" if y == cost else cost]
    return [(x, y) for x in others]


def known_quantities(front: Front) -> list[str]:
    """Return the quantities that at least one candidate knows, objectives first."""
    candidates = front.view.candidates
    return [
        name
        for name in dict.fromkeys([*front.view.objectives, *DIRECTIONS])
        if any(candidate.metrics.get(name) is not None for candidate in candidates)
    ]


def upper_edge(points: Sequence[Candidate], x: str, y: str) -> list[Candidate]:
    """Return those of `points` that no other beats in `x` and `y` alone, by ascending `x`.

    A front of three objectives is a cloud in a picture of two; its edge is what a reader follows.
    """
    ways: Mapping[str, str] = {x: DIRECTIONS[x], y: DIRECTIONS[y]}
    values = losses(points, ways)
    rows = np.flatnonzero(pareto_mask(values))
    return sorted((points[int(row)] for row in rows), key=lambda c: c.metrics[x] or 0.0)
