"""The Pareto front of a sweep: the candidates that no other candidate beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.results.dominance import pareto_mask
from rfprune.results.folders import SweepFolder
from rfprune.results.hypervolume import hypervolume, reference_losses
from rfprune.results.noise import cheaper_equal
from rfprune.results.points import Candidate, SweepView, losses, read_sweep

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
#: Of a part, whose size has nothing to do with that of the network: those around the front.
_MOST_ROWS = 8
_PART_FRACTIONS = (*(m / 10**e for e in (5, 4, 3, 2, 1) for m in (1, 2, 5)), 1.0)


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
            is none, of all, so that a sweep shows how far it is off. A dense network is among them
            only if it is better than every cheaper point beyond noise (`rfprune.results.noise`).
        dense: the dense network of the best score, whether it is on the front or not.
        within_noise: (trial, step) of the front points that are within noise of a cheaper one.
        hypervolume: of the feasible candidates; None without a reference point.
        unknown: candidates that cannot be compared because an objective is not known.
        counts: trials by state.
    """

    view: SweepView
    points: tuple[Candidate, ...]
    hypervolume: float | None
    unknown: int
    counts: TrialCounts
    dense: Candidate | None = None
    within_noise: frozenset[tuple[int, int]] = frozenset()

    @property
    def shown(self) -> tuple[Candidate, ...]:
        """The front, and behind it the dense network if it is not on it."""
        extra = self.dense is not None and self.dense not in self.points
        return (*self.points, self.dense) if extra and self.dense is not None else self.points

    @property
    def reference(self) -> Mapping[str, float]:
        """Metrics in floats of the network that `dense` was made of: nothing pruned or rounded."""
        trials = {trial.number: trial.reference for trial in self.view.trials}
        return {} if self.dense is None else trials[self.dense.trial]


def read_front(folder: SweepFolder) -> Front:
    """Return the front of the sweep in `folder`.

    Raises:
        RunsError: the folder is not a sweep, or cannot be read.
    """
    return build_front(read_sweep(folder))


def build_front(view: SweepView) -> Front:
    """Return the front of a sweep that has been read."""
    everything = view.candidates
    # By candidates and not by trials: one trial may have steps on both sides of a bound.
    feasible = [candidate for candidate in everything if candidate.feasible]
    # Without a feasible candidate the infeasible ones show how far off the sweep is.
    points = _without_lucky_dense(feasible or everything, view)
    reference = reference_losses(view)
    # Of the feasible ones alone, so that it never falls while a sweep runs.
    volume = None if reference is None else hypervolume(_matrix(feasible, view), reference)
    unknown = int(np.isnan(_matrix(everything, view)).any(axis=1).sum())
    complete = [trial for trial in view.trials if trial.state == "complete"]
    counts = TrialCounts(
        complete=len(complete),
        failed=sum(trial.state == "failed" for trial in view.trials),
        infeasible=sum(not any(c.feasible for c in trial.candidates) for trial in complete),
        running=sum(trial.state == "running" for trial in view.trials),
        stopped=sum(trial.state == "stopped" for trial in view.trials),
    )
    close = frozenset(
        (point.trial, point.step)
        for index, point in enumerate(points)
        if cheaper_equal(point, [*points[:index], *points[index + 1 :]], view) is not None
    )
    return Front(view, points, volume, unknown, counts, _best_dense(everything, view), close)


def _without_lucky_dense(pool: Sequence[Candidate], view: SweepView) -> tuple[Candidate, ...]:
    """Return the front of `pool` without dense networks that a pruned one equals within noise."""
    # Dense networks do not throw each other out: one of them has to stay as the reference.
    pruned = [candidate for candidate in pool if not candidate.dense]
    # Each round may bring up dense points that stood behind the one that was taken away.
    while True:
        points = non_dominated(pool, view)
        lucky = [p for p in points if p.dense and cheaper_equal(p, pruned, view) is not None]
        if not lucky:
            return points
        pool = [candidate for candidate in pool if candidate not in lucky]


def _best_dense(candidates: Sequence[Candidate], view: SweepView) -> Candidate | None:
    """Return the dense network of the best score; of equal ones the cheapest, then the first."""
    ways = {view.score: view.quantities[view.score].direction, **dict(view.objectives)}
    dense = [candidate for candidate in candidates if candidate.dense]
    order = np.nan_to_num(losses([c.metrics for c in dense], ways), nan=np.inf)
    return dense[int(np.lexsort(order.T[::-1])[0])] if dense else None


def non_dominated(candidates: Sequence[Candidate], view: SweepView) -> tuple[Candidate, ...]:
    """Return the non-dominated of `candidates`, best first objective first.

    Of equal points the first by trial and step stays; unknown objectives exclude a candidate.
    """
    # Of equal points the first trial counts, whatever order the folders were read in.
    by_number = sorted(candidates, key=lambda candidate: (candidate.trial, candidate.step))
    values = _matrix(by_number, view)
    rows = np.flatnonzero(pareto_mask(values))
    ranked = rows[np.lexsort(values[rows].T[::-1])]
    return tuple(by_number[row] for row in ranked)


def _matrix(candidates: Sequence[Candidate], view: SweepView) -> FloatArray:
    return losses([candidate.metrics for candidate in candidates], view.objectives)


@dataclass(frozen=True)
class BudgetPoint:
    """The front point of the best score within a part of the dense cost.

    Attributes:
        fraction: part of what the FPGA has; where nothing limits it, of the largest dense cost.
        budget: the same as an amount.
        best: the point, None if no front point costs so little.
    """

    fraction: float
    budget: float
    best: Candidate | None


def main_cost(front: Front) -> str:
    """Return the first objective of the target that is to be small, or its usual cost."""
    view = front.view
    # Errors are to be small as well, but they are scores, not costs.
    costs = [n for n, way in view.objectives.items() if way == "min" and not n.startswith("val_")]
    return [*costs, view.target.cost][0]


def _around(costs: Sequence[float], available: float) -> list[float]:
    """Return the round parts of `available` from the cheapest point to the most expensive one."""
    shares = sorted(cost / available for cost in costs if cost > 0)
    if not shares:
        return [1.0]
    above = [f for f in _PART_FRACTIONS if f >= shares[0]]
    # One that holds every point is the last of interest.
    enough = next((i for i, f in enumerate(above) if f >= shares[-1]), len(above))
    return above[: enough + 1][-_MOST_ROWS:] or [1.0]


def best_per_budget(
    front: Front, cost: str, fractions: Sequence[float] | None = None
) -> list[BudgetPoint]:
    """Return the front point of the best score for each of several budgets of `cost`.

    Args:
        front: of the sweep.
        cost: name of a quantity, e.g. ``dsp``.
        fractions: parts of what the FPGA has; where nothing limits it, or several FPGAs are
            searched, of the largest cost of a dense network (of any, if no dense one is known).
    """
    candidates = front.view.candidates
    known = [(c.step, v) for c in candidates if (v := c.metrics.get(cost)) is not None]
    if not known:
        return []
    # Step 0 is dense. Costs differ between reuse factors, so the largest of all trials counts.
    largest = max([v for step, v in known if step == 0] or [v for _, v in known])
    available = front.view.capacity.get(cost)
    if available is not None:
        largest = available
        costs = [v for p in front.points if (v := p.metrics.get(cost)) is not None]
        fractions = _around(costs, available) if fractions is None else fractions
    fractions = BUDGET_FRACTIONS if fractions is None else fractions
    score = front.view.score
    sign = -1.0 if front.view.quantities[score].direction == "max" else 1.0
    scored = [c for c in front.points if c.metrics.get(score) is not None]
    ranked = sorted(scored, key=lambda c: sign * (c.metrics[score] or 0.0))
    table = []
    for fraction in fractions:
        budget = fraction * largest
        within = (c for c in ranked if (v := c.metrics.get(cost)) is not None and v <= budget)
        table.append(BudgetPoint(fraction, budget, next(within, None)))
    return table
