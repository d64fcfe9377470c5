"""Runs or continues a sweep: one driver, a Ray cluster (this machine's, or a given one), one study.

A restart never restores Tune's state: it takes the lock, opens the study, puts orphans back into
the queue and begins a new Tune experiment that runs what is missing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rfprune.errors import ClusterError, WorkError
from rfprune.runs import StepRecord, SweepFolder
from rfprune.search.expand import expand
from rfprune.search.progress import Listener, SweepEvent
from rfprune.search.record import Record, check_constraints
from rfprune.search.sampler import Choice
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

__all__ = ["SweepOutcome", "cluster", "early_cluster", "quiet_environment", "run_sweep"]

_OBJECT_STORE_BYTES = 80_000_000
_SLOTS_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_TUNE_FOLDER = ".tune"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
#: Tune and Ray print nothing, phone nobody, and keep no state that would be restored from.
_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A worker's death is told by the study, the progress and the trial's result, in our words.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that died is noticed within seconds; one that is merely slow has five times ten.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # The searcher itself lets in no more than there is room for; so all of them start at once.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


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
    layers: Mapping[str, tuple[int, int]],
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
        layers: ``(n_in, n_out)`` of every layer that holds weights, by name.
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
    _check_reachable(address or os.environ.get("RAY_ADDRESS"))
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

        slots = _Slots(record.spec, elastic=given)
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
        resources_per_trial=_needs(spec),
        reuse_actors=True,
        max_failures=0,
        raise_on_failed_trial=False,
        stop=stop,
        callbacks=[Witness(searcher)],
        trial_name_creator=name,
        trial_dirname_creator=name,
        verbose=0,
    )


def _needs(spec: SweepSpec) -> dict[str, float]:
    wanted = spec.resources
    needs: dict[str, float] = {"cpu": wanted.cpus}
    if wanted.gpus:
        needs["gpu"] = wanted.gpus
    if wanted.memory_gb:
        needs["memory"] = int(wanted.memory_gb * 1e9)
    return needs


class _Slots:
    """How many trials the cluster's nodes hold at once.

    On a given cluster one more is let in: what waits there asks an autoscaler for a node, and a
    node that comes is used. Here on this machine no point is drawn before it can run.
    """

    def __init__(self, spec: SweepSpec, elastic: bool) -> None:
        self._needs = {
            "GPU" if name == "gpu" else name.upper() if name == "cpu" else name: amount
            for name, amount in _needs(spec).items()
        }
        self._elastic = elastic
        self._counted_at = float("-inf")
        self._n = 0
        if not elastic and self._count() == 0:
            wanted = ", ".join(f"{name} {amount:g}" for name, amount in self._needs.items())
            raise ClusterError(
                f"{spec.name}: resources: a trial needs {wanted}, which no node has. "
                f"There is: {self._largest()}."
            )

    def __call__(self) -> int:
        if not self._elastic:
            return self._n
        self._refresh()
        return self._n + 1

    def are_gone(self) -> bool:
        """Return whether the only node there is has died; to a given cluster another may come."""
        if self._elastic:
            return False
        self._refresh()
        return self._n == 0

    def _refresh(self) -> None:
        if time.monotonic() - self._counted_at > _SLOTS_SECONDS:
            self._count()

    def _count(self) -> int:
        self._counted_at = time.monotonic()
        self._n = sum(
            min(int(node.get(name, 0) / amount + 1e-9) for name, amount in self._needs.items())
            for node in _nodes()
        )
        return self._n

    def _largest(self) -> str:
        node = max(_nodes(), key=lambda node: node.get("CPU", 0), default={})
        return ", ".join(f"{name} {node.get(name, 0):g}" for name in self._needs)


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextlib.contextmanager
def quiet_environment() -> Iterator[None]:
    """Set Ray's and Tune's variables for the time of the sweep; call before ray is imported."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to the cluster at `address`, or start one on this machine and end it afterwards."""
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # Named outright: without it a cluster that happens to run on the host would be taken.
        options.update(include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)
    elif (
        home := _source_checkout()
    ) is not None and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        # Nodes that share the checkout find it there; a submitted job brings its own code along.
        options["runtime_env"] = {"env_vars": {"PYTHONPATH": str(home)}}
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise _refusal(address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def early_cluster(address: str | None) -> Iterator[Callable[[], object]]:
    """Start Ray on this machine while the caller still checks its input; end it afterwards.

    Args:
        address: of a running cluster, which needs no start.

    Yields:
        A function that waits until Ray is there; `run_sweep` finds it then.
    """
    if address or os.environ.get("RAY_ADDRESS"):
        yield lambda: None
        return
    started, over = threading.Event(), threading.Event()

    def hold() -> None:
        # Ray's processes die with the thread that started them, so it stays. If Ray does not start,
        # the driver's own attempt says why.
        try:
            with contextlib.suppress(ClusterError), cluster(None):
                started.set()
                over.wait()
        finally:
            started.set()

    with quiet_environment():
        thread = threading.Thread(target=hold, name="rfprune-ray")
        thread.start()
        try:
            yield started.wait
        finally:
            over.set()
            thread.join()


def _refusal(address: str | None, error: Exception) -> ClusterError:
    """Return why Ray did not start or did not let this process in, and what to do."""
    said = " ".join(str(error).split())
    if "Version mismatch" in said:
        return ClusterError(
            f"the Ray cluster at {address} and this process have different versions ({said}). Use "
            "the same Ray and Python on both sides, or 'rfprune submit', which needs them only on "
            "the cluster."
        )
    if address is not None and isinstance(error, ConnectionError):
        return ClusterError(
            f"the Ray cluster at {address} does not let this process in ({said}). If it asks for a "
            "token, put the cluster's into ~/.ray/auth_token, or name its file in "
            "RAY_AUTH_TOKEN_PATH."
        )
    return ClusterError(f"the Ray cluster {address or 'on this machine'} does not start ({said}).")


def _check_reachable(address: str | None) -> None:
    """Raise if nobody listens at HOST:PORT; Ray itself would wait for minutes before it says so.

    Raises:
        ClusterError: no connection, with the reason.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" or "local": no address to try
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClusterError(
            f"the Ray cluster at {address} cannot be reached ({reason}). Is it running there, and "
            "is the address HOST:PORT of its head (port 6379 by default)?"
        ) from error


def _source_checkout() -> Path | None:
    """Return the folder that holds the package, unless it is installed where nodes find it."""
    home = Path(__file__).resolve().parents[2]
    return None if home.name in ("site-packages", "dist-packages") else home


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
