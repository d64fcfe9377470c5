"""Runs a trial on a node that does not see the driver's folder: its files travel step by step.

A worker that sees the sweep's folder works in it. Any other works on a copy on its node's own disk:
it fetches what the trial resumes from, and after each step the driver's node has what the step
made before the step counts. So a trial resumes elsewhere when its node dies, and all results are
on the driver. The other end is `rfprune.execution.remote_files`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import rfprune
from rfprune.core.files import replacing, write_atomic
from rfprune.core.full_disk import is_full_disk
from rfprune.core.given import given_files
from rfprune.core.locks import locked
from rfprune.core.paths import find_named, named_files, search_folders
from rfprune.core.turns import waiting
from rfprune.data.places import data_dir
from rfprune.errors import ClusterError, TrialError
from rfprune.execution.remote_files import (
    CHUNK_BYTES,
    INCOMING,
    INLINE_BYTES,
    FilePieces,
    RemoteFiles,
    SupersededError,
)
from rfprune.execution.worker import (
    OnStep,
    StoppedError,
    WorkerContext,
    execute,
    full_disk,
)
from rfprune.results import SweepFolder, TrialFolder
from rfprune.spec import TrialSpec
from rfprune.study.events import Listener, SweepEvent
from rfprune.study.record import Ended

__all__ = ["Transport", "transport", "unpack"]

_TOKEN = ".transport"
_START_SECONDS = 120.0
_CLEAN_SECONDS = 15.0
#: Calls to `RemoteFiles` that stay open at once; each waiting trial is one.
_OPEN_CALLS = 100_000


class DriverLostError(BaseException):
    """The driver's node does not answer. Not an Exception: the trial is not at fault."""


@contextlib.contextmanager
def transport(context: WorkerContext, given_cluster: bool) -> Iterator[Transport]:
    """Open the way between the driver's folder and the workers; call with Ray connected.

    Args:
        context: of the driver.
        given_cluster: whether there may be nodes that do not see the folder.

    Raises:
        ClusterError: Ray's own processes on the driver's node do not see the folder.
    """
    if not given_cluster:
        yield Transport(context)
        return
    token = uuid.uuid4().hex
    write_atomic(context.sweep / _TOKEN, token)
    remote_files = _start_remote_files(context, token)
    try:
        yield Transport(context, token, remote_files, rfprune.__version__)
    finally:
        _close(remote_files, token)
        shutil.rmtree(context.sweep / INCOMING, ignore_errors=True)
        (context.sweep / _TOKEN).unlink(missing_ok=True)


def _start_remote_files(context: WorkerContext, token: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # On the driver's node and nowhere else: it is the one with the folder.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(RemoteFiles).options(
        num_cpus=0, max_concurrency=_OPEN_CALLS, scheduling_strategy=here
    )
    remote_files = actor.remote(context.sweep, search_folders(context.base_dir, data_dir()))
    try:
        # The same node need not mean the same container.
        seen = ray.get(remote_files.sees.remote(_TOKEN, token), timeout=_START_SECONDS)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"Ray did not start the process that serves the run folders on the driver's node "
            f"({_last(error)})."
        ) from error
    if not seen:
        raise ClusterError(
            f"{context.sweep}: Ray's processes on this machine do not see this folder. Start Ray "
            "and the sweep in the same container, or mount the folder into both."
        )
    return remote_files


def _close(remote_files: Any, token: str) -> None:
    """Remove the copies on the nodes, as far as they answer, and end the actor."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with contextlib.suppress(ray.exceptions.RayError):
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        used = ray.get(remote_files.nodes.remote(), timeout=_CLEAN_SECONDS)
        clean = ray.remote(_remove_copies)
        there = [NodeAffinitySchedulingStrategy(n, soft=False) for n in used if n in alive]
        done = [clean.options(num_cpus=0, scheduling_strategy=n).remote(token) for n in there]
        if done:
            ray.wait(done, num_returns=len(done), timeout=_CLEAN_SECONDS)
    ray.kill(remote_files)


def _copies(token: str) -> Path:
    """Return the folder on this node's own disk for one driver's copies."""
    return Path(tempfile.gettempdir()) / f"rfprune-{token}"


def _remove_copies(token: str) -> None:
    shutil.rmtree(_copies(token), ignore_errors=True)


@dataclass(frozen=True)
class Transport:
    """How the trials of one driver reach its files; travels to the workers.

    Attributes:
        context: of the driver.
        token: what the driver wrote into the sweep's folder: a worker that reads it there shares
            the folder.
        remote_files: the actor; None where all workers are on the driver's machine.
        version: of the driver's rfprune.
    """

    context: WorkerContext
    token: str = ""
    remote_files: Any = None
    version: str = ""

    def execute(self, folder: int, attempt: int, on_step: OnStep) -> Ended:
        """Run a trial as `rfprune.execution.worker.execute` does, wherever this is.

        Raises:
            StoppedError: the driver stops, or has given the trial to another worker.
        """
        if self.remote_files is None:
            return execute(self.context, folder, attempt, on_step)
        try:
            if self._shares_folder():
                return self._execute_here(folder, attempt, on_step)
            return self._execute_on_copy(folder, attempt, on_step)
        except SupersededError:
            raise StoppedError from None
        except DriverLostError as error:
            return Ended("died", str(error))

    def listener(self, listener: Listener) -> Listener:
        """Return a listener that also releases the trials that wait for one that has ended."""
        if self.remote_files is None:
            return listener

        def listen(event: SweepEvent) -> None:
            if event.kind not in ("started", "step"):
                self.remote_files.release.remote(event.trial, settled=False)
            listener(event)

        return listen

    def _shares_folder(self) -> bool:
        try:
            # A folder of that path may exist here and be another one: the token tells.
            return (self.context.sweep / _TOKEN).read_text(encoding="utf-8") == self.token
        except OSError:
            return False

    def _execute_here(self, folder: int, attempt: int, on_step: OnStep) -> Ended:
        """Work in the driver's folder itself."""
        # Also here: an earlier attempt may be running on another node.
        _ask(self.remote_files.own.remote(folder, attempt))
        key = SweepFolder(self.context.sweep).trial(folder).spec().dense_key
        leads = self._leads(key, folder)

        def step(record: Any) -> None:
            if leads:
                self.remote_files.release.remote(folder)
            on_step(record)

        return execute(self.context, folder, attempt, step)

    def _execute_on_copy(self, folder: int, attempt: int, on_step: OnStep) -> Ended:
        """Work on this node's own disk."""
        import ray

        copies = _copies(self.token)
        copies.mkdir(mode=0o700, exist_ok=True)
        context = dataclasses.replace(
            self.context, sweep=copies / "sweep", base_dir=copies / "base"
        )
        trial = SweepFolder(context.sweep).trial(folder)
        # An earlier attempt on this node may have left a copy that the driver has not confirmed.
        shutil.rmtree(trial.path, ignore_errors=True)
        node = ray.get_runtime_context().get_node_id()
        try:
            unpack(_ask(self.remote_files.claim.remote(folder, attempt, node)), context.sweep)
            sender = _Sender(self.remote_files, context.sweep, trial, attempt)
            self._fetch_inputs(trial.spec(), folder, context)

            def step(record: Any) -> None:
                # Before the step is reported: what counts is on the driver's disk.
                sender.send()
                on_step(record)

            ended = execute(context, folder, attempt, step)
            sender.send()
        except (TrialError, OSError) as error:
            words = f"{type(error).__name__}: {error}"
            ended = full_disk(words) if is_full_disk(error) else Ended("error", words)
        finally:
            # Copies of whole trials would fill a node's disk in the course of a sweep.
            shutil.rmtree(trial.path, ignore_errors=True)
        where = f"on node {socket.gethostname()}: "
        return dataclasses.replace(ended, error=where + ended.error) if ended.error else ended

    def _leads(self, dense_key: str, folder: int) -> bool:
        """Return whether a trial is to train its dense network; wait until it is there if not."""
        # Whoever trains it may be a trial of this very process.
        with waiting():
            leads: bool = _ask(self.remote_files.lead.remote(dense_key, folder))
        return leads

    def _fetch_inputs(self, spec: TrialSpec, folder: int, context: WorkerContext) -> None:
        """Bring what the trial reads: files that it names, and its dense network if there is one.

        Raises:
            TrialError: this node has another version of rfprune than the driver, or lacks the data.
        """
        if rfprune.__version__ != self.version:
            raise TrialError(
                f"rfprune {rfprune.__version__} is installed here and {self.version} on the "
                "driver: install the same on all nodes, or set 'code: sent' in the profile."
            )
        _check_data(spec)
        context.base_dir.mkdir(exist_ok=True)
        with _one_at_a_time(context.base_dir.parent):
            for name in _relative_names(spec):
                if find_named(name, context.base_dir, data_dir()) is None:
                    unpack(_ask(self.remote_files.supply.remote(name)), context.base_dir)
        # This trial is to train it; all others wait for it here and fetch.
        if self._leads(spec.dense_key, folder):
            return
        with _one_at_a_time(context.base_dir.parent):
            dense = SweepFolder(context.sweep).dense_dir
            if next(dense.glob(f"{spec.dense_key}-*/dense.pt"), None) is None:
                unpack(_ask(self.remote_files.dense.remote(spec.dense_key)), context.sweep)


class _Sender:
    """Brings the files of one trial, and the dense networks beside it, to the driver's node.

    The driver's node already has whatever exists when this object is made.
    """

    def __init__(self, remote_files: Any, sweep: Path, trial: TrialFolder, attempt: int) -> None:
        self._remote_files, self._sweep, self._trial, self._attempt = (
            remote_files,
            sweep,
            trial,
            attempt,
        )
        # What was just fetched need not be sent back.
        self._sent = self._found()

    def _found(self) -> dict[str, tuple[int, int]]:
        """Return size and time of every file that the driver is to have."""
        found = {}
        for path in (*self._trial.files(), *SweepFolder(self._sweep).dense_dir.glob("*/dense.*")):
            facts = path.stat()
            name = path.relative_to(self._sweep).as_posix()
            found[name] = (facts.st_size, facts.st_mtime_ns)
        return found

    def send(self) -> None:
        """Send what has changed since the last time; it is on the driver's disk afterwards."""
        found = self._found()
        changed = [name for name, facts in found.items() if self._sent.get(name) != facts]
        files = {name: self._content(name, found[name][0]) for name in changed}
        if files:
            _ask(self._remote_files.commit.remote(self._trial.number, self._attempt, files))
        self._sent = found

    def _content(self, name: str, size: int) -> bytes | None:
        """Return a small file's content; send a large one ahead in pieces."""
        path = self._sweep / name
        if size <= INLINE_BYTES:
            return path.read_bytes()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                offset = file.tell() - len(chunk)
                here = (self._trial.number, self._attempt, name, offset, chunk)
                _ask(self._remote_files.stage.remote(*here))
        return None


def _ask(reference: Any) -> Any:
    """Return the answer of `RemoteFiles`, or raise what it raised there.

    Raises:
        DriverLostError: it no longer answers.
    """
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise DriverLostError(f"the driver's node does not answer ({_last(error)})") from error


def unpack(files: FilePieces, root: Path) -> None:
    """Write files below `root`, each whole."""
    for name, pieces in files.items():
        target = root / PurePosixPath(name)
        with replacing(target) as partial, partial.open("wb") as file:
            for piece in pieces:
                file.write(piece if isinstance(piece, bytes) else _ask(piece))


def _relative_names(spec: TrialSpec) -> list[str]:
    """Return the files that a trial names by relative paths; none of them leaves its folder.

    Objects that were handed over in Python are among them: no node could import them otherwise.
    """
    named = [*(path for _, path in named_files(spec)), *given_files(spec.canonical())]
    paths = [PurePosixPath(path) for path in named]
    return [str(p) for p in paths if not (p.is_absolute() or ".." in p.parts or p.parts[0] == "~")]


def _check_data(spec: TrialSpec) -> None:
    path = Path(spec.data.file or ".").expanduser()
    if path.is_absolute() and not path.exists():
        raise TrialError(
            f"data.file: '{path}' is not on this node. Put it there on every node, or name it by a "
            "path relative to the sweep file: then it is brought to the nodes."
        )


def _one_at_a_time(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Let one worker of this node fetch at a time, so that nothing is transferred twice."""
    return locked(folder / ".fetching")


def _last(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[-1].split())
