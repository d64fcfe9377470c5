"""Schedules: how fast the budgets tighten, as the progress p in (0, 1] from dense to final budget.

Every resource follows ``fraction = 1 - p * (1 - final)``. A step that is not accepted is undone,
and the next one goes half as far, under every schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["Schedule", "first", "following"]

#: Shorter steps are not tried; hls4ml's binary schedule ends earlier, at 0.01 between good and bad.
_SHORTEST = 0.0025


@dataclass(frozen=True)
class Schedule:
    """Where a schedule stands. All state is here, so a checkpoint can hold it.

    Attributes:
        kind: constant, cubic or binary.
        steps: steps at most, those that were not accepted counted in.
        step: steps done.
        good: largest accepted progress.
        stride: how far a step goes beyond `good` since one was rejected; inf before the first.
    """

    kind: str
    steps: int
    step: int = 0
    good: float = 0.0
    stride: float = float("inf")

    def progress(self) -> float | None:
        """Return the progress of the next step, or None when the schedule has ended.

        constant: ``p = k / n``. cubic: ``p = 1 - (1 - k / n)^3`` (Zhu and Gupta 2017, as hls4ml's
        PolynomialScheduler). binary: the full budget at once. Every rejected step halves the way
        beyond what was accepted. What was rejected once may be tried again: the network has been
        trained further since.
        """
        if self.step >= self.steps or self.good >= 1.0:
            return None
        # Finite from the first rejected step on: bisection takes over from every schedule.
        if math.isfinite(self.stride):
            return None if self.stride < _SHORTEST else min(1.0, self.good + self.stride)
        if self.kind == "binary":
            return 1.0
        share = (self.step + 1) / self.steps
        # The cubic one goes far while much is redundant (Zhu and Gupta 2017, arXiv 1710.01878).
        return share if self.kind == "constant" else 1 - (1 - share) ** 3


def first(kind: str, steps: int) -> Schedule:
    """Return a schedule at its start."""
    return Schedule(kind, steps)


def following(schedule: Schedule, progress: float, accepted: bool) -> Schedule:
    """Return the schedule after a step at `progress` that was accepted or not."""
    done = replace(schedule, step=schedule.step + 1)
    if accepted:
        # The stride stays: after a rejection the steps that follow are as short.
        return replace(done, good=max(done.good, progress))
    return replace(done, stride=(progress - done.good) / 2)
