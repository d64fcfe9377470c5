"""The step that stands for a trial in the study: one of the points it adds to the front.

A trial makes several networks, one at each accepted pruning step, and all of them are candidates
for the front, but Optuna holds one vector of values per trial. The last step would make a trial
infeasible if it breaks a constraint, even if an earlier step is on the front. Here a trial is
feasible exactly if one of its accepted steps is, and the front counts it the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.results.hypervolume import exclusive_volume, point_behind
from rfprune.results.points import losses
from rfprune.spec import SweepSpec

__all__ = ["Metrics", "Representative"]

#: Every measured quantity of an accepted step by its name, and the step's number as ``step``.
Metrics = Mapping[str, float | None]


class Representative:
    """Knows the feasible steps of the trials that have ended, and compares a new trial with them.

    Args:
        spec: of the sweep: its objectives and constraints.
        reference_point: of the hypervolume, by objective; without one for every objective, a point
            behind the worst values so far takes its place.
    """

    def __init__(self, spec: SweepSpec, reference_point: Mapping[str, float] | None) -> None:
        self._objectives = spec.objectives
        self._conditions = spec.conditions
        # One that lacks an objective is none.
        fixed = losses([reference_point or {}], self._objectives)[0]
        #: (M,) losses; None where none is fixed.
        self.reference: FloatArray | None = None if np.isnan(fixed).any() else fixed
        self._front: FloatArray = np.empty((0, len(self._objectives)))

    @property
    def front(self) -> FloatArray:
        """The losses (N, M) of the front of the trials that have ended."""
        return self._front

    def usable(self, step: Metrics) -> bool:
        """Return whether all objectives of a step are finite and no constraint is on a NaN."""
        objectives = [step.get(name) for name in self._objectives]
        named = [step.get(condition.name) for condition in self._conditions]
        return all(v is not None and math.isfinite(v) for v in objectives) and not any(
            v is not None and math.isnan(v) for v in named
        )

    def excesses(self, step: Metrics) -> dict[str, float]:
        """Return by how much a step breaks each constraint; at most 0 where it holds."""
        return {str(c): c.excess(step.get(c.name)) for c in self._conditions}

    def feasible(self, step: Metrics) -> bool:
        """Return whether a step meets all constraints."""
        return all(excess <= 0 for excess in self.excesses(step).values())

    def losses_of(self, steps: Iterable[Metrics]) -> FloatArray:
        """Return (K, M) losses of the steps that may be on the front."""
        good = [step for step in steps if self.usable(step) and self.feasible(step)]
        return losses(good, self._objectives)

    def add(self, steps: Iterable[Metrics]) -> None:
        """Take in the accepted steps of a trial that has ended."""
        # Point by point: sorting the whole front anew after each trial would grow with it.
        for point in self.losses_of(steps):
            if not (self._front <= point).all(axis=1).any():
                kept = self._front[~(point <= self._front).all(axis=1)]
                self._front = np.vstack([kept, point])

    def choose(self, steps: Sequence[Metrics]) -> Metrics | None:
        """Return the step that stands for a trial with these accepted steps, None if none can.

        Among feasible steps it is the one that adds the most hypervolume to the trials that were
        added before. If none adds any, it is the last feasible one, where the trial got furthest.
        Without a feasible step it is the one with the smallest sum of excesses, by which Optuna's
        samplers rank infeasible trials; of equal ones the last.
        """
        usable = [step for step in steps if self.usable(step)]
        feasible = [step for step in usable if self.feasible(step)]
        if not feasible:
            return min(
                # Of steps that break constraints alike, the last: `min` takes the first that it
                # meets.
                reversed(usable),
                key=lambda step: sum(max(0.0, excess) for excess in self.excesses(step).values()),
                default=None,
            )
        if len(feasible) == 1:
            return feasible[0]
        points = losses(feasible, self._objectives)
        reference = self.reference
        if reference is None:
            # From what is known by now; it only has to lie behind everything.
            seen = np.vstack([self._front, points])
            reference = point_behind(seen)
        gains = [self._gain(point, reference) for point in points]
        # Where nothing adds to the front it is the last step, which is pruned furthest.
        return feasible[int(np.argmax(gains))] if max(gains) > 0 else feasible[-1]

    def _gain(self, point: FloatArray, reference: FloatArray) -> float:
        """Return the volume (product of the objectives' units) that only `point` dominates."""
        # Most steps of a long sweep are behind the front, and a volume takes far longer than this.
        behind = (self._front <= point).all(axis=1).any()
        if behind or not (point < reference).all():
            return 0.0
        return exclusive_volume(point, self._front, reference)
