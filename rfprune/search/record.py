"""What runs next and what came of it: the joint between the study and whoever executes trials.

`Record.ask` gives a job, `Record.finish`, `Record.died` and `Record.orphan_live` take its end. Ray
appears nowhere here: Tune drives a record through `rfprune.search.searcher`, and a plain loop can
as well.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rfprune.errors import SpecError
from rfprune.quantities import DIRECTIONS
from rfprune.runs import SweepFolder, TrialResult
from rfprune.search.halving import Halving
from rfprune.search.parameters import Scalar
from rfprune.search.sampler import Choice, choose_sampler, first_points, make_sampler
from rfprune.search.space import Space
from rfprune.search.trials import (
    DOMINATED,
    EARLY,
    UNREACHABLE,
    count_trials,
    fail,
    queue_retries,
    release_orphans,
    stop_early,
    to_be_retried,
)
from rfprune.spec import SweepSpec, TrialSpec

if TYPE_CHECKING:
    from optuna.trial import Trial

    from rfprune.search.storage import OwnedStudy

__all__ = ["Ended", "Job", "Record", "check_constraints"]

#: Draws of known points in a row after which a point of a finite space is taken that is not known.
_PATIENCE = 8
#: Draws in a row without a usable point after which the space counts as exhausted.
_LAST_TRY = 60
#: Above this size the points of a finite space are taken in order instead of shuffled.
_SHUFFLED = 20_000
#: Stands for an unknown quantity in a constraint: far out, and finite, so that sums stay numbers.
_UNKNOWN_EXCESS = 1e12


@dataclass(frozen=True)
class Job:
    """One trial to be run.

    Attributes:
        number: of the Optuna trial.
        folder: number of the run folder; a retry continues in the folder of the first attempt.
        attempt: how many attempts before this one died.
        values: the point of the search space, by path.
        spec: the resolved trial.
    """

    number: int
    folder: int
    attempt: int
    values: dict[str, Scalar]
    spec: TrialSpec


@dataclass(frozen=True)
class Ended:
    """How a trial ended, as the worker reports it.

    Attributes:
        reason: empty if it ran to its end; else ``error``, ``memory``, ``disk`` (full), ``died``,
            ``missing`` (no final step, or an objective nobody knows) or ``nan``; or one of
            `rfprune.search.trials.EARLY`, which is no failure.
        error: the failure in words.
        metrics: every measured quantity of the final step, and its number as ``step``.
        stopped: why pruning ended.
        seconds: wall time of the trial in the worker.
    """

    reason: str = ""
    error: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    stopped: str = ""
    seconds: float = 0.0


def check_constraints(spec: SweepSpec) -> None:
    """Refuse constraints on what a condition may name elsewhere but a trial does not measure.

    Raises:
        SpecError: a name that is no measured quantity (``trial``, ``fits``, ...).
    """
    allowed = [name for name in (*DIRECTIONS, "step") if name != "accuracy"]
    for condition in spec.conditions:
        if condition.name not in allowed:
            raise SpecError(
                f"{spec.name}: constraints: '{condition}': '{condition.name}' is not measured in a "
                f"trial. Allowed: {', '.join(allowed)}."
            )


class Record:
    """The study of one sweep, while its driver runs."""

    def __init__(
        self, spec: SweepSpec, folder: SweepFolder, space: Space, study: OwnedStudy
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.space = space
        self.study = study
        self.choice: Choice = choose_sampler(spec, space)
        self.live: dict[int, Job] = {}
        self.ended_here = 0
        self.failed_here = 0
        self.retried: set[int] = set()
        self._size = space.size()
        self._trials: dict[int, Trial] = {}
        self._keys: set[str] = set()
        self._values: set[tuple[tuple[str, Scalar], ...]] = set()
        self._exhausted = False
        self._unreachable_in_a_row = 0
        self._halving = Halving(spec.early_stop, spec.objectives) if spec.early_stop else None
        self._points: Iterator[dict[str, Scalar]] | None = None
        self._begin()

    def _begin(self) -> None:
        """Put the study in order after whatever ended the last driver."""
        n_trials = len(self.study.get_trials(deepcopy=False))
        if n_trials == 0:
            for point in first_points(self.spec, self.space, self.choice):
                self.study.enqueue_trial(self.space.encode(point, f"{self.spec.name}: start"))
        release_orphans(self.study)
        queue_retries(self.study, self.spec.retries)
        self.study.sampler = make_sampler(
            self.choice.name, self.spec.sampler.seed, n_trials, self.space
        )
        trials = self.study.get_trials(deepcopy=False)
        followed = {trial.user_attrs.get("retry_of") for trial in trials}
        self.done = count_trials(self.study).done
        for trial in trials:
            if "key" in trial.user_attrs and trial.number not in followed:
                self._keys.add(trial.user_attrs["key"])
                self._values.add(_frozen(trial.user_attrs["values"]))
        if self._halving is not None:
            for folder in self.folder.trials():
                for step in folder.steps():
                    if step.accepted:
                        self._halving.add(folder.number, step.step, step.metrics())

    @property
    def gave_up(self) -> str:
        """Why no further trial is worth its time; empty while there is hope."""
        failed, ended = self.failed_here, self.ended_here
        if failed >= 5 and failed == ended:
            return f"all of the first {failed} trials failed"
        if failed > 10 and failed > 0.2 * ended:
            return f"{failed} of {ended} trials failed"
        if self._unreachable_in_a_row >= _LAST_TRY:
            return f"no pruning can reach the budgets of the last {_LAST_TRY} points"
        return ""

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space is known and none waits to be tried again."""
        return self._exhausted and not self._waiting()

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing more is wanted."""
        if self.live:
            return False
        return self.done >= self.spec.trials or bool(self.gave_up) or self.exhausted

    def ask(self) -> Job | None:
        """Return the next trial to run, or None while (or because) there is none.

        With as many trials live as are still wanted there is none for now: one of them may fail.
        """
        if self.done + len(self.live) >= self.spec.trials or self.gave_up or self.exhausted:
            return None
        patience = 0 if self.choice.name == "grid" else _PATIENCE
        for tries in range(_LAST_TRY):
            if (
                self._size is not None
                and tries >= patience
                and not self._waiting()
                and not self._queue_point()
            ):
                break
            job = self._draw()
            if job is not None:
                return job
        self._exhausted = True
        return None

    def _waiting(self) -> bool:
        from optuna.trial import TrialState

        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _queue_point(self) -> bool:
        """Queue the next point of a finite space that is not known; False if there is none."""
        if self._points is None:
            self._points = self.space.points()
            if (self._size or 0) <= _SHUFFLED:
                shuffled = list(self._points)
                random.Random(self.spec.sampler.seed).shuffle(shuffled)
                self._points = iter(shuffled)
        for point in self._points:
            if _frozen(point) not in self._values:
                self.study.enqueue_trial(self.space.encode(point, self.spec.name))
                return True
        return False

    def _draw(self) -> Job | None:
        """Ask the study for a trial; None if its point is known or breaks a rule."""
        trial = self.study.ask()
        values = self.space.suggest(trial)
        self._values.add(_frozen(values))
        try:
            spec = self.space.resolve(self.spec, values)
        except SpecError as error:
            trial.set_user_attr("values", values)
            fail(self.study, trial.number, "invalid", str(error))
            return None
        key, attrs = spec.key, trial.user_attrs
        trial.set_user_attr("values", values)
        if key in self._keys:
            fail(self.study, trial.number, "duplicate")
            return None
        folder = int(attrs.get("folder", trial.number))
        trial.set_user_attr("key", key)
        # Written last, also where a retry has it already: the journal is synced with it.
        trial.set_user_attr("folder", folder)
        job = Job(trial.number, folder, int(attrs.get("attempt", 0)), values, spec)
        self._keys.add(key)
        self._trials[job.number] = trial
        self.live[job.number] = job
        self.folder.trial(folder).write_spec(spec)
        return job

    def finish(self, number: int, ended: Ended) -> Ended:
        """Take a trial's end as its worker reports it; return it as it is recorded."""
        job = self.live.pop(number)
        ended = self._judged(ended)
        if ended.reason in EARLY:
            return self._stopped(job, ended)
        if ended.reason:
            self._failed(job, ended)
            return ended
        trial = self._trials.pop(number)
        for condition in self.spec.conditions:
            excess = condition.excess(ended.metrics.get(condition.name))
            trial.set_constraint(str(condition), min(excess, _UNKNOWN_EXCESS))
        values = [ended.metrics[name] for name in self.spec.objectives]
        self.study.tell(trial, [value for value in values if value is not None])
        self.done += 1
        self.ended_here += 1
        self._unreachable_in_a_row = 0
        return ended

    @property
    def judges(self) -> bool:
        """Whether steps are compared at all."""
        return self._halving is not None

    def judge(self, number: int, facts: Mapping[str, float | None]) -> str:
        """Take in a step of a live trial; return why the trial need not go on, or nothing.

        Who is told a reason stops the trial and then calls `finish` with it.
        """
        if self._halving is None or not facts["accepted"]:
            return ""
        folder, step = self.live[number].folder, int(facts["step"] or 0)
        self._halving.add(folder, step, facts)
        return self._halving.verdict(folder, step)

    def overtaken(self, job: Job) -> str:
        """Return why a trial that was cut off need not go on from its last accepted step."""
        if self._halving is None:
            return ""
        accepted = [step.step for step in self.folder.trial(job.folder).steps() if step.accepted]
        return self._halving.verdict(job.folder, accepted[-1]) if accepted else ""

    def died(self, number: int, error: str, reason: str = "died") -> None:
        """Take note that a trial's process or node is gone."""
        self._failed(self.live.pop(number), Ended(reason, error))

    def orphan_live(self) -> list[Job]:
        """Tell what still runs as orphaned, so that the same command goes on with it."""
        jobs = list(self.live.values())
        for job in jobs:
            del self._trials[job.number]
            fail(self.study, job.number, "orphan")
        self.live.clear()
        return jobs

    def _judged(self, ended: Ended) -> Ended:
        """Return `ended` with the reason it fails for, if its objectives are not finite numbers."""
        if ended.reason:
            return ended
        for name in self.spec.objectives:
            value = ended.metrics.get(name)
            if value is None:
                return Ended("missing", f"the objective '{name}' is not known after the trial")
            if not math.isfinite(value):
                return Ended("nan", f"the objective '{name}' is {value}")
        broken = [n for n, v in ended.metrics.items() if v is not None and math.isnan(v)]
        named = [c.name for c in self.spec.conditions if c.name in broken]
        return Ended("nan", f"the quantity '{named[0]}' is nan") if named else ended

    def _stopped(self, job: Job, ended: Ended) -> Ended:
        """Record an early end; its accepted steps stay candidates for the front."""
        del self._trials[job.number]
        folder = self.folder.trial(job.folder)
        steps = folder.steps()
        accepted = [step for step in steps if step.accepted]
        seconds = round(sum(step.seconds for step in steps), 3)
        # The folder first: where the study does not know yet, the next driver finds the result.
        if (result := folder.result()) is None or result.state == "failed":
            ending = {
                "state": "stopped",
                "stopped": ended.reason,
                "error": ended.error,
                "final_step": accepted[-1].step if accepted else None,
                "seconds": seconds,
            }
            begun = folder.begun() or TrialResult(trial=job.folder, state="stopped")
            folder.write_result(begun.model_copy(update={**ending, "attempt": job.attempt}))
        values = {s.step: {n: s.metrics()[n] for n in self.spec.objectives} for s in accepted}
        stop_early(self.study, job.number, ended.reason, ended.error, values)
        self._unreachable_in_a_row += ended.reason == UNREACHABLE
        if ended.reason == DOMINATED:
            self.done += 1
            self.ended_here += 1
            self._unreachable_in_a_row = 0
        metrics = {**accepted[-1].metrics(), "step": accepted[-1].step} if accepted else {}
        return replace(ended, metrics=metrics, seconds=seconds)

    def _failed(self, job: Job, ended: Ended) -> None:
        del self._trials[job.number]
        fail(self.study, job.number, ended.reason, ended.error)
        if to_be_retried(self.study.get_trials(deepcopy=False)[job.number], self.spec.retries):
            self._keys.discard(job.spec.key)
            self.retried.add(job.number)
            queue_retries(self.study, self.spec.retries)
            return
        self.ended_here += 1
        self.failed_here += 1
        folder = self.folder.trial(job.folder)
        words = f"{ended.reason}: {ended.error}" if ended.error else ended.reason
        if folder.result() is None or ended.reason in ("nan", "missing"):
            folder.write_result(
                TrialResult(trial=job.folder, attempt=job.attempt, state="failed", error=words)
            )


def _frozen(values: dict[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    return tuple(sorted(values.items()))
