"""What runs next and what came of it: the joint between the study and whoever executes trials.

`Record.ask` gives a job, `Record.finish`, `Record.died` and `Record.orphan_live` take its end. Ray
appears nowhere here: Tune drives a record through `rfprune.execution.searcher`, and a plain loop
can as well.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rfprune.errors import RunsError, SpecError
from rfprune.results import SweepFolder, TrialResult
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.sweep import FLAGS
from rfprune.study.curves import Curves
from rfprune.study.durations import Durations
from rfprune.study.earlier import Earlier
from rfprune.study.halving import Halving
from rfprune.study.missing import find_missing, put_aside
from rfprune.study.own_samplers import naming_its_faults
from rfprune.study.parameters import Scalar
from rfprune.study.representative import Metrics, Representative
from rfprune.study.sampler import (
    CURVES,
    SamplerChoice,
    choose_sampler,
    derived_seed,
    first_points,
    make_sampler,
)
from rfprune.study.space import Space
from rfprune.study.stopping import Stopping
from rfprune.study.trials import (
    DOMINATED,
    DUPLICATE,
    EARLIER,
    EARLY,
    INVALID,
    PAUSED,
    TOO_LONG,
    UNREACHABLE,
    StudyCounts,
    count_trials,
    fail,
    queue_again,
    queue_promotion,
    queue_retries,
    release_orphans,
    stop_early,
    to_be_retried,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

    from rfprune.study.known_costs import Costs
    from rfprune.study.optuna_private import OwnedStudy
    from rfprune.study.warm_start import EarlierTrial

__all__ = ["Ended", "Record", "TrialJob", "check_constraints"]

#: Draws of known points in a row after which a point of a finite space is taken that is not known.
_PATIENCE = 8
#: Draws in a row without a usable point after which the space counts as exhausted.
_LAST_TRY = 60
#: Trials in a row that end because a disk is full, after which the sweep ends; the pauses between
#: them (2, 4, 8, 16, 16 ... s) give whoever is in charge two minutes.
_MOST_FULL_DISKS = 10
#: Above this size the points of a finite space are taken in order instead of shuffled.
_SHUFFLED = 20_000
#: Stands for an unknown quantity in a constraint: far out, and finite, so that sums stay numbers.
_UNKNOWN_EXCESS = 1e12


@dataclass(frozen=True)
class TrialJob:
    """One trial to be run.

    Attributes:
        number: of the Optuna trial.
        folder: number of the run folder; a retry continues in the folder of the first attempt.
        attempt: how many attempts before this one died.
        values: the point of the search space, by path.
        spec: the resolved trial.
        rung: the step up to which the trial has been promoted, 0 if it has not.
    """

    number: int
    folder: int
    attempt: int
    values: dict[str, Scalar]
    spec: TrialSpec
    rung: int = 0


@dataclass(frozen=True)
class Ended:
    """How a trial ended, as the worker reports it.

    Attributes:
        reason: empty if it ran to its end; else ``error``, ``memory``, ``disk`` (full), ``died``,
            ``node`` (its node died), ``missing`` (no final step, or an objective nobody knows) or
            ``nan``; or one of `rfprune.study.trials.EARLY`, which is not a failure.
        error: the failure in words.
        steps: every measured quantity of each accepted step, in their order, and its number as
            ``step``; of a trial that ran to its end.
        metrics: those of the step that stands for the trial; filled in by `Record.finish`.
        stopped: why pruning ended.
        seconds: wall time of the trial in the worker.
    """

    reason: str = ""
    error: str = ""
    steps: Sequence[Metrics] = ()
    metrics: dict[str, float | None] = field(default_factory=dict)
    stopped: str = ""
    seconds: float = 0.0


def check_constraints(spec: SweepSpec) -> None:
    """Refuse constraints on what a condition may name elsewhere but a trial does not measure.

    Raises:
        SpecError: a name that is not a measured quantity (``trial``, ``fits``, ...).
    """
    for condition in spec.conditions:
        if condition.name in FLAGS and condition.name != "step":
            tested = spec.task.measured
            allowed = [name for name in (*spec.quantities(), "step") if name not in tested]
            raise SpecError(
                f"{spec.name}: constraints: '{condition}': '{condition.name}' is not measured in a "
                f"trial. Allowed: {', '.join(allowed)}."
            )


class Record:
    """The study of one sweep, while its driver runs.

    Args:
        spec: the sweep.
        folder: of the sweep, with the run folders of what was tried before.
        space: `spec` expanded.
        study: opened under the sweep's lock.
        reference_point: of the hypervolume by objective, None if none is fixed.
        again: whether complete trials whose run folders are gone or damaged are run again.
        earlier: trials of other sweeps, told to the study before its first own trial.
        base_dir: folder of the sweep file, where a sampler of the user's own is looked for.
        costs: of dense networks, for the sampler ``curves``; without them TPE takes its place.
    """

    def __init__(
        self,
        spec: SweepSpec,
        folder: SweepFolder,
        space: Space,
        study: OwnedStudy,
        reference_point: Mapping[str, float] | None = None,
        again: bool = False,
        earlier: Sequence[EarlierTrial] = (),
        base_dir: Path = Path(),
        costs: Costs | None = None,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.space = space
        self.study = study
        self.choice: SamplerChoice = choose_sampler(spec, space)
        self.live: dict[int, TrialJob] = {}
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
        self._paused: dict[int, _Paused] = {}
        self._representative = Representative(spec, reference_point)
        self._stopping = Stopping(spec, self._representative, self._representative.reference)
        self._why_stopped = ""
        self._durations = Durations(space)
        self._earlier = Earlier(spec.objectives)
        self._guides: list[dict[str, Scalar]] = []
        self._points: Iterator[dict[str, Scalar]] | None = None
        self._folders = {trial.number for trial in folder.trials()}
        self._full_disks_in_a_row = 0
        self._resume_at = float("-inf")
        self._base_dir = base_dir
        self._curves = self._make_curves(costs)
        self._begin(again, earlier)

    def _make_curves(self, costs: Costs | None) -> Curves | None:
        """Return who proposes points, if that was chosen and the costs are known."""
        if self.choice.name != CURVES:
            return None
        if costs is not None:
            curves = Curves(self.spec, self.space, costs, self._representative)
            if curves.useful:
                return curves
        self.choice = SamplerChoice("tpe", "no costs are known before a trial")
        return None

    def _begin(self, again: bool, earlier: Sequence[EarlierTrial]) -> None:
        """Put the study in order after whatever ended the last driver."""
        own = [t for t in self.study.get_trials(deepcopy=False) if EARLIER not in t.user_attrs]
        if not own:
            self._tell_earlier(earlier)
        # Counted before anything is queued below: it seeds the sampler.
        n_trials = len(self.study.get_trials(deepcopy=False))
        missing = find_missing(self.study.get_trials(deepcopy=False), self.folder)
        if again:
            trials = self.study.get_trials(deepcopy=False)
            for number in missing:
                put_aside(self.folder.trial(trials[number].user_attrs["folder"]))
                queue_again(self.study, trials[number])
            missing = {}
        self.missing: dict[int, str] = missing
        self._remember_earlier()
        if not own:
            given = [dict(point) for point in self.space.starts]
            usual = first_points(self.spec, self.space, self.choice)
            self._queue_all(given if len(self._earlier) else usual)
        # Orphans first: only then are they among those that are to be retried.
        release_orphans(self.study)
        queue_retries(self.study, self.spec.retries)
        self.study.sampler = make_sampler(
            self.choice.name, self.spec.sampler, n_trials, self.space, self._base_dir
        )
        trials = self.study.get_trials(deepcopy=False)
        followed = {trial.user_attrs.get("retry_of") for trial in trials}
        self._ended = count_trials(self.study, self.missing)
        for trial in sorted(trials, key=_end_of):
            if "key" not in trial.user_attrs or trial.number in followed:
                continue
            self._keys.add(trial.user_attrs["key"])
            self._values.add(_frozen(trial.user_attrs["values"]))
            # Not what will be run again: a trial must not be compared with its own first attempt.
            if trial.state.is_finished():
                self._take_in(trial)
        if self._halving is not None:
            for folder in self.folder.trials():
                for step in self._accepted(folder.number):
                    self._halving.add(folder.number, int(step["step"] or 0), step)

    def _tell_earlier(self, trials: Sequence[EarlierTrial]) -> None:
        """Tell the study what other sweeps have found, by the rules of this one."""
        from optuna.trial import FixedTrial, create_trial

        known = {t.user_attrs[EARLIER] for t in self.study.get_trials(deepcopy=False)}
        for earlier in trials:
            chosen = self._representative.choose(earlier.steps)
            if chosen is None or earlier.origin in known:
                continue
            drawn = FixedTrial(self.space.encode(earlier.values, earlier.origin))
            values = self.space.suggest(drawn)
            excesses = self._representative.excesses(chosen)
            self.study.add_trial(
                create_trial(
                    values=[float(chosen[name] or 0.0) for name in self.spec.objectives],
                    params=drawn.params,
                    distributions=drawn.distributions,
                    constraints={t: min(x, _UNKNOWN_EXCESS) for t, x in excesses.items()},
                    user_attrs={
                        EARLIER: earlier.origin,
                        "values": values,
                        "steps": [dict(step) for step in earlier.steps],
                    },
                )
            )

    def _remember_earlier(self) -> None:
        """Take up what earlier sweeps have told, and whether it has turned out to mislead."""
        for trial in self.study.get_trials(deepcopy=False):
            if EARLIER in trial.user_attrs:
                values, steps = trial.user_attrs["values"], trial.user_attrs.get("steps", ())
                curve = self._representative.losses_of(steps)
                self._earlier.add(_frozen(values), trial.values, curve)
                self._learn(trial.user_attrs[EARLIER], values, steps)
            elif trial.state.name == "COMPLETE" and "values" in trial.user_attrs:
                self._earlier.compare(_frozen(trial.user_attrs["values"]), trial.values)
        self._guides = self._earlier.best(self._representative.reference)
        self._misled = self._earlier.misleads
        if self._misled:
            self._forget_earlier()

    def _forget_earlier(self) -> None:
        trials = self.study.get_trials(deepcopy=False)
        self.study.hide(trial.number for trial in trials if EARLIER in trial.user_attrs)
        self._guides = []
        if self._curves is not None:
            self._curves.forget_earlier()

    def _learn(
        self,
        name: int | str,
        values: dict[str, Scalar],
        steps: Sequence[Metrics],
        whole: bool = True,
    ) -> None:
        if self._curves is not None:
            self._curves.add(name, values, steps, whole)

    def _refuse(self, values: dict[str, Scalar]) -> None:
        if self._curves is not None:
            self._curves.refuse(values)

    def _queue_all(self, points: Sequence[dict[str, Scalar]]) -> None:
        for point in points:
            self._queue(point, f"{self.spec.name}: start")

    def _queue_guide(self) -> None:
        """Queue the next of the best points of earlier sweeps, if nothing else waits."""
        while self._guides and not self._waiting():
            point = self._guides.pop(0)
            if _frozen(point) not in self._values:
                self._queue(point, self.spec.name)

    def _queue_proposal(self) -> None:
        """Queue the point that promises most, if nothing else waits; none before the first end."""
        if self._curves is None or self._waiting():
            return
        n_trials = len(self.study.get_trials(deepcopy=False))
        running = [job.values for job in self.live.values()]
        seed = derived_seed(self.spec.sampler.seed, n_trials)
        if (point := self._curves.propose(self._values, running, seed)) is not None:
            self._queue(point, self.spec.name)

    def _take_in(self, trial: FrozenTrial) -> None:
        """Take in a trial that ended under an earlier driver."""
        folder = trial.user_attrs["folder"]
        accepted = self._accepted(folder)
        self._representative.add(accepted)
        whole = trial.state.name == "COMPLETE"
        self._learn(folder, trial.user_attrs["values"], accepted, whole)
        reason = trial.user_attrs.get("reason")
        if reason == UNREACHABLE:
            self._refuse(trial.user_attrs["values"])
        if reason == PAUSED and accepted:
            self._paused[folder] = _Paused(trial.number, int(accepted[-1]["step"] or 0))
        if trial.state.name == "COMPLETE" or reason in (DOMINATED, PAUSED):
            with contextlib.suppress(RunsError):
                result = self.folder.trial(folder).result()
                seconds = 0.0 if result is None else result.seconds
                self._stopping.add(accepted, seconds)
                self._durations.add(trial.user_attrs["values"], seconds)

    def _accepted(self, folder: int) -> list[dict[str, float | None]]:
        """Return what was measured at the accepted steps of a run folder; none if it is damaged.

        ``rfprune pareto`` names damaged folders; they must not keep the sweep from continuing.
        """
        try:
            steps = self.folder.trial(folder).steps()
        except RunsError:
            return []
        # Rejected steps are no candidates.
        return [step.facts() for step in steps if step.accepted]

    @property
    def counts(self) -> StudyCounts:
        """What `count_trials` says of the study, without its look at every trial."""
        return replace(self._ended, running=len(self.live), waiting=len(self._waiting()))

    @property
    def done(self) -> int:
        """Trials that count against those wanted."""
        return self._ended.done

    def _add(self, kind: str, more: int = 1) -> None:
        """Count further trials that have ended in this way, by an attribute of `StudyCounts`."""
        self._ended = replace(self._ended, **{kind: getattr(self._ended, kind) + more})

    @property
    def gave_up(self) -> str:
        """Why further trials are not worth running; empty while they are."""
        failed, ended = self.failed_here, self.ended_here
        if self._full_disks_in_a_row >= _MOST_FULL_DISKS:
            return (
                f"the disk was full for the last {_MOST_FULL_DISKS} trials. Free some space; the "
                "same command resumes them"
            )
        # A search may hit single points that fail; if many do, the sweep file is wrong.
        # All of the first few: the file or the machine is at fault, and the rest would fail alike.
        if failed >= 5 and failed == ended:
            return f"all of the first {failed} trials failed"
        if failed > 10 and failed > 0.2 * ended:
            return f"{failed} of {ended} trials failed"
        if self._unreachable_in_a_row >= _LAST_TRY:
            return f"no pruning can reach the budgets of the last {_LAST_TRY} points"
        return ""

    @property
    def stopped(self) -> str:
        """Why no further trial begins although more are wanted, by the rule ``stop``; or nothing.

        Once it says so it stays so, for this driver.
        """
        self._why_stopped = self._why_stopped or self._stopping.why
        return self._why_stopped

    def one_more_hour(self, seconds: float) -> str:
        """Return what one would probably bring, after a driver has taken so many `seconds`."""
        return self._stopping.outlook(seconds, self.ended_here)

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space is known and none waits to be tried again."""
        return self._exhausted and not self._waiting()

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing more is wanted."""
        if self.live:
            return False
        if self.gave_up or self.stopped:
            return True
        enough = self._ended.taken >= self.spec.trials
        return (enough or self.exhausted) and self._next_promoted() is None

    def ask(self) -> TrialJob | None:
        """Return the next trial to run, or None if there is none, now or for good.

        While as many trials are live as are still wanted there is none for now: one of them may
        fail.
        """
        # Not for good where a disk is full: Tune asks again.
        if self.gave_up or self.stopped or time.monotonic() < self._resume_at:
            return None
        # Before anything new: a trial that has shown to be good is worth more.
        if (job := self._promote()) is not None:
            return job
        taken = self._ended.taken + len(self.live)
        if taken >= self.spec.trials or self.exhausted:
            return None
        self._queue_guide()
        # A sampler that keeps drawing known points has nothing left to say about a finite space.
        patience = 0 if self.choice.name == "grid" else _PATIENCE
        too_long = 0
        for tries in range(_LAST_TRY):
            if (
                self._size is not None
                and tries >= patience
                and not self._waiting()
                and not self._queue_point()
            ):
                break
            self._queue_proposal()
            passed_over = self._ended.too_long
            job = self._draw()
            if job is not None:
                return job
            too_long += self._ended.too_long - passed_over
            if too_long > _PATIENCE:
                self._why_stopped = (
                    f"{self._stopping.left}, and no point was drawn whose trial would end in them"
                )
                return None
        self._exhausted = True
        return None

    def _next_promoted(self) -> int | None:
        """Return the folder of a paused trial that may continue, from the highest rung down."""
        if self._halving is None:
            return None
        by_rung = sorted(self._paused, key=lambda folder: (-self._paused[folder].rung, folder))
        advances = self._halving.advances
        return next((f for f in by_rung if advances(f, self._paused[f].rung)), None)

    def _promote(self) -> TrialJob | None:
        """Return the next paused trial that may continue; None if none may, or others wait."""
        # What waits was cut off or is tried first, and Optuna takes it first.
        folder = None if self._waiting() else self._next_promoted()
        if folder is None:
            return None
        paused = self._paused.pop(folder)
        trial = self.study.get_trials(deepcopy=False)[paused.number]
        # The same point, which must not pass for a duplicate.
        self._keys.discard(trial.user_attrs["key"])
        queue_promotion(self.study, trial, paused.rung)
        self._add("paused", -1)
        return self._draw()

    def _waiting(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def _queue_point(self) -> bool:
        """Queue the next point of a finite space that is not known; False if there is none."""
        if self._points is None:
            self._points = self.space.points()
            # Shuffled, so that a sweep that is stopped has seen all of the space and not one end of
            # it.
            if (self._size or 0) <= _SHUFFLED:
                shuffled = list(self._points)
                random.Random(self.spec.sampler.seed).shuffle(shuffled)
                self._points = iter(shuffled)
        for point in self._points:
            if _frozen(point) not in self._values:
                self._queue(point, self.spec.name)
                return True
        return False

    def _queue(self, point: dict[str, Scalar], source: str) -> None:
        encoded = self.space.encode(point, source)
        # Kept as an attribute too: what Optuna queues is readable only by Optuna itself.
        self.study.enqueue_trial(encoded, user_attrs={"queued": encoded})

    def _draw(self) -> TrialJob | None:
        """Ask the study for a trial; None if its point is known or breaks a rule."""
        with naming_its_faults(self.choice.name):
            trial = self.study.ask()
        # One piece of the journal: a crash leaves either all of the draw or nothing.
        with self.study.together():
            job = self._resolve(trial)
        if job is not None:
            self._trials[job.number] = trial
            self.live[job.number] = job
            if job.rung:
                self.folder.trial(job.folder).reopen()
            self.folder.trial(job.folder).write_spec(job.spec)
            # Its worker may begin as soon as this returns.
            self.study.settle()
        return job

    def _resolve(self, trial: Trial) -> TrialJob | None:
        with naming_its_faults(self.choice.name):
            values = self.space.suggest(trial)
        self._values.add(_frozen(values))
        trial.set_user_attr("values", values)
        try:
            spec = self.space.resolve(self.spec, values)
        except SpecError as error:
            fail(self.study, trial.number, INVALID, str(error))
            self._add("invalid")
            return None
        key, attrs = spec.key, trial.user_attrs
        if "folder" not in attrs and (why := self._too_long(values)):
            fail(self.study, trial.number, TOO_LONG, why)
            self._add("too_long")
            return None
        # Two points may mean the same trial: paths that are searched and change nothing.
        if key in self._keys:
            fail(self.study, trial.number, DUPLICATE)
            self._add("duplicate")
            return None
        known = attrs.get("folder")
        folder = self._free_folder(trial.number) if known is None else int(known)
        trial.set_user_attr("key", key)
        # Written last, also where a retry has it already: the journal is synced with it.
        trial.set_user_attr("folder", folder)
        self._keys.add(key)
        attempt, rung = int(attrs.get("attempt", 0)), int(attrs.get("rung", 0))
        return TrialJob(trial.number, folder, attempt, values, spec, rung)

    def _too_long(self, values: dict[str, Scalar]) -> str:
        """Return why a new trial would not end within ``stop.hours``; nothing if it would."""
        left = self._stopping.seconds_left
        expected = None if math.isinf(left) else self._durations.expected(values)
        if expected is None or expected <= left:
            return ""
        return f"{self._stopping.left}, and trials like it took {expected:.0f} s"

    def _free_folder(self, number: int) -> int:
        """Return the number of the run folder of a new trial: its own, unless that is taken.

        A study that was made again from run folders counts its trials anew.
        """
        # Taken where the study was made again, or where somebody copied folders in.
        if number in self._folders:
            number = max(self._folders) + 1
        self._folders.add(number)
        return number

    def replay(self, ended: Ended | None) -> None:
        """Take the next queued trial and how it ended long ago; None if it has not ended."""
        job = self._draw()
        # A point that the folders hold twice is one trial of the study.
        if job is not None and ended is not None:
            self.finish(job.number, ended)

    def queue_unknown(self, points: Sequence[dict[str, Scalar]]) -> None:
        """Queue those of some points, which may leave paths open, that no trial has had."""
        for point in points:
            if not any(set(point.items()) <= set(known) for known in self._values):
                self._queue(point, f"{self.spec.name}: start")

    def finish(self, number: int, ended: Ended) -> Ended:
        """Take a trial's end as its worker reports it; return it as it is recorded.

        Values and constraints are those of one and the same accepted step; see
        `rfprune.study.representative`.
        """
        job = self.live.pop(number)
        if ended.reason in EARLY:
            return self._stopped(job, ended)
        # One vector for a trial that has many networks; see `rfprune.study.representative`.
        chosen = None if ended.reason else self._representative.choose(ended.steps)
        self._note_disk(ended.reason)
        if chosen is None:
            ended = ended if ended.reason else self._unusable(ended)
            self._failed(job, ended)
            return ended
        trial = self._trials.pop(number)
        excesses = self._representative.excesses(chosen)
        values = [float(chosen[name] or 0.0) for name in self.spec.objectives]
        with self.study.together():
            for text, excess in excesses.items():
                trial.set_constraint(text, min(excess, _UNKNOWN_EXCESS))
            trial.set_user_attr("step", int(chosen["step"] or 0))
            # Last: from here on the trial has ended for Optuna.
            self.study.tell(trial, values)
        self._representative.add(ended.steps)
        self._learn(job.folder, job.values, ended.steps)
        self._stopping.add(ended.steps, ended.seconds)
        if not job.rung:
            self._durations.add(job.values, ended.seconds)
        self._compare_with_earlier(job, values)
        # Counted along; a look at all trials after each would grow with the sweep.
        self._add("complete")
        self._add("infeasible", any(excess > 0 for excess in excesses.values()))
        self.ended_here += 1
        self._unreachable_in_a_row = 0
        return replace(ended, metrics=dict(chosen))

    def _compare_with_earlier(self, job: TrialJob, values: Sequence[float]) -> None:
        """Forget earlier sweeps once their points come out otherwise here; begin as without."""
        if not len(self._earlier) or self._misled:
            return
        self._earlier.compare(_frozen(job.values), values)
        if self._earlier.misleads:
            self._misled = True
            self._forget_earlier()
            self._queue_all(first_points(self.spec, self.space, self.choice))

    def _note_disk(self, reason: str) -> None:
        """Wait before the next trial if a disk is full: it would only find the same."""
        if reason == "disk":
            self._full_disks_in_a_row += 1
            self._resume_at = time.monotonic() + 2.0 ** min(self._full_disks_in_a_row, 4)
        else:
            self._full_disks_in_a_row, self._resume_at = 0, float("-inf")

    @property
    def judges(self) -> bool:
        """Whether steps are compared at all."""
        return self._halving is not None

    def judge(self, number: int, facts: Mapping[str, float | None]) -> str:
        """Take in a step of a live trial; return why the trial need not go on, or nothing.

        A caller that gets a reason stops the trial and then calls `finish` with it.
        """
        # A rejected step does not show where the trial could get.
        if self._halving is None or not facts["accepted"]:
            return ""
        job, step = self.live[number], int(facts["step"] or 0)
        self._halving.add(job.folder, step, facts)
        if not self._halving.pauses:
            return self._halving.verdict(job.folder, step)
        # Behind the last step there is nothing that it could be promoted to.
        over = step <= job.rung or step >= job.spec.prune.steps
        if over or not self._halving.holds(job.folder, step):
            return ""
        # One that would be promoted at once need not be interrupted.
        return "" if self._halving.advances(job.folder, step) else f"at step {step}"

    @property
    def early_end(self) -> str:
        """The reason of the end of a trial that `judge` gives words for."""
        return PAUSED if self._halving is not None and self._halving.pauses else DOMINATED

    def overtaken(self, job: TrialJob) -> str:
        """Return why a trial that was cut off need not go on from its last accepted step."""
        if self._halving is None or self._halving.pauses:
            return ""
        accepted = self._accepted(job.folder)
        return self._halving.verdict(job.folder, int(accepted[-1]["step"] or 0)) if accepted else ""

    def died(self, number: int, error: str, reason: str = "died") -> None:
        """Take note that a trial's process or node is gone."""
        self._failed(self.live.pop(number), Ended(reason, error))

    def orphan_live(self) -> list[TrialJob]:
        """Tell what still runs as orphaned, so that the next driver resumes it."""
        jobs = list(self.live.values())
        for job in jobs:
            del self._trials[job.number]
            fail(self.study, job.number, "orphan")
        self._add("cut_off", len(jobs))
        self.live.clear()
        return jobs

    def _unusable(self, ended: Ended) -> Ended:
        """Return why none of a trial's steps is usable: what the last one lacks."""
        last = ended.steps[-1] if ended.steps else {}
        for name in self.spec.objectives:
            value = last.get(name)
            if value is None:
                return Ended("missing", f"the objective '{name}' is unknown after the trial")
            if not math.isfinite(value):
                return Ended("nan", f"the objective '{name}' is {value}")
        named = [c.name for c in self.spec.conditions if math.isnan(last.get(c.name) or 0.0)]
        return Ended("nan", f"the quantity '{named[0]}' is nan")

    def _stopped(self, job: TrialJob, ended: Ended) -> Ended:
        """Record an early end; its accepted steps stay candidates for the front."""
        del self._trials[job.number]
        folder = self.folder.trial(job.folder)
        accepted = self._accepted(job.folder)
        seconds = round(sum(step.seconds for step in folder.steps()), 3)
        # The folder first: where the study does not know yet, the next driver finds the result.
        if (result := folder.result()) is None or result.state == "failed":
            ending = {
                "state": "stopped",
                "stopped": ended.reason,
                "error": ended.error,
                "final_step": int(accepted[-1]["step"] or 0) if accepted else None,
                "seconds": seconds,
            }
            begun = folder.begun() or TrialResult(trial=job.folder, state="stopped")
            folder.write_result(begun.model_copy(update={**ending, "attempt": job.attempt}))
        values = {
            int(step["step"] or 0): {name: step[name] for name in self.spec.objectives}
            for step in accepted
        }
        stop_early(self.study, job.number, ended.reason, ended.error, values)
        self._representative.add(accepted)
        self._learn(job.folder, job.values, accepted, whole=False)
        if ended.reason == UNREACHABLE:
            # It costs nothing and says little, so it does not count towards the trials wanted.
            self._add("unreachable")
            self._refuse(job.values)
            self._unreachable_in_a_row += 1
        else:
            here = sum(step.seconds for step in folder.steps() if step.step > job.rung)
            self._stopping.add(accepted, here)
            if not job.rung:
                self._durations.add(job.values, here)
            self._add(ended.reason)
            if ended.reason == PAUSED:
                self._paused[job.folder] = _Paused(job.number, int(accepted[-1]["step"] or 0))
            self.ended_here += 1
            self._unreachable_in_a_row = 0
        return replace(ended, metrics=accepted[-1] if accepted else {}, seconds=seconds)

    def _failed(self, job: TrialJob, ended: Ended) -> None:
        del self._trials[job.number]
        fail(self.study, job.number, ended.reason, ended.error)
        if to_be_retried(self.study.get_trials(deepcopy=False)[job.number], self.spec.retries):
            # Its second attempt is the same point, and must not pass for a duplicate.
            self._keys.discard(job.spec.key)
            self.retried.add(job.number)
            queue_retries(self.study, self.spec.retries)
            return
        self._add("failed")
        self.ended_here += 1
        self.failed_here += 1
        # The front shows what a trial has accepted before it failed.
        self._representative.add(self._accepted(job.folder))
        folder = self.folder.trial(job.folder)
        words = f"{ended.reason}: {ended.error}" if ended.error else ended.reason
        # A worker that died left no result; one that ended well and yields no number is overruled.
        if folder.result() is None or ended.reason in ("nan", "missing"):
            folder.write_result(
                TrialResult(trial=job.folder, attempt=job.attempt, state="failed", error=words)
            )


class _Paused(NamedTuple):
    """A trial that waits: its number in the study, and the step it has come to."""

    number: int
    rung: int


def _end_of(trial: FrozenTrial) -> tuple[float, int]:
    """Return when a trial ended, for sorting; those that have not come last."""
    ended = trial.datetime_complete
    return (math.inf if ended is None else ended.timestamp(), trial.number)


def _frozen(values: dict[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    return tuple(sorted(values.items()))
