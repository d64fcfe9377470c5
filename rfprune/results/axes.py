"""What a picture of a front shows on its axes; the same for PNG and HTML."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rfprune.results.dominance import pareto_mask
from rfprune.results.front import Front, main_cost
from rfprune.results.points import Candidate, losses

__all__ = ["FAR", "LOG_RATIO", "axis_pairs", "edge_of_front", "known_quantities"]

#: From this ratio of largest to smallest cost on, the cost axis is logarithmic.
LOG_RATIO = 20.0
#: What a part has is drawn if it is at most so many times the largest cost; else it is written.
FAR = 3.0


def axis_pairs(front: Front) -> list[tuple[str, str]]:
    """Return the (x, y) pairs worth a picture: the first objective of the task over every other.

    A sweep with one objective only is shown over its main cost (or over the score, if that is it).
    """
    view = front.view
    names = list(view.objectives)
    tasks = [name for name in names if name.startswith("val_")]
    upward = [name for name, way in view.objectives.items() if way == "max"]
    # The task's score first; a sweep without one is drawn by what is to be large.
    y = (tasks or upward or names)[0]
    cost = main_cost(front)
    # A picture needs two axes, also where a sweep has one objective.
    others = [name for name in names if name != y] or [view.score if y == cost else cost]
    return [(x, y) for x in others]


def known_quantities(front: Front) -> list[str]:
    """Return the quantities that at least one candidate knows, objectives first.

    The ends of an interval belong to their quantity, unless the sweep names one.
    """
    view = front.view
    named = {*view.objectives, *(condition.name for condition in view.constraints)}
    ends = {quantity.name for quantity in view.target.ends} - named
    return [
        name
        for name in dict.fromkeys([*view.objectives, *view.quantities])
        if name not in ends
        and any(candidate.metrics.get(name) is not None for candidate in view.candidates)
    ]


def edge_of_front(front: Front, x: str, y: str) -> list[Candidate]:
    """Return the front points that no other one beats in `x` and `y` alone, by ascending `x`.

    A front of three objectives is a cloud in a picture of two; its edge is what a reader follows.
    """
    quantities, points = front.view.quantities, front.points
    ways: Mapping[str, str] = {x: quantities[x].direction, y: quantities[y].direction}
    rows = np.flatnonzero(pareto_mask(losses([point.metrics for point in points], ways)))
    return sorted((points[int(row)] for row in rows), key=lambda c: c.metrics[x] or 0.0)
