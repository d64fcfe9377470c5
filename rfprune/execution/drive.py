"""Runs or continues a sweep: one driver, a Ray cluster (this machine's, or a given one), one study.

A restart never restores Tune's state: it takes the lock, opens the study, puts orphans back into
the queue and begins a new Tune experiment that runs what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.core.addresses import refuse_password
from rfprune.core.own_code import remember_code
from rfprune.core.signals import StopSignals
from rfprune.errors import ClusterError, WorkError
from rfprune.execution.cluster import check_reachable, cluster, quiet_environment
from rfprune.execution.ray_private import (
    lean_tune,
    leave_trial_thread,
    own_errors,
    pending_in_order,
    report_to_tune,
    same_resources,
)
from rfprune.execution.slots import Slots, needs
from rfprune.execution.transport import Transport, transport
from rfprune.execution.worker import (
    DEFAULT_FUNCTION,
    StoppedError,
    WorkerContext,
    run_slot,
)
from rfprune.results import SweepFolder
from rfprune.results.retention import find_surplus, remove
from rfprune.spec import SweepSpec
from rfprune.study.events import Listener, SweepEvent
from rfprune.study.known_costs import KnownCosts
from rfprune.study.missing import find_missing
from rfprune.study.record import Record, check_constraints
from rfprune.study.sampler import SamplerChoice
from rfprune.study.space import Space
from rfprune.study.study import lock, open_study
from rfprune.study.trials import StudyCounts, count_trials
from rfprune.study.warm_start import WarmStart, read_warm_start

if TYPE_CHECKING:
    from rfprune.execution.searcher import StopRequest, StudySearcher
    from rfprune.study.optuna_private import OwnedStudy

__all__ = ["SweepOutcome", "run_sweep"]

_TUNE_FOLDER = ".tune"


@dataclass(frozen=True)
class SweepOutcome:
    """How a driver's work on a sweep ended.

    Attributes:
        counts: of all trials in the study.
        wanted: number of trials that were asked for, complete or dominated.
        interrupted: a signal ended it; run the same command to resume.
        gave_up: why it ended early, because too many trials fail; empty otherwise.
        exhausted: the space has no further points.
        stopped: by which rule of ``stop`` it ended before its last trial; empty otherwise.
        one_more_hour: what it would probably bring, in a sentence; empty if not known.
        sampler: which sampler drew the points, and why.
        missing: complete trials whose run folders are gone or damaged, with what was found, by the
            number of the folder.
        seconds: wall time of this driver.
        first_trial_seconds: from the driver's start to the first trial's, None without one.
    """

    counts: StudyCounts
    wanted: int
    interrupted: bool
    gave_up: str
    exhausted: bool
    sampler: SamplerChoice
    seconds: float
    first_trial_seconds: float | None = None
    missing: Mapping[int, str] = field(default_factory=dict)
    stopped: str = ""
    one_more_hour: str = ""

    @property
    def reached(self) -> bool:
        """Whether all that was wanted, or all there is, is complete."""
        if self.missing:
            return False
        enough = self.counts.done >= self.wanted or bool(self.stopped)
        return enough or (self.exhausted and not self.gave_up)


def run_sweep(
    spec: SweepSpec,
    folder: SweepFolder,
    space: Space,
    *,
    base_dir: Path,
    trial_function: str = DEFAULT_FUNCTION,
    progress: Listener | None = None,
    address: str | None = None,
    reference_point: Mapping[str, float] | None = None,
    again: bool = False,
    warm_start: WarmStart | None = None,
) -> SweepOutcome:
    """Run the sweep until it has ``spec.trials`` complete trials, or resume one that was cut off.

    Args:
        spec: the sweep file.
        folder: where everything about the sweep is kept.
        space: `spec` expanded on the network, by `rfprune.study.expand`.
        base_dir: folder of the sweep file: relative paths and the user's own modules.
        trial_function: ``module:function`` with the parameters of `rfprune.trial.run_trial`.
        progress: called with every event, e.g. a `rfprune.api.progress.Display`.
        address: of a running Ray cluster; this machine if not set here or in ``RAY_ADDRESS``.
        reference_point: of the hypervolume, by objective; the one of the first start stays.
        again: whether complete trials whose run folders are gone or damaged are run again.
        warm_start: what was read of the earlier sweeps that `spec` names; read here if None.

    Raises:
        SpecError: a constraint on what a trial does not measure, or a password in an address.
        RunsError: the folder is in use, or its study is unreadable, foreign or of another file.
        ClusterError: the Ray cluster cannot be reached, or no node can hold a trial.
        WorkError: the record can no longer be written, e.g. because the disk is full.
    """
    watch = _Watch(progress)
    check_constraints(spec)
    refuse_password(spec.storage, f"{spec.name}: storage")
    check_reachable(address or os.environ.get("RAY_ADDRESS"))
    if warm_start is None:
        warm_start = read_warm_start(spec, space, folder.path.parent, base_dir)
    # Workers may have another working folder.
    folder = SweepFolder(folder.path.resolve())
    cpus = max(1, int(spec.resources.cpus))
    context = WorkerContext(folder.path, base_dir.resolve(), trial_function, cpus)
    with lock(folder):
        facts = _facts(folder, context, reference_point)
        # Under the lock: nobody else changes the study from here on.
        study = open_study(spec, folder, space.layers, facts["sweep_id"])
        with contextlib.closing(study):
            record = _record(spec, folder, space, study, context, facts, again, warm_start)
            remember_code(folder.path, context.base_dir, spec.canonical())
            # After the study has accepted the file: a refused change leaves the folder as it was.
            folder.write_spec(spec, {**facts, "sampler": record.choice._asdict()})
            interrupted = not record.finished and _run(record, context, watch, address)
            # At the end only: until then any trial may turn out to be on the front.
            if spec.runs.keep != "all":
                remove(find_surplus(folder, spec.runs.keep).paths)
            return _outcome(record, watch, interrupted)


def _record(
    spec: SweepSpec,
    folder: SweepFolder,
    space: Space,
    study: OwnedStudy,
    context: WorkerContext,
    facts: Mapping[str, Any],
    again: bool,
    warm_start: WarmStart,
) -> Record:
    # What the networks of a function of somebody's own cost is not known.
    own = context.function != DEFAULT_FUNCTION
    return Record(
        spec,
        folder,
        space,
        study,
        reference_point=facts["reference_point"],
        again=again,
        earlier=warm_start.trials,
        base_dir=context.base_dir,
        costs=None if own else KnownCosts(spec, space, context.base_dir),
    )


def _facts(
    folder: SweepFolder, context: WorkerContext, reference_point: Mapping[str, float] | None
) -> dict[str, Any]:
    """Return what ``sweep.json`` holds beside the spec.

    What the first start has fixed stays: it is what everything so far was measured against.
    """
    known = folder.facts() if (folder.path / "sweep.json").exists() else {}
    return {
        "sweep_id": uuid.uuid4().hex,
        "base_dir": str(context.base_dir),
        "reference_point": reference_point,
        **{name: value for name, value in known.items() if name != "spec"},
    }


def _outcome(record: Record, watch: _Watch, interrupted: bool) -> SweepOutcome:
    """Return how it ended, after a look at what is really there."""
    trials = record.study.get_trials(deepcopy=False)
    missing = find_missing(trials, record.folder)
    return SweepOutcome(
        counts=count_trials(record.study, missing),
        wanted=record.spec.trials,
        interrupted=interrupted,
        gave_up=record.gave_up,
        exhausted=record.exhausted,
        sampler=record.choice,
        seconds=watch.seconds(),
        first_trial_seconds=watch.first_trial_seconds,
        missing={trials[n].user_attrs["folder"]: why for n, why in missing.items()},
        stopped=_stopped(record),
        one_more_hour="" if record.exhausted else record.one_more_hour(watch.seconds()),
    )


def _stopped(record: Record) -> str:
    """Return which rule ended the sweep, where it was not its last trial."""
    return record.stopped if record.done < record.spec.trials and not record.gave_up else ""


class _Watch:
    """A listener that takes the time and passes every event on."""

    def __init__(self, listener: Listener | None) -> None:
        self.first_trial_seconds: float | None = None
        self._listener = listener
        self._began = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def __call__(self, event: SweepEvent) -> None:
        if self.first_trial_seconds is None:
            self.first_trial_seconds = self.seconds()
        if self._listener is not None:
            self._listener(event)


def _run(record: Record, context: WorkerContext, listener: Listener, address: str | None) -> bool:
    """Execute trials until the record has enough; return whether a signal ended it."""
    address = address or os.environ.get("RAY_ADDRESS")
    given = address is not None
    signals = StopSignals()
    try:
        with (
            signals,
            quiet_environment(),
            cluster(address),
            transport(context, given) as files,
        ):
            return _search(record, files, listener, signals, elastic=given)
    except KeyboardInterrupt:
        # The request came while Ray was starting.
        if signals.impatient:
            raise
        return not record.finished
    except ClusterError:
        # Ray may take the interruption of its start for a failure.
        if not signals.times:
            raise
        return not record.finished


def _search(
    record: Record, files: Transport, listener: Listener, signals: StopSignals, elastic: bool
) -> bool:
    """Let Tune run trials; return whether a signal ended it before the record was finished."""
    from rfprune.execution.searcher import StopRequest, StudySearcher

    sweep = files.context.sweep
    slots = Slots(record.spec, elastic=elastic)
    searcher = StudySearcher(record, slots, files.listener(listener))
    stop = StopRequest(searcher.take, slots.are_gone)

    def request() -> None:
        stop.requested = True
        # A storage that does not answer now is left to the next driver.
        record.study.hurry()

    # A request that came while Ray was starting is answered at once.
    try:
        signals.call(request)
        with own_errors(), lean_tune():
            _execute(record.spec, files, searcher, stop)
        if slots.are_gone():
            raise ClusterError(
                "Ray's node on this machine has died (killed, or out of memory). Finished work is "
                "kept; run the same command to resume."
            )
        return not record.finished
    except OSError as error:
        raise WorkError(
            f"{sweep}: the record of the sweep cannot be written ({error}). Finished work is kept; "
            "run the same command to resume."
        ) from error
    finally:
        # On a full disk, or without the study's server, the next driver finds them running and does
        # the same.
        with contextlib.suppress(OSError, WorkError):
            searcher.orphan_live()
        # Nothing in it is ever read: the study and the run folders are the state.
        shutil.rmtree(sweep / _TUNE_FOLDER, ignore_errors=True)


def _execute(spec: SweepSpec, files: Transport, searcher: StudySearcher, stop: StopRequest) -> None:
    """Let Tune run trials until the searcher is finished or `stop` is requested."""
    from ray import tune

    from rfprune.execution.searcher import TrialCallback

    judged = spec.early_stop is not None

    def trial(config: dict[str, list[list[int]]]) -> None:
        try:
            # The config holds numbers; all else is in the run folders, which outlive this worker.
            run_slot(config["trials"], files.execute, report_to_tune, at_once=judged)
        except StoppedError:
            leave_trial_thread()

    def name(trial: Any) -> str:
        folder, attempt = trial.config["trials"][0]
        return f"trial-{folder:04d}-{attempt}"

    tune.run(
        trial,
        name=uuid.uuid4().hex[:8],
        storage_path=str(files.context.sweep / _TUNE_FOLDER),
        search_alg=searcher,
        scheduler=pending_in_order(),
        # Without end: the searcher says when it is finished.
        num_samples=-1,
        resources_per_trial=same_resources(needs(spec)),
        # A new process would import torch anew for every trial, which takes seconds.
        reuse_actors=True,
        # Retries are the record's: they resume, in another attempt, from the last accepted step.
        max_failures=0,
        raise_on_failed_trial=False,
        stop=stop,
        callbacks=[TrialCallback(searcher)],
        trial_name_creator=name,
        trial_dirname_creator=name,
        verbose=0,
    )
