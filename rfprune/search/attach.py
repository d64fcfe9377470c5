"""Follows a sweep that another process drives, by reading its study and its run folders.

Nothing is written, and the driver need not be on this machine: both only have to see the folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rfprune.runs import SweepFolder, TrialFolder
from rfprune.search.progress import Kind, Listener, SweepEvent
from rfprune.search.study import is_driven, read_study
from rfprune.search.trials import EARLY, Counts, count_trials, to_be_retried

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["attach"]

_POLL_SECONDS = 1.0
#: Failures that were never run.
_NOT_RUN = ("duplicate", "invalid")


def attach(folder: SweepFolder, listener: Listener, poll_seconds: float = _POLL_SECONDS) -> Counts:
    """Tell what happens to a sweep until its driver ends, and return how its trials are then.

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
    """What has been told of a study so far."""

    def __init__(self, folder: SweepFolder, study: Study) -> None:
        self.study = study
        self._folder = folder
        self._retries = folder.spec().retries
        trials = study.get_trials(deepcopy=False)
        self._ended = {trial.number for trial in trials if trial.state.is_finished()}
        self._steps: dict[int, int] = {}

    def events(self) -> Iterator[SweepEvent]:
        """Yield what has happened since the last call."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.number in self._ended:
                continue
            if trial.state.is_finished():
                self._ended.add(trial.number)
                if trial.user_attrs.get("reason") not in _NOT_RUN:
                    yield self._end(trial)
            elif trial.state.name == "RUNNING" and "folder" in trial.user_attrs:
                yield from self._progress(trial)

    def _progress(self, trial: FrozenTrial) -> Iterator[SweepEvent]:
        """Yield the beginning of a running trial, or its latest step."""
        last = next(reversed(self._run(trial).steps()), None)
        index = -1 if last is None else last.step
        if self._steps.get(trial.number) == index:
            return
        self._steps[trial.number] = index
        metrics = {} if last is None else {**last.metrics(), "step": float(index)}
        yield self._event(trial, "started" if last is None else "step", metrics=metrics)

    def _end(self, trial: FrozenTrial) -> SweepEvent:
        if trial.state.name == "COMPLETE":
            result = self._run(trial).result()
            final = None if result is None else result.final_step
            steps = [step for step in self._run(trial).steps() if step.step == final]
            metrics = {**steps[0].metrics(), "step": float(steps[0].step)} if steps else {}
            seconds = 0.0 if result is None else result.seconds
            return self._event(trial, "complete", metrics=metrics, seconds=seconds)
        reason, error = (trial.user_attrs.get(key, "") for key in ("reason", "error"))
        words = f"{reason}: {error}" if error else str(reason)
        if reason == "orphan":
            return self._event(trial, "orphaned")
        again = to_be_retried(trial, self._retries)
        kind: Kind = "stopped" if reason in EARLY else "retried" if again else "failed"
        return self._event(trial, kind, reason=words)

    def _run(self, trial: FrozenTrial) -> TrialFolder:
        return self._folder.trial(trial.user_attrs["folder"])

    def _event(self, trial: FrozenTrial, kind: Kind, **more: Any) -> SweepEvent:
        known = trial.user_attrs
        return SweepEvent(
            kind, known["folder"], known.get("attempt", 0), known.get("values", {}), **more
        )
