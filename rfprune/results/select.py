"""Picking one network: by conditions, and by the best score, a quantity, the knee, or the last.

Nothing measured on test rows is used to select: where a condition or a ranking names a metric M,
its ``val_M`` is used instead, and the explanation says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rfprune.core.registry import nearest
from rfprune.errors import RunsError, UnknownNameError
from rfprune.results.front import Front, non_dominated
from rfprune.results.points import Candidate, losses
from rfprune.spec import Condition
from rfprune.spec.sweep import FLAGS

__all__ = ["ChosenPoint", "Ranking", "choose"]


@dataclass(frozen=True)
class Ranking:
    """What decides among the points that meet the conditions.

    Attributes:
        way: the best score of those that are pruned, the largest value, the smallest value, the
            knee of their front, or the last step.
        metric: the quantity; only ``max`` and ``min`` look at it.
    """

    way: Literal["best", "max", "min", "knee", "last"] = "best"
    metric: str = ""


@dataclass(frozen=True)
class ChosenPoint:
    """The chosen candidate, and one or two sentences that say why."""

    candidate: Candidate
    explanation: str


def choose(
    front: Front,
    conditions: Sequence[Condition],
    ranking: Ranking,
    *,
    allow_larger: bool = False,
) -> ChosenPoint:
    """Return the best feasible candidate of the sweep that fits its part and meets the conditions.

    All candidates compete, not only the front: a condition on a quantity that is not an objective
    can rule out the whole front. Ties are broken by the front, then by the objectives.

    Args:
        front: of the sweep.
        conditions: what the candidate must meet.
        ranking: what decides among those that do.
        allow_larger: take networks that do not fit their part as well.

    Raises:
        RunsError: no candidate meets the conditions; names the nearest miss of each one. Or none
            of those fits; names the smallest.
        UnknownNameError: `ranking` names something that is not a quantity.
    """
    known = front.view.quantities
    if ranking.way in ("max", "min") and ranking.metric not in known:
        raise UnknownNameError(
            f"unknown quantity '{ranking.metric}'.{nearest(ranking.metric, known)} "
            f"Known: {', '.join(known)}."
        )
    feasible = [c for c in front.view.candidates if c.feasible]
    met = [c for c in feasible if all(_excess(front, c, each) <= 0 for each in conditions)]
    if not met:
        raise RunsError(_nearest_misses(front, feasible, conditions))
    fitting = [candidate for candidate in met if allow_larger or candidate.fits is not False]
    if not fitting:
        raise RunsError(_nothing_fits(front, met))
    left_out, met = len(met) - len(fitting), fitting
    if ranking.way == "knee":
        best = _knee(front, met)
    elif ranking.way == "best":
        # Where nothing could be pruned, the dense network is all there is.
        met = [candidate for candidate in met if not candidate.dense] or met
        best = _extreme(front, met, _by_score(front))
    elif ranking.way == "last":
        best = max(met, key=lambda candidate: (candidate.trial, candidate.step))
    else:
        best = _extreme(front, met, ranking)
    text = _explain(front, best, len(met), conditions, ranking)
    if left_out:
        text += f" {left_out} more do not fit {best.part}."
    if best.repeats > 1:
        text += f" Its values are means over {best.repeats} seeds; the first seed's is exported."
    if best.fits is False:
        text += f" It does not fit {best.part}: {_overuse(best)}."
    if best.constant:
        text += " It gives every validation row the same answer."
    return ChosenPoint(best, text)


def _by_score(front: Front) -> Ranking:
    score = front.view.score
    return Ranking(front.view.quantities[score].direction, score)


def _overuse(candidate: Candidate) -> str:
    """Return which resources a candidate has too many of."""
    used = [(name, candidate.metrics.get(name), most) for name, most in candidate.capacity.items()]
    over = [f"{v:,.0f} {n} of {most:,.0f}" for n, v, most in used if v is not None and v > most]
    return ", ".join(over)


def _nothing_fits(front: Front, met: Sequence[Candidate]) -> str:
    def excess(candidate: Candidate) -> float:
        used = [(candidate.metrics.get(name), most) for name, most in candidate.capacity.items()]
        return max((value / most for value, most in used if value is not None), default=np.inf)

    least = min(met, key=excess)
    return (
        f"sweep '{front.view.name}': none of the {len(met)} points that could be exported fits "
        f"{least.part}. The nearest is {_named(least)}, with {_overuse(least)}. Allowed: a larger "
        "hardware.part, smaller budgets, or --allow-larger to export what does not fit."
    )


def _extreme(front: Front, met: list[Candidate], ranking: Ranking) -> Candidate:
    metric = front.view.selecting(ranking.metric)
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
    values = losses([point.metrics for point in points], front.view.objectives)
    span = np.ptp(values, axis=0)
    # An objective in which all points are equal has no span, and decides nothing.
    scaled = (values - values.min(axis=0)) / np.where(span > 0, span, 1.0)
    return points[int(np.argmin((scaled**2).sum(axis=1)))]


def _value(front: Front, candidate: Candidate, name: str) -> float | None:
    if name in FLAGS:
        return float(getattr(candidate, name))
    return candidate.metrics.get(front.view.selecting(name))


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
    # Where no point is feasible, the sweep's own constraints are what has to be explained.
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
        return f"{condition}: '{front.view.selecting(condition.name)}' is not known for any point"
    shown = f"{front.view.selecting(condition.name)} = {value:.6g}"
    return f"{condition}: {shown} ({_named(candidates[best])})"


def _explain(
    front: Front, best: Candidate, met: int, conditions: Sequence[Condition], ranking: Ranking
) -> str:
    metric = front.view.selecting(ranking.metric)
    rule = {
        "best": f"the best {front.view.score}",
        "max": f"the largest {metric}",
        "min": f"the smallest {metric}",
        "knee": "the knee of the front (closest to the best value of every objective at once)",
        "last": "the last accepted step",
    }[ranking.way]
    which = f" that meet {' and '.join(map(str, conditions))}" if conditions else ""
    kind = "pruned" if ranking.way == "best" and not best.dense else "feasible"
    text = f"{_named(best)}: {rule} among {met} {kind} points{which}."
    ranked = [ranking.metric] if ranking.way in ("max", "min") else []
    named = [*ranked, *(condition.name for condition in conditions)]
    tested = [name for name in dict.fromkeys(named) if front.view.selecting(name) != name]
    for name in tested:
        text += f" Test rows are never used to select: val_{name} was compared instead of {name}"
        test = best.metrics.get(name)
        text += "." if test is None else f"; the test {name} of this point is {test:.4f}."
    return text
