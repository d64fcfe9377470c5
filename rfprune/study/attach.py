"""Follows a sweep that another process drives, by reading its study and its run folders.

Nothing is written, and the driver need not be on this machine: both only have to see the folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rfprune.results import SweepFolder, TrialFolder
from rfprune.study.events import EventKind, Listener, SweepEvent
from rfprune.study.study import is_driven, read_study
from rfprune.study.trials import (
    EARLIER,
    EARLY,
    NOT_RUN,
    StudyCounts,
    count_trials,
    counts_of,
    to_be_retried,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["attach"]

_POLL_SECONDS = 1.0


def attach(
    folder: SweepFolder, listener: Listener, poll_seconds: float = _POLL_SECONDS
) -> StudyCounts:
    """Report what happens to a sweep until its driver ends, and return the final trial counts.

    Args:
        folder: of the sweep.
        listener: gets the events that the driver's own listener gets; none for what ended before.
        poll_seconds: between two looks.

    Raises:
        RunsError: no such sweep, or its study cannot be read.
    """
    follower = _Follower(folder, read_study(folder))
    while True:
        # Asked before reading, so that what is written just before the end is not lost.
        over = not is_driven(folder)
        for event in follower.events():
            listener(event)
        if over:
            return count_trials(follower.study)
        time.sleep(poll_seconds)


class _Follower:
    """What has been reported of a study so far."""

    def __init__(self, folder: SweepFolder, study: Study) -> None:
        self.study = study
        self._folder = folder
        self._retries = folder.spec().retries
        trials = study.get_trials(deepcopy=False)
        # What had ended before is no news.
        self._ended = {trial.number for trial in trials if trial.state.is_finished()}
        self._steps: dict[int, int] = {}

    def events(self) -> Iterator[SweepEvent]:
        """Yield what has happened since the last call."""
        trials = self.study.get_trials(deepcopy=False)

        def counts() -> StudyCounts:
            # Trials that ended but were not reported yet are left out: counts are as of each event.
            told = [t for t in trials if not t.state.is_finished() or t.number in self._ended]
            return counts_of(told)

        for trial in trials:
            if trial.number in self._ended or EARLIER in trial.user_attrs:
                continue
            if trial.state.is_finished():
                self._ended.add(trial.number)
                if trial.user_attrs.get("reason") not in NOT_RUN:
                    yield self._end(trial, counts())
            elif trial.state.name == "RUNNING" and "folder" in trial.user_attrs:
                # The study does not hold steps while a trial runs; its folder does.
                last = next(reversed(self._run(trial).steps()), None)
                index = -1 if last is None else last.step
                if self._steps.get(trial.number) != index:
                    self._steps[trial.number] = index
                    kind: EventKind = "started" if last is None else "step"
                    metrics = {} if last is None else last.facts()
                    yield self._event(trial, kind, counts(), metrics=metrics)

    def _end(self, trial: FrozenTrial, counts: StudyCounts) -> SweepEvent:
        if trial.state.name == "COMPLETE":
            result = self._run(trial).result()
            # Earlier versions do not record which step stands for a trial: it was the last one.
            told = trial.user_attrs.get("step", None if result is None else result.final_step)
            steps = [step for step in self._run(trial).steps() if step.step == told]
            metrics = steps[0].facts() if steps else {}
            seconds = 0.0 if result is None else result.seconds
            return self._event(trial, "complete", counts, metrics=metrics, seconds=seconds)
        reason, error = (trial.user_attrs.get(key, "") for key in ("reason", "error"))
        words = f"{reason}: {error}" if error else str(reason)
        if reason == "orphan":
            return self._event(trial, "orphaned", counts)
        again = to_be_retried(trial, self._retries)
        kind: EventKind = "stopped" if reason in EARLY else "retried" if again else "failed"
        return self._event(trial, kind, counts, reason=words)

    def _run(self, trial: FrozenTrial) -> TrialFolder:
        return self._folder.trial(trial.user_attrs["folder"])

    def _event(
        self, trial: FrozenTrial, kind: EventKind, counts: StudyCounts, **more: Any
    ) -> SweepEvent:
        known = trial.user_attrs
        attempt, values = known.get("attempt", 0), known.get("values", {})
        return SweepEvent(kind, known["folder"], attempt, values, counts=counts, **more)
