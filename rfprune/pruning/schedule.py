"""Schedules: how fast the budgets tighten, as the progress p in (0, 1] from dense to final budget.

Every resource follows ``fraction = 1 - p * (1 - final)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Schedule", "first", "following"]

#: The binary schedule stops when good and bad progress are closer than this (hls4ml uses 0.01).
_BINARY_RESOLUTION = 0.01


@dataclass(frozen=True)
class Schedule:
    """Where a schedule stands. All state is here, so a checkpoint can hold it.

    Attributes:
        kind: constant, cubic or binary.
        steps: steps in all (an upper limit for binary).
        step: steps done.
        good: largest accepted progress (binary).
        bad: smallest rejected progress (binary).
    """

    kind: str
    steps: int
    step: int = 0
    good: float = 0.0
    bad: float = float("inf")

    def progress(self) -> float | None:
        """Return the progress of the next step, or None when the schedule has ended.

        constant: ``p = k / n``. cubic: ``p = 1 - (1 - k / n)^3`` (Zhu and Gupta 2017, as hls4ml's
        PolynomialScheduler). binary: the full budget first, then halving between good and bad.
        """
        if self.step >= self.steps:
            return None
        if self.kind == "binary":
            if self.good >= 1.0 or self.bad - self.good < _BINARY_RESOLUTION:
                return None
            return 1.0 if self.bad > 1.0 else (self.good + self.bad) / 2
        share = (self.step + 1) / self.steps
        return share if self.kind == "constant" else 1 - (1 - share) ** 3


def first(kind: str, steps: int) -> Schedule:
    """Return a schedule at its start."""
    return Schedule(kind, steps)


def following(schedule: Schedule, progress: float, accepted: bool) -> Schedule:
    """Return the schedule after a step at `progress` that was accepted or not."""
    done = replace(schedule, step=schedule.step + 1)
    if accepted:
        return replace(done, good=max(done.good, progress))
    return replace(done, bad=min(done.bad, progress))
