"""What a sweep reports while it runs.

A listener is any function that takes a `SweepEvent`; the driver calls it in its own thread, one
event at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rfprune.study.parameters import Scalar
from rfprune.study.trials import StudyCounts

__all__ = ["EventKind", "Listener", "SweepEvent"]


EventKind = Literal["started", "step", "complete", "stopped", "failed", "retried", "orphaned"]


@dataclass(frozen=True)
class SweepEvent:
    """One thing that happened.

    Attributes:
        kind: ``started``, ``step`` (a pruning step was measured), ``complete``, ``stopped`` (ended
            early), ``failed`` (for good), ``retried`` (its process died; it is queued again) or
            ``orphaned`` (the driver stops; the next one resumes it).
        trial: number of the run folder.
        attempt: how many attempts died before.
        values: the point of the search space.
        metrics: the quantities of the step, or at the end those of the step that the study is told
            (`rfprune.study.representative`); ``step`` is its number.
        reason: of a failure, in words.
        seconds: wall time of an ended trial.
        counts: of all trials of the study, with this event.
    """

    kind: EventKind
    trial: int
    attempt: int = 0
    values: dict[str, Scalar] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    counts: StudyCounts = field(default_factory=StudyCounts)


Listener = Callable[[SweepEvent], None]
