"""Picking one network: by conditions, and by the largest, the smallest, the knee, or the last.

Test accuracy never selects: where a condition or a ranking names ``accuracy``, ``val_accuracy``
stands in for it, and the explanation says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rfprune.errors import RunsError, UnknownNameError
from rfprune.front.front import Front, non_dominated
from rfprune.front.points import Candidate, losses, selecting
from rfprune.quantities import DIRECTIONS
from rfprune.registry import nearest
from rfprune.spec import Condition

__all__ = ["Choice", "Ranking", "choose"]


@dataclass(frozen=True)
class Ranking:
    """What decides among the points that meet the conditions.

    Attributes:
        way: the largest value, the smallest value, the knee of their front, or the last step.
        metric: the quantity; only ``max`` and ``min`` look at it.
    """

    way: Literal["max", "min", "knee", "last"] = "knee"
    metric: str = "val_accuracy"


@dataclass(frozen=True)
class Choice:
    """The chosen candidate, and one or two sentences that say why."""

    candidate: Candidate
    explanation: str


def choose(front: Front, conditions: Sequence[Condition], ranking: Ranking) -> Choice:
    """Return the best feasible candidate of the sweep that meets every condition.

    All candidates compete, not only the front: a condition on a quantity that is no objective can
    rule the whole front out. Equal candidates are decided by the front, then by the objectives.

    Raises:
        RunsError: no candidate meets the conditions; names the nearest miss of each one.
        UnknownNameError: `ranking` names no quantity.
    """
    if ranking.metric not in DIRECTIONS:
        raise UnknownNameError(
            f"unknown quantity '{ranking.metric}'.{nearest(ranking.metric, DIRECTIONS)} "
            f"Known: {', '.join(DIRECTIONS)}."
        )
    feasible = [c for c in front.view.candidates if c.feasible]
    met = [c for c in feasible if all(_excess(front, c, each) <= 0 for each in conditions)]
    if not met:
        raise RunsError(_nearest_misses(front, feasible, conditions))
    best = _best(front, met, ranking)
    return Choice(best, _explain(best, len(met), conditions, ranking))


def _best(front: Front, met: list[Candidate], ranking: Ranking) -> Candidate:
    if ranking.way == "knee":
        return _knee(front, met)
    if ranking.way == "last":
        return max(met, key=lambda candidate: (candidate.trial, candidate.step))
    return _extreme(front, met, ranking)


def _extreme(front: Front, met: list[Candidate], ranking: Ranking) -> Candidate:
    metric = selecting(ranking.metric)
    known = [(value, c) for c in met if (value := c.metrics.get(metric)) is not None]
    if not known:
        raise RunsError(
            f"sweep '{front.view.name}': no point that meets the conditions has a known '{metric}'."
        )
    values = [value for value, _ in known]
    best = max(values) if ranking.way == "max" else min(values)
    ties = [candidate for value, candidate in known if value == best]
    return (non_dominated(ties, front.view) or tuple(ties))[0]


def _knee(front: Front, met: list[Candidate]) -> Candidate:
    """Return the point closest to the ideal one, each objective scaled to [0, 1] over the front.

    The compromise solution of Zeleny 1973 ("Compromise programming") with Euclidean distance.
    """
    points = non_dominated(met, front.view)
    if not points:
        raise RunsError(
            f"sweep '{front.view.name}': no point that meets the conditions has known values of "
            f"every objective ({', '.join(front.view.objectives)})."
        )
    values = losses(points, front.view.objectives)
    span = np.ptp(values, axis=0)
    scaled = (values - values.min(axis=0)) / np.where(span > 0, span, 1.0)
    return points[int(np.argmin((scaled**2).sum(axis=1)))]


def _value(front: Front, candidate: Candidate, name: str) -> float | None:
    if name in ("trial", "step", "feasible"):
        return float(getattr(candidate, name))
    if name != "fits":
        return candidate.metrics.get(selecting(name))
    # Whether the design fits its part stands in the estimate by layer, read only when asked for.
    path = front.view.folder.trial(candidate.trial).estimate(candidate.step)
    try:
        fits = json.loads(path.read_text(encoding="utf-8")).get("fits")
    except (OSError, ValueError, AttributeError):
        return None
    return None if fits is None else float(fits)


def _excess(front: Front, candidate: Candidate, condition: Condition) -> float:
    return condition.excess(_value(front, candidate, condition.name))


def _named(candidate: Candidate) -> str:
    return f"trial {candidate.trial}, step {candidate.step}"


def _nearest_misses(
    front: Front, feasible: list[Candidate], conditions: Sequence[Condition]
) -> str:
    name = front.view.name
    everything = front.view.candidates
    if not everything:
        return f"sweep '{name}' has no finished pruning step yet."
    constraints = [c for c in front.view.constraints if not feasible]
    head = (
        f"sweep '{name}': none of its {len(everything)} points meets the sweep's constraints."
        if constraints
        else f"sweep '{name}': none of its {len(feasible)} feasible points meets "
        f"{' and '.join(map(str, conditions))}."
    )
    compared = feasible or list(everything)
    lines = [_nearest_miss(front, compared, each) for each in [*constraints, *conditions]]
    return f"{head} Nearest for each: {'; '.join(lines)}."


def _nearest_miss(front: Front, candidates: list[Candidate], condition: Condition) -> str:
    excesses = [_excess(front, candidate, condition) for candidate in candidates]
    meeting = sum(excess <= 0 for excess in excesses)
    if meeting:
        return f"{condition} alone is met by {meeting}"
    best = int(np.argmin(excesses))
    value = _value(front, candidates[best], condition.name)
    if value is None:
        return f"{condition}: '{selecting(condition.name)}' is not known for any point"
    shown = f"{selecting(condition.name)} = {value:.6g}"
    return f"{condition} is missed with {shown} ({_named(candidates[best])})"


def _explain(best: Candidate, met: int, conditions: Sequence[Condition], ranking: Ranking) -> str:
    metric = selecting(ranking.metric)
    rule = {
        "max": f"the largest {metric}",
        "min": f"the smallest {metric}",
        "knee": "the knee of the front (closest to the best value of every objective at once)",
        "last": "the last accepted step",
    }[ranking.way]
    which = f" that meet {' and '.join(map(str, conditions))}" if conditions else ""
    text = f"{_named(best)}: {rule} among {met} feasible points{which}."
    by_test = ranking.metric == "accuracy" and ranking.way in ("max", "min")
    if by_test or any(condition.name == "accuracy" for condition in conditions):
        text += " Test accuracy never selects: val_accuracy was compared in place of accuracy"
        test = best.metrics.get("accuracy")
        text += "." if test is None else f"; the test accuracy of this point is {test:.4f}."
    return text
