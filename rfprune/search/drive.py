"""Runs or continues a sweep: one driver, a Ray cluster (this machine's, or a given one), one study.

A restart never restores Tune's state: it takes the lock, opens the study, puts orphans back into
the queue and begins a new Tune experiment that runs what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rfprune.errors import ClusterError, WorkError
from rfprune.hardware.reuse import LayerSizes
from rfprune.runs import StepRecord, SweepFolder
from rfprune.search.cluster import check_reachable, cluster, quiet_environment
from rfprune.search.expand import expand
from rfprune.search.progress import Listener, SweepEvent
from rfprune.search.record import Record, check_constraints
from rfprune.search.sampler import Choice
from rfprune.search.slots import Slots, needs
from rfprune.search.study import lock, open_study
from rfprune.search.transport import Transport, transport
from rfprune.search.trials import Counts, count_trials
from rfprune.search.worker import (
    DEFAULT_FUNCTION,
    StoppedError,
    Workplace,
    encode_end,
    encode_step,
)
from rfprune.spec import SweepSpec

if TYPE_CHECKING:
    from rfprune.search.searcher import StopRequest, StudySearcher

__all__ = ["SweepOutcome", "run_sweep"]

_TUNE_FOLDER = ".tune"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@dataclass(frozen=True)
class SweepOutcome:
    """How a driver's work on a sweep ended.

    Attributes:
        counts: of all trials in the study.
        wanted: trials that were asked for, complete or overtaken by others.
        interrupted: a signal ended it; the same command goes on.
        gave_up: why it ended early, because too many trials fail; empty otherwise.
        exhausted: the space has no further points.
        sampler: which sampler drew the points, and why.
        seconds: wall time of this driver.
        first_trial_seconds: from the driver's start to the first trial's, None without one.
    """

    counts: Counts
    wanted: int
    interrupted: bool
    gave_up: str
    exhausted: bool
    sampler: Choice
    seconds: float
    first_trial_seconds: float | None = None

    @property
    def reached(self) -> bool:
        """Whether all that was wanted, or all there is, is complete."""
        return self.counts.done >= self.wanted or (self.exhausted and not self.gave_up)


def run_sweep(
    spec: SweepSpec,
    folder: SweepFolder,
    layers: LayerSizes,
    *,
    base_dir: Path,
    trial_function: str = DEFAULT_FUNCTION,
    progress: Listener | None = None,
    address: str | None = None,
    reference_point: Mapping[str, float] | None = None,
) -> SweepOutcome:
    """Run the sweep until it has ``spec.trials`` complete trials, or continue one that was cut off.

    Args:
        spec: the sweep file.
        folder: where everything about the sweep is kept.
        layers: size of every layer that holds weights, by name.
        base_dir: folder of the sweep file: relative paths and the user's own modules.
        trial_function: ``module:function`` with the parameters of `rfprune.trial.run_trial`.
        progress: is told what happens, e.g. a `rfprune.search.progress.Display`.
        address: of a running Ray cluster; this machine if not set here or in ``RAY_ADDRESS``.
        reference_point: of the hypervolume, by objective; the one of the first start stays.

    Raises:
        SpecError: the search space does not fit the network.
        RunsError: the folder is in use, or its study is unreadable, foreign or of another file.
        ClusterError: the Ray cluster cannot be reached, or no node can hold a trial.
        WorkError: the record cannot be written any more, e.g. because the disk is full.
    """
    watch = _Watch(progress)
    check_constraints(spec)
    check_reachable(address or os.environ.get("RAY_ADDRESS"))
    space = expand(spec, layers)
    folder = SweepFolder(folder.path.resolve())
    cpus = spec.resources.cpus
    place = Workplace(folder.path, base_dir.resolve(), trial_function, max(1, int(cpus)))
    with lock(folder):
        study = open_study(spec, folder, layers)
        record = Record(spec, folder, space, study)
        fixed = {
            "sweep_id": uuid.uuid4().hex,
            "base_dir": str(place.base_dir),
            "reference_point": reference_point,
        }
        folder.write_spec(spec, _facts(folder, record, fixed))
        interrupted = not record.finished and _run(record, place, watch, address)
        return SweepOutcome(
            counts=count_trials(study),
            wanted=spec.trials,
            interrupted=interrupted,
            gave_up=record.gave_up,
            exhausted=record.exhausted,
            sampler=record.choice,
            seconds=watch.seconds(),
            first_trial_seconds=watch.first_trial_seconds,
        )


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


def _facts(folder: SweepFolder, record: Record, fixed: dict[str, Any]) -> dict[str, Any]:
    """Return what ``sweep.json`` says besides the spec: facts of its first start are kept."""
    known = folder.facts() if (folder.path / "sweep.json").exists() else {}
    kept = {name: value for name, value in known.items() if name != "spec"}
    return {**fixed, **kept, "sampler": record.choice._asdict()}


def _run(record: Record, place: Workplace, listener: Listener, address: str | None) -> bool:
    """Execute trials until the record has enough; return whether a signal ended it."""
    address = address or os.environ.get("RAY_ADDRESS")
    given = address is not None
    with quiet_environment(), cluster(address), transport(place, given) as files:
        from rfprune.search.searcher import StopRequest, StudySearcher

        slots = Slots(record.spec, elastic=given)
        searcher = StudySearcher(record, slots, files.listener(listener))
        stop = StopRequest(searcher.ends_early, slots.are_gone)
        try:
            with _stopped_by_signals(stop):
                _execute(record.spec, files, searcher, stop)
            if slots.are_gone():
                raise ClusterError(
                    "Ray's node on this machine has died (killed, or out of memory). What is "
                    "finished is kept; the same command goes on from there."
                )
            interrupted = not record.finished
        except OSError as error:
            raise WorkError(
                f"{place.sweep}: the record of the sweep cannot be written ({error}). What is "
                "finished is kept; the same command goes on from there."
            ) from error
        finally:
            # On a full disk the next driver finds them running and does the same.
            with contextlib.suppress(OSError):
                searcher.orphan_live()
            shutil.rmtree(place.sweep / _TUNE_FOLDER, ignore_errors=True)
    return interrupted


def _execute(spec: SweepSpec, files: Transport, searcher: StudySearcher, stop: StopRequest) -> None:
    """Let Tune run trials until the searcher is finished or `stop` is requested."""
    from ray import tune

    from rfprune.search.searcher import InOrder, Witness

    def on_step(step: StepRecord) -> None:
        try:
            tune.report(encode_step(step))
        except SystemExit as error:
            # Tune's way to end a function that it stops; the trial's own exits look the same.
            raise StoppedError from error

    def trial(config: dict[str, int]) -> None:
        try:
            ended = files.execute(config["folder"], config["attempt"], on_step)
        except StoppedError:
            # After a plain return Tune would report once more, wait, and give the worker up.
            sys.exit(0)
        tune.report(encode_end(ended))

    def name(trial: Any) -> str:
        return f"trial-{trial.config['folder']:04d}-{trial.config['attempt']}"

    tune.run(
        trial,
        name=uuid.uuid4().hex[:8],
        storage_path=str(files.place.sweep / _TUNE_FOLDER),
        search_alg=searcher,
        scheduler=InOrder(),
        num_samples=-1,
        resources_per_trial=needs(spec),
        reuse_actors=True,
        max_failures=0,
        raise_on_failed_trial=False,
        stop=stop,
        callbacks=[Witness(searcher)],
        trial_name_creator=name,
        trial_dirname_creator=name,
        verbose=0,
    )


@contextlib.contextmanager
def _stopped_by_signals(stop: StopRequest) -> Iterator[None]:
    """Let the first signal end the sweep in good order, and the second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def request(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        for number in _SIGNALS:
            signal.signal(number, request)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
