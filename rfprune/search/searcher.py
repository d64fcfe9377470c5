"""Tune's view of a record: it asks for trials here and brings their results back.

Tune sees only the number of a run folder per trial. Its own state is never restored from (a restart
begins a new Tune experiment from the study), so what it would keep on disk is kept small.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from rfprune.search.progress import Listener, SweepEvent
from rfprune.search.record import Ended, Job, Record
from rfprune.search.trials import DOMINATED, EARLY
from rfprune.search.worker import decode

__all__ = ["InOrder", "StopRequest", "StudySearcher", "Witness"]

_WORDS = 250
#: How Ray says that its memory monitor killed a worker.
_OUT_OF_MEMORY = ("running low on memory", "OutOfMemoryError")


class StudySearcher(Searcher):  # type: ignore[misc]
    """Joins Ray Tune, which executes trials, and the study, which remembers them.

    Args:
        record: the study of the sweep.
        slots: returns how many trials may be live now.
        listener: is told what happens.
    """

    def __init__(self, record: Record, slots: Callable[[], int], listener: Listener) -> None:
        super().__init__(metric=None, mode=None)
        self.record = record
        self._slots = slots
        self._listener = listener
        self._jobs: dict[str, Job] = {}
        self._overtaken: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, int] | str | None:
        """Return the next trial's run folder, None for not now, or FINISHED."""
        if len(self.record.live) >= self._slots():
            return None
        job = self._next_job()
        if job is None:
            # Once told FINISHED, Tune never asks again, and the retry of a late failure were lost.
            return str(Searcher.FINISHED) if self.record.finished else None
        self._jobs[trial_id] = job
        return {"folder": job.folder, "attempt": job.attempt}

    def _next_job(self) -> Job | None:
        """Return the next job; end those that were overtaken while no driver was there."""
        while (job := self.record.ask()) is not None:
            why = self.record.overtaken(job)
            if not why:
                break
            ended = self.record.finish(job.number, Ended(DOMINATED, why))
            self._tell("stopped", job, ended.metrics, _words(ended), ended.seconds)
        return job

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass a pruning step on to the listener."""
        facts, job = decode(result), self._jobs.get(trial_id)
        if job is not None and isinstance(facts, dict):
            self._tell("step", job, metrics=facts)

    def ends_early(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a trial need not go on after the step that `result` holds."""
        if not self.record.judges:
            return False
        facts, job = decode(result), self._jobs.get(trial_id)
        if job is None or not isinstance(facts, dict):
            return False
        if why := self.record.judge(job.number, facts):
            self._overtaken[trial_id] = why
            self._tell("step", job, metrics=facts)
        return bool(why)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended; for a death `bury` follows with its cause."""
        if error or trial_id not in self._jobs:
            return
        facts = decode(result)
        job = self._jobs.pop(trial_id)
        if why := self._overtaken.pop(trial_id, ""):
            facts = Ended(DOMINATED, why)
        ended = facts if isinstance(facts, Ended) else Ended("missing", "the trial said nothing")
        ended = self.record.finish(job.number, ended)
        kind = "stopped" if ended.reason in EARLY else "failed" if ended.reason else "complete"
        self._tell(self._again(job, kind), job, ended.metrics, _words(ended), ended.seconds)

    def begin(self, trial_id: str) -> None:
        """Pass on that a trial's worker begins."""
        if trial_id in self._jobs:
            self._tell("started", self._jobs[trial_id])

    def waits_for(self, trial_id: str) -> bool:
        """Return whether the end of a trial is still to come."""
        return trial_id in self._jobs

    def bury(self, trial_id: str, cause: str) -> None:
        """Record that a trial's process or node is gone, with Ray's words for it."""
        job = self._jobs.pop(trial_id, None)
        if job is None:
            return
        reason = "memory" if any(words in cause for words in _OUT_OF_MEMORY) else "died"
        error = _short(cause) or "its process ended"
        self.record.died(job.number, error, reason)
        self._tell(self._again(job, "failed"), job, reason=_words(Ended(reason, error)))

    def orphan_live(self) -> None:
        """Give up what still runs, for the next driver."""
        for job in self.record.orphan_live():
            self._tell("orphaned", job)
        self._jobs.clear()

    def _again(self, job: Job, kind: str) -> str:
        return "retried" if kind == "failed" and job.number in self.record.retried else kind

    def _tell(
        self,
        kind: Any,
        job: Job,
        metrics: dict[str, float | None] | None = None,
        reason: str = "",
        seconds: float = 0.0,
    ) -> None:
        self._listener(
            SweepEvent(kind, job.folder, job.attempt, job.values, metrics or {}, reason, seconds)
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: the study is the state."""
        return {"_metric": None, "_mode": None}

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the study is the state."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the study is the state."""


def _words(ended: Ended) -> str:
    return f"{ended.reason}: {ended.error}" if ended.error else ended.reason


class Witness(Callback):  # type: ignore[misc]
    """Brings the searcher what Tune tells callbacks only: beginnings, and the causes of deaths."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher
        self._seen = 0
        self._watched: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass a beginning on, and keep the trial out of Tune's own state: 13 kB of it each."""
        trial.get_json_state = _no_state
        self._searcher.begin(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass a death on."""
        self._searcher.bury(trial.trial_id, _cause(trial))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Find the trials that Tune gave up without telling anybody (a worker it cannot reuse)."""
        self._watched.update({trial.trial_id: trial for trial in trials[self._seen :]})
        self._seen = len(trials)
        for trial_id, trial in list(self._watched.items()):
            if not self._searcher.waits_for(trial_id):
                del self._watched[trial_id]
            elif trial.status == trial.ERROR:
                self._searcher.bury(trial_id, _cause(trial))


class InOrder(FIFOScheduler):  # type: ignore[misc]
    """Tune's own scheduler without its look at all trials, long ended ones too, at every turn."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[Any] = []

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take note of a trial."""
        self._open.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the first trial that waits, or None."""
        self._open = [trial for trial in self._open if not trial.is_finished()]
        return next((trial for trial in self._open if trial.status == trial.PENDING), None)


def _cause(trial: Any) -> str:
    """Return the last error of a Tune trial, which lies in a file on the driver's node."""
    try:
        text = Path(trial.error_file or "").read_text(encoding="utf-8")
    except OSError:
        return ""
    # Each failure begins with a line that numbers and dates it.
    return text.rpartition("Failure # ")[2].partition("\n")[2]


def _short(text: str) -> str:
    """Return `text` as one line, long ones without their middle: the cause stands at the end."""
    line = " ".join(text.split())
    return line if len(line) <= 2 * _WORDS else f"{line[:_WORDS]} ... {line[-_WORDS:]}"


def _no_state() -> tuple[str, str]:
    return "{}", "{}"


class StopRequest(Stopper):  # type: ignore[misc]
    """Ends the experiment in an orderly way once `requested` is set, and trials that are overtaken.

    Args:
        ends_early: whether a trial need not go on, by its id and its last result.
        nothing_left: whether there is nothing left to run trials on.
    """

    def __init__(
        self,
        ends_early: Callable[[str, dict[str, Any]], bool],
        nothing_left: Callable[[], bool],
    ) -> None:
        self.requested = False
        self._ends_early = ends_early
        self._nothing_left = nothing_left

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a trial need not go on."""
        return self._ends_early(trial_id, result)

    def stop_all(self) -> bool:
        """Return whether the whole experiment should stop."""
        return self.requested or self._nothing_left()
