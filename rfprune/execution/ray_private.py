"""Everything that rests on what Ray does not document, in one place.

What Ray and Tune offer in public (`tune.run`, `Searcher`, `Stopper`, `Callback`, actors) is used
where it is needed. Here is the rest: environment variables, the text of errors, attributes of
Tune's trials, the end of a worker's thread. Each entry says why the public way is not enough, and
``tests/execution/test_ray_private.py`` checks each against the Ray that is installed. Importing
this module does not load ray.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rfprune.errors import RfpruneError

__all__ = [
    "ENVIRONMENT",
    "JOB_CONFIG_VARIABLE",
    "cause_of_death",
    "is_lost",
    "is_node_death",
    "is_out_of_memory",
    "is_version_mismatch",
    "lean_tune",
    "leave_trial_thread",
    "local_node",
    "own_errors",
    "pending_in_order",
    "private_token",
    "quiet_environment",
    "report_to_tune",
    "same_resources",
    "shut_down",
    "signals_stay_ours",
    "stateless",
]

#: Read by Ray when it is imported or started; `ray.init` and `tune.run` have no argument for these.
ENVIRONMENT = {
    # Ray up to 2.50 hides all GPUs from a trial that asks for none, and warns that it will not.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune's newer reporter prints a table of the experiment and its errors although `verbose` is 0.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Workers stay in the driver's folder, which relative paths in a user's own modules refer to.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Nobody who starts a sweep has agreed to send statistics.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that died is noticed within seconds; one that is merely slow has five times ten.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    # The run folders are the log; Tune's own would be a second one, of CSV, JSON and TensorBoard.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Signals are the driver's: the first one ends the sweep in good order.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The study is the state; a snapshot of Tune's own every few seconds would never be read.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # A searcher that is not in a `ConcurrencyLimiter` has one pending trial at a time. This one
    # lets in no more than there is room for itself, so all of them may start at once.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
}

#: Methods of a node that start what a node of one driver has no use for.
_UNUSED_SERVICES = ("start_monitor", "start_log_monitor", "start_api_server")

_AUTH_MODE, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"
_NO_CLUSTER = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

#: Set by Ray in the driver of a submitted job, which brings its own code along.
JOB_CONFIG_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"

#: Tune logs the end of every worker here as an error with a traceback, and has no argument that
#: would silence it; hence its level is set.
_LOGGER = "ray.tune"

#: How Ray's memory monitor words a kill. The exception is of the same class as for any other death
#: of an actor, so only its text says it.
_OUT_OF_MEMORY = ("running low on memory", "OutOfMemoryError")

#: How Ray words that a worker went with its node, in ``ray/exceptions.py`` and in
#: ``gcs_actor_manager.cc``. The class of the exception is that of any other death.
_NODE_DIED = (
    "its node has died",
    "node was terminated",
    "node it was running on",
    "The node has died",
    "NodeDiedError",
    "node running the actor died",
)

#: How `ray.init` words that cluster and driver differ; it raises a plain RuntimeError.
_VERSION_MISMATCH = "Version mismatch"


@contextlib.contextmanager
def quiet_environment() -> Iterator[None]:
    """Set Ray's and Tune's variables for the time of the sweep; call before ray is imported."""
    logger = logging.getLogger(_LOGGER)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with _variables(ENVIRONMENT):
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def local_node() -> Iterator[None]:
    """Let `ray.init` start processes that only this machine reaches, in sessions of their own.

    - Ray binds its servers to all interfaces and takes 127.0.0.1 as its address only where clusters
      are switched off, as they are on macOS and Windows; the variable is read when ray is imported,
      and by the processes that it starts.
    - Its processes belong to the driver's process group, so that a SIGTERM to the group (systemd,
      ``timeout``, a closed terminal) ends them under a driver that wants to stop in good order.
      They still end with the driver, however it ends.
    - Three of them serve autoscalers, workers' output in the driver's and pages of a dashboard,
      none of which there is: they would take a third of the CPU time of a start.
    """
    from ray._private import node, ray_constants, services

    own_session = functools.partial(services.ConsolePopen, start_new_session=True)
    unused = dict.fromkeys(_UNUSED_SERVICES, lambda *args, **kwargs: None)
    with (
        _replaced(ray_constants, ENABLE_RAY_CLUSTER=False),
        _replaced(services, ConsolePopen=own_session),
        _replaced(node.Node, **unused),
        _variables({_NO_CLUSTER: "0"}),
    ):
        yield


@contextlib.contextmanager
def signals_stay_ours() -> Iterator[None]:
    """Let `ray.init` leave SIGTERM to the handler that is there.

    Its own ones exit at once, with 1 or 15, whatever the driver is about to write; and they stay,
    so that a signal between the start and the first trial would meet them, too.
    """
    from ray._private import utils

    with _replaced(utils, set_sigterm_handler=lambda handler: None):
        yield


def shut_down() -> None:
    """End Ray in this process, and what it started; also after half a start.

    A reference to an object that any thread frees while `ray.shutdown` runs ends the process with 1
    ("The core worker has already been shutdown"). Tune leaves some in cycles, which are freed by
    the thread that happens to collect garbage; so it is collected before, and not meanwhile.
    """
    import ray

    collects = gc.isenabled()
    gc.disable()
    try:
        gc.collect()
        ray.shutdown()
    finally:
        if collects:
            gc.enable()


@contextlib.contextmanager
def _replaced(thing: Any, **attributes: Any) -> Iterator[None]:
    """Give a module or class other attributes for a while."""
    theirs = {name: getattr(thing, name) for name in attributes}
    for name, value in attributes.items():
        setattr(thing, name, value)
    try:
        yield
    finally:
        for name, value in theirs.items():
            setattr(thing, name, value)


@contextlib.contextmanager
def private_token() -> Iterator[None]:
    """Let a local session of Ray use a token that only this user can read.

    Ray would write one into ``~/.ray``, which need not be writable, and readable for everybody. The
    token is kept in memory by Ray's loader, which is told to read it again.
    """
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    given = any(name in os.environ for name in (_AUTH_MODE, "RAY_AUTH_TOKEN", _TOKEN_PATH))
    if given:
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="rfprune-ray-"))
    try:
        with os.fdopen(os.open(folder / "token", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        # Ray itself switches tokens on for a session that it starts; the variable stays set then.
        with _variables({_TOKEN_PATH: str(folder / "token")}, also=(_AUTH_MODE,)):
            AuthenticationTokenLoader.instance().reset_cache()
            yield
    finally:
        AuthenticationTokenLoader.instance().reset_cache()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _variables(values: Mapping[str, str], also: Sequence[str] = ()) -> Iterator[None]:
    """Set environment variables for a while; `also` are put back as they were, too."""
    before = {name: os.environ.get(name) for name in (*values, *also)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def is_out_of_memory(cause: str) -> bool:
    """Return whether the text of a worker's death says that its node ran out of memory."""
    return any(words in cause for words in _OUT_OF_MEMORY)


def is_node_death(cause: str) -> bool:
    """Return whether the text of a worker's death says that its whole node is gone."""
    return any(words in cause for words in _NODE_DIED)


def is_version_mismatch(error: BaseException) -> bool:
    """Return whether `ray.init` failed because cluster and driver have different versions."""
    return _VERSION_MISMATCH in str(error)


def cause_of_death(trial: Any) -> str:
    """Return Ray's words for the last error of a Tune trial; empty if there are none.

    `Callback.on_trial_error` gets the trial and no exception, and `Trial.get_error` reads the
    storage of the experiment, where the text has not arrived yet. It lies in a file on the driver's
    node; each failure in it begins with a line that numbers and dates it.
    """
    try:
        text = Path(trial.error_file or "").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.rpartition("Failure # ")[2].partition("\n")[2]


def is_lost(trial: Any) -> bool:
    """Return whether Tune has given a trial up, which it does not always tell a callback.

    A worker that cannot be reused fails its next trial without `on_trial_error`; only the status
    changes.
    """
    return bool(trial.status == trial.ERROR)


def pending_in_order() -> Any:
    """Return a scheduler that runs trials in their order, and lets starting workers start.

    A worker that becomes free goes to the trial that the scheduler names. Tune's `FIFOScheduler`
    names the one that has waited longest, even if a worker of its own is about to start: that one
    is given up, and a new one started for the next trial. Trials that are shorter than the start of
    a worker (seconds) so all ran on the first one. It also looks at all trials at every turn, long
    ended ones as well; this one is told of each new trial and keeps the open ones.
    """
    from ray.tune.schedulers import FIFOScheduler

    class PendingInOrder(FIFOScheduler):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._open: list[Any] = []

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            self._open.append(trial)

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            # Schedulers see a wrapper, which hides who has which worker.
            controller = tune_controller._tune_controller
            self._open = [trial for trial in self._open if trial.status == trial.PENDING]
            return next((t for t in self._open if not _is_starting(t, controller)), None)

    return PendingInOrder()


def _is_starting(trial: Any, controller: Any) -> bool:
    """Return whether a pending trial's own worker has its resources, and is being started."""
    worker = controller._trial_to_actor.get(trial)
    return worker is not None and bool(controller._actor_manager.is_actor_started(worker))


def stateless(trial: Any) -> None:
    """Keep a trial out of Tune's own state, of which `tune.run` writes a last snapshot at its end.

    A trial is 13 kB of it, made by pickling. Nothing restores from it: the study is the state.
    """
    trial.get_json_state = lambda: ("{}", "{}")


def same_resources(bundle: Mapping[str, float]) -> Any:
    """Return what each trial of a sweep occupies, as one object that all of them share.

    Tune copies a plain dict into each trial, and compares the copies ten times a trial by binding
    their arguments anew.

    Args:
        bundle: amounts by Ray's names of resources; memory in bytes.
    """
    from ray.tune import PlacementGroupFactory

    class SameResources(PlacementGroupFactory):  # type: ignore[misc]
        def __deepcopy__(self, memo: dict[int, Any]) -> SameResources:
            return self

        def __eq__(self, other: object) -> bool:
            return self is other or bool(super().__eq__(other))

        __hash__ = PlacementGroupFactory.__hash__

    return SameResources([dict(bundle)])


@contextlib.contextmanager
def lean_tune() -> Iterator[None]:
    """Spare `tune.run` two detours that bring a sweep nothing.

    - It imports MLflow and others (a second) to count callbacks for statistics that are not sent.
    - It asks the cluster's store for the trial function three times a trial, though that stays.
    """
    from ray.air._internal import usage
    from ray.tune import registry

    count, ask = usage.tag_callbacks, registry._internal_kv_get
    known: dict[bytes, bytes] = {}

    def ask_once(key: bytes) -> bytes | None:
        # Absent ones may come.
        if key not in known and (found := ask(key)) is not None:
            known[key] = found
        return known.get(key)

    usage.tag_callbacks, registry._internal_kv_get = lambda callbacks: False, ask_once
    try:
        yield
    finally:
        usage.tag_callbacks, registry._internal_kv_get = count, ask


def report_to_tune(facts: dict[str, str]) -> bool:
    """Report from a trial's function; return False if Tune stops the trial.

    Tune stops a function by raising SystemExit out of `tune.report`, which a trial function's own
    ``sys.exit`` cannot be distinguished from later.
    """
    from ray import tune

    try:
        tune.report(facts)
    except SystemExit:
        return False
    return True


def leave_trial_thread() -> NoReturn:
    """End the function of a trial that Tune has stopped, so that its worker takes the next one.

    After a plain return Tune's thread reports once more and waits for an answer that does not come;
    the worker is given up then, and a new one costs seconds.
    """
    sys.exit(0)


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Let an error of one of our callbacks leave `tune.run` as it was raised.

    Tune makes text of it: the controller raises a `TuneError` that holds the traceback, and the
    error itself is only that one's context.
    """
    from ray.tune import TuneError

    try:
        yield
    except TuneError as error:
        found: BaseException | None = error
        while isinstance(found, TuneError):
            found = found.__context__
        if not isinstance(found, RfpruneError | OSError):
            raise
        raise found from None
