"""Which points the validation rows cannot tell apart.

The rule: the difference of two scores counts if it is larger than its standard error, taken as that
of independent samples, ``sqrt(a^2 + b^2)``. Both scores come from the same rows, so the true error
of the difference is smaller, and the rule is on the safe side. A point is *within noise* of another
one that is nowhere worse in the other objectives and better in at least one, if its own score is
not better by more than that. Where a standard error is not known, it is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rfprune.results.points import Candidate, SweepView, losses

__all__ = ["RULE", "cheaper_equal", "error_of", "standard_error"]

#: The rule in a few words, below tables.
RULE = "~: no better than a cheaper point by more than the standard error of the difference"


def cheaper_equal(
    point: Candidate, others: Sequence[Candidate], view: SweepView
) -> Candidate | None:
    """Return the first of `others` that `point` is within noise of; None if there is none."""
    # Only scores are measured on rows; costs have no noise.
    if view.score not in view.objectives:
        return None
    names = list(view.objectives)
    place = names.index(view.score)
    own, *rest = losses([point.metrics, *(other.metrics for other in others)], view.objectives)
    for other, theirs in zip(others, rest, strict=True):
        gain = theirs - own
        noise = math.hypot(error_of(point, view.score), error_of(other, view.score))
        apart = [value for index, value in enumerate(gain) if index != place]
        if gain[place] <= noise and all(v <= 0 for v in apart) and any(v < 0 for v in apart):
            return other
    return None


def error_of(point: Candidate, name: str) -> float:
    """Return the standard error of a score: of the rows, and of the mean over seeds."""
    seeds = point.spread.get(name, 0.0) / math.sqrt(point.repeats)
    return math.hypot(point.errors.get(name, 0.0), seeds)


def standard_error(points: Sequence[Candidate], name: str) -> float | None:
    """Return the largest standard error of a quantity among points; None if none is known."""
    return max((point.errors[name] for point in points if name in point.errors), default=None)
