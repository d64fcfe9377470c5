"""Tune's view of a record: it asks for trials here and brings their results back.

Tune sees only the numbers of run folders: one per trial, or those of the trials that share a slot.
Its own state is never restored from (a restart begins a new Tune experiment from the study), so
what it would keep on disk is kept small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from rfprune.execution.ray_private import (
    cause_of_death,
    is_lost,
    is_node_death,
    is_out_of_memory,
    stateless,
)
from rfprune.execution.worker import read_report
from rfprune.study.events import Listener, SweepEvent
from rfprune.study.record import Ended, Record, TrialJob
from rfprune.study.trials import DOMINATED, EARLY

__all__ = ["StopRequest", "StudySearcher", "TrialCallback"]

_WORDS = 250


class StudySearcher(Searcher):  # type: ignore[misc]
    """Joins Ray Tune, which executes trials, and the study, which remembers them.

    Args:
        record: the study of the sweep.
        slots: returns how many trials may be live now.
        listener: called with every event.
    """

    def __init__(self, record: Record, slots: Callable[[], int], listener: Listener) -> None:
        super().__init__(metric=None, mode=None)
        self.record = record
        self._slots = slots
        self._listener = listener
        # Of each of Tune's trials the jobs that share it, by run folder.
        self._jobs: dict[str, dict[int, TrialJob]] = {}
        self._ended: dict[int, Ended] = {}
        self._apart: TrialJob | None = None

    def suggest(self, trial_id: str) -> dict[str, list[list[int]]] | str | None:
        """Return the run folders and attempts of what runs next, None for not now, or FINISHED."""
        # Asked no earlier than it can start: its sampler then knows every trial that has ended.
        if len(self._jobs) >= self._slots():
            return None
        jobs = self._next_jobs()
        if not jobs:
            # After FINISHED Tune never asks again, and the retry of a late failure would be lost.
            return str(Searcher.FINISHED) if self.record.finished else None
        # Tune's ids are its own; ours are the numbers of trials and folders.
        self._jobs[trial_id] = {job.folder: job for job in jobs}
        return {"trials": [[job.folder, job.attempt] for job in jobs]}

    def _next_jobs(self) -> list[TrialJob]:
        """Return the trials that share the next slot: one, or as many as are to be together."""
        found: list[TrialJob] = []
        while len(found) < self.record.spec.resources.together:
            job, self._apart = self._apart or self._next_job(), None
            if job is None:
                break
            # Its process has died before: it must not take the others with it once more.
            if job.attempt and found:
                self._apart = job
                break
            found.append(job)
            if job.attempt:
                break
        return found

    def _next_job(self) -> TrialJob | None:
        while (job := self.record.ask()) is not None:
            # A trial that was cut off may have been overtaken while no driver was there to judge
            # it.
            why = self.record.overtaken(job)
            if not why:
                break
            ended = self.record.finish(job.number, Ended(DOMINATED, why))
            self._tell("stopped", job, ended.metrics, _words(ended), ended.seconds)
        return job

    def take(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Take in what trials report; return whether they are over, by themselves or as we judge.

        Tune asks its stopper before anybody else, and once for every report.
        """
        jobs = self._jobs.get(trial_id)
        if jobs is None:
            return False
        for folder, event in read_report(result):
            job = jobs[folder]
            if isinstance(event, Ended):
                self._ended[folder] = event
                continue
            self._tell("step", job, metrics=event)
            if self.record.judges and (why := self.record.judge(job.number, event)):
                self._ended[folder] = Ended(self.record.early_end, why)
        over = [folder for folder in jobs if folder in self._ended]
        if len(over) < len(jobs):
            # The slot goes on with the others, and may yet die.
            for folder in over:
                self._finish(jobs.pop(folder))
            return False
        # Without it Tune would wait for the function's return, which takes one more round.
        return True

    def _finish(self, job: TrialJob) -> None:
        nothing = Ended("missing", "the trial reported nothing")
        ended = self.record.finish(job.number, self._ended.pop(job.folder, nothing))
        kind = "stopped" if ended.reason in EARLY else "failed" if ended.reason else "complete"
        self._tell(self._again(job, kind), job, ended.metrics, _words(ended), ended.seconds)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how trials ended; for a death `record_death` follows with its cause."""
        if error:
            return
        for job in self._jobs.pop(trial_id, {}).values():
            self._finish(job)

    def begin(self, trial_id: str) -> None:
        """Pass on that a worker begins."""
        for job in self._jobs.get(trial_id, {}).values():
            self._tell("started", job)

    def waits_for(self, trial_id: str) -> bool:
        """Return whether the end of one of Tune's trials is still to come."""
        return trial_id in self._jobs

    def record_death(self, trial_id: str, cause: str) -> None:
        """Record that the process or node of trials is gone, with Ray's words for it."""
        jobs = self._jobs.pop(trial_id, {})
        reason = "died"
        if is_out_of_memory(cause):
            reason = "memory"
        elif is_node_death(cause):
            reason = "node"
        error = " ".join(cause.split()) or "its process ended"
        if len(error) > 2 * _WORDS:
            # Without its middle: what failed is at the beginning, and the cause at the end.
            error = f"{error[:_WORDS]} ... {error[-_WORDS:]}"
        for job in jobs.values():
            self.record.died(job.number, error, reason)
            self._tell(self._again(job, "failed"), job, reason=_words(Ended(reason, error)))

    def orphan_live(self) -> None:
        """Give up what still runs, for the next driver."""
        for job in self.record.orphan_live():
            self._tell("orphaned", job)
        self._jobs.clear()
        self._apart = None

    def _again(self, job: TrialJob, kind: str) -> str:
        return "retried" if kind == "failed" and job.number in self.record.retried else kind

    def _tell(
        self,
        kind: Any,
        job: TrialJob,
        metrics: dict[str, float | None] | None = None,
        reason: str = "",
        seconds: float = 0.0,
    ) -> None:
        self._listener(
            SweepEvent(
                kind=kind,
                trial=job.folder,
                attempt=job.attempt,
                values=job.values,
                metrics=metrics or {},
                reason=reason,
                seconds=seconds,
                counts=self.record.counts,
            )
        )

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the study is the state."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the study is the state."""


def _words(ended: Ended) -> str:
    return f"{ended.reason}: {ended.error}" if ended.error else ended.reason


class TrialCallback(Callback):  # type: ignore[misc]
    """Passes on what Tune reports only to callbacks: beginnings, and the causes of deaths."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher
        self._seen = 0
        self._watched: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass a beginning on, and keep the trial out of Tune's own state: 13 kB of it each."""
        stateless(trial)
        self._searcher.begin(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass a death on."""
        self._searcher.record_death(trial.trial_id, cause_of_death(trial))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Find the trials that Tune gave up without telling anybody (a worker it cannot reuse)."""
        # New trials only: Tune hands over all of them at every step.
        self._watched.update({trial.trial_id: trial for trial in trials[self._seen :]})
        self._seen = len(trials)
        for trial_id, trial in list(self._watched.items()):
            if not self._searcher.waits_for(trial_id):
                del self._watched[trial_id]
            elif is_lost(trial):
                self._searcher.record_death(trial_id, cause_of_death(trial))


class StopRequest(Stopper):  # type: ignore[misc]
    """Ends the experiment in an orderly way once `requested` is set, and trials that are over.

    Args:
        take: takes in what a trial reports, by its id; returns whether the trial is over.
        nothing_left: whether there is nothing left to run trials on.
    """

    def __init__(
        self,
        take: Callable[[str, dict[str, Any]], bool],
        nothing_left: Callable[[], bool],
    ) -> None:
        self.requested = False
        self._take = take
        self._nothing_left = nothing_left

    def __getstate__(self) -> dict[str, bool]:
        """Return no function: Tune pickles the stopper into its last snapshot, which nobody reads.

        The functions lead to the study, with its database connections and locks.
        """
        return {"requested": self.requested}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a trial is over."""
        return self._take(trial_id, result)

    def stop_all(self) -> bool:
        """Return whether the whole experiment should stop."""
        return self.requested or self._nothing_left()
