"""The Pareto front of a sweep: the candidates that no other candidate beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rfprune.arrays import FloatArray
from rfprune.front.dominance import pareto_mask
from rfprune.front.hypervolume import hypervolume, reference_losses
from rfprune.front.points import Candidate, SweepView, losses, read_sweep
from rfprune.runs import SweepFolder

__all__ = [
    "BudgetPoint",
    "Front",
    "TrialCounts",
    "best_per_budget",
    "build_front",
    "main_cost",
    "non_dominated",
    "read_front",
]

#: Parts of the largest dense cost for which `best_per_budget` names a point.
BUDGET_FRACTIONS = (0.1, 0.2, 0.3, 0.5, 0.75)


@dataclass(frozen=True)
class TrialCounts:
    """How many trials are in which state.

    Attributes:
        complete: finished without a fault; includes the infeasible ones.
        failed: finished with a fault.
        infeasible: complete, but without a candidate that meets the constraints.
        running: not finished: running now, or cut off.
        stopped: ended early because they could not matter; their accepted steps are candidates.
    """

    complete: int
    failed: int
    infeasible: int
    running: int
    stopped: int = 0


@dataclass(frozen=True)
class Front:
    """The non-dominated candidates of a sweep.

    Attributes:
        view: the sweep and all its candidates.
        points: the front, best first objective first. Made of the feasible candidates; where there
            is none, of all, so that a sweep shows how far it is off.
        hypervolume: of the feasible candidates; None without a reference point.
        unknown: candidates that cannot be compared because an objective is not known.
        counts: trials by state.
    """

    view: SweepView
    points: tuple[Candidate, ...]
    hypervolume: float | None
    unknown: int
    counts: TrialCounts


def read_front(folder: SweepFolder) -> Front:
    """Return the front of the sweep in `folder`.

    Raises:
        RunsError: the folder is no sweep, or cannot be read.
    """
    return build_front(read_sweep(folder))


def build_front(view: SweepView) -> Front:
    """Return the front of a sweep that has been read."""
    everything = view.candidates
    feasible = [candidate for candidate in everything if candidate.feasible]
    points = non_dominated(feasible or everything, view)
    reference = reference_losses(view)
    volume = None if reference is None else hypervolume(_matrix(feasible, view), reference)
    unknown = int(np.isnan(_matrix(everything, view)).any(axis=1).sum())
    return Front(view, points, volume, unknown, _count(view))


def non_dominated(candidates: Sequence[Candidate], view: SweepView) -> tuple[Candidate, ...]:
    """Return the non-dominated of `candidates`, best first objective first.

    Of equal points the first by trial and step stays; unknown objectives exclude a candidate.
    """
    by_number = sorted(candidates, key=lambda candidate: (candidate.trial, candidate.step))
    values = _matrix(by_number, view)
    rows = np.flatnonzero(pareto_mask(values))
    ranked = rows[np.lexsort(values[rows].T[::-1])]
    return tuple(by_number[row] for row in ranked)


def _matrix(candidates: Sequence[Candidate], view: SweepView) -> FloatArray:
    return losses(candidates, view.objectives)


def _count(view: SweepView) -> TrialCounts:
    complete = [trial for trial in view.trials if trial.state == "complete"]
    return TrialCounts(
        complete=len(complete),
        failed=sum(trial.state == "failed" for trial in view.trials),
        infeasible=sum(not any(c.feasible for c in trial.candidates) for trial in complete),
        running=sum(trial.state == "running" for trial in view.trials),
        stopped=sum(trial.state == "stopped" for trial in view.trials),
    )


@dataclass(frozen=True)
class BudgetPoint:
    """The most accurate front point within a part of the dense cost.

    Attributes:
        fraction: part of the largest dense cost.
        budget: the same as an amount.
        best: the point, None if no front point costs so little.
    """

    fraction: float
    budget: float
    best: Candidate | None


def main_cost(front: Front) -> str:
    """Return the first objective that is to be small; without one, the usual cost of the device."""
    costs = [name for name, way in front.view.objectives.items() if way == "min"]
    on_edge = any(c.metrics.get("energy_mj") is not None for c in front.view.candidates)
    return [*costs, "energy_mj" if on_edge else "dsp"][0]


def best_per_budget(
    front: Front, cost: str, fractions: Sequence[float] = BUDGET_FRACTIONS
) -> list[BudgetPoint]:
    """Return the most accurate front point for each of several budgets of `cost`.

    Args:
        front: of the sweep.
        cost: name of a quantity, e.g. ``dsp``.
        fractions: parts of the largest cost of a dense network (of any, if no dense one is known).
    """
    candidates = front.view.candidates
    known = [(c.step, v) for c in candidates if (v := c.metrics.get(cost)) is not None]
    if not known:
        return []
    largest = max([v for step, v in known if step == 0] or [v for _, v in known])
    ranked = sorted(front.points, key=lambda c: -(c.metrics.get("val_accuracy") or 0.0))
    table = []
    for fraction in fractions:
        budget = fraction * largest
        within = (c for c in ranked if (v := c.metrics.get(cost)) is not None and v <= budget)
        table.append(BudgetPoint(fraction, budget, next(within, None)))
    return table
