"""Runs a trial where the driver's folder is not there: its files come and go step by step.

A worker that sees the sweep's folder works in it. Any other works on a copy on its node's own disk:
it fetches what the trial goes on from, and after each step the driver's node has what the step
made before the step counts. So a trial goes on elsewhere when its node dies, and all results are
on the driver. The other end is `rfprune.search.depot`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import rfprune
from rfprune.atomic import replacing
from rfprune.data.places import data_dir
from rfprune.errors import ClusterError, TrialError
from rfprune.runs import SweepFolder, TrialFolder
from rfprune.runs.files import write_atomic
from rfprune.search.depot import (
    CHUNK_BYTES,
    INCOMING,
    INLINE_BYTES,
    Depot,
    Parcels,
    SupersededError,
)
from rfprune.search.progress import Listener, SweepEvent
from rfprune.search.record import Ended
from rfprune.search.worker import OnStep, StoppedError, Workplace, execute
from rfprune.spec import TrialSpec

__all__ = ["Transport", "transport", "unpack"]

_TOKEN = ".transport"
_START_SECONDS = 120.0
_CLEAN_SECONDS = 15.0
#: Calls that the depot keeps open at once; each waiting trial is one.
_OPEN_CALLS = 100_000


class LostDepotError(BaseException):
    """The driver's node does not answer: says nothing about the trial, so no Exception."""


@contextlib.contextmanager
def transport(place: Workplace, given_cluster: bool) -> Iterator[Transport]:
    """Open the way between the driver's folder and the workers; call with Ray connected.

    Args:
        place: of the driver.
        given_cluster: whether there may be nodes that do not see the folder.

    Raises:
        ClusterError: Ray's own processes on the driver's node do not see the folder.
    """
    if not given_cluster:
        yield Transport(place)
        return
    token = uuid.uuid4().hex
    write_atomic(place.sweep / _TOKEN, token)
    depot = _start_depot(place, token)
    try:
        yield Transport(place, token, depot, rfprune.__version__)
    finally:
        _close(depot, token)
        shutil.rmtree(place.sweep / INCOMING, ignore_errors=True)
        (place.sweep / _TOKEN).unlink(missing_ok=True)


def _start_depot(place: Workplace, token: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Depot).options(
        num_cpus=0, max_concurrency=_OPEN_CALLS, scheduling_strategy=here
    )
    shelves = [folder for folder in (place.base_dir, Path.cwd(), data_dir()) if folder is not None]
    depot = actor.remote(place.sweep, shelves)
    try:
        seen = ray.get(depot.sees.remote(_TOKEN, token), timeout=_START_SECONDS)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"Ray starts no process for the run folders on the driver's node ({_last(error)})."
        ) from error
    if not seen:
        raise ClusterError(
            f"{place.sweep}: Ray's processes on this machine do not see this folder. Start Ray and "
            "the sweep in the same container, or mount the folder into both."
        )
    return depot


def _close(depot: Any, token: str) -> None:
    """Remove the copies on the nodes, as far as they answer, and end the depot."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with contextlib.suppress(ray.exceptions.RayError):
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        used = ray.get(depot.nodes.remote(), timeout=_CLEAN_SECONDS)
        clean = ray.remote(_remove_copies)
        there = [NodeAffinitySchedulingStrategy(n, soft=False) for n in used if n in alive]
        done = [clean.options(num_cpus=0, scheduling_strategy=n).remote(token) for n in there]
        if done:
            ray.wait(done, num_returns=len(done), timeout=_CLEAN_SECONDS)
    ray.kill(depot)


def _copies(token: str) -> Path:
    """Return the folder on this node's own disk for one driver's copies."""
    return Path(tempfile.gettempdir()) / f"rfprune-{token}"


def _remove_copies(token: str) -> None:
    shutil.rmtree(_copies(token), ignore_errors=True)


@dataclass(frozen=True)
class Transport:
    """How the trials of one driver reach its files; travels to the workers.

    Attributes:
        place: of the driver.
        token: what the driver wrote into the sweep's folder: who reads it there shares the folder.
        depot: the actor; None where all workers are on the driver's machine.
        version: of the driver's rfprune.
    """

    place: Workplace
    token: str = ""
    depot: Any = None
    version: str = ""

    def execute(self, folder: int, attempt: int, on_step: OnStep) -> Ended:
        """Run a trial as `rfprune.search.worker.execute` does, wherever this is.

        Raises:
            StoppedError: the driver stops, or has given the trial to another worker.
        """
        if self.depot is None:
            return execute(self.place, folder, attempt, on_step)
        try:
            if self._shares_folder():
                return self._execute_here(folder, attempt, on_step)
            return self._execute_on_copy(folder, attempt, on_step)
        except SupersededError:
            raise StoppedError from None
        except LostDepotError as error:
            return Ended("died", str(error))

    def listener(self, listener: Listener) -> Listener:
        """Return a listener that also lets go on who waits for a trial that has ended."""
        if self.depot is None:
            return listener

        def listen(event: SweepEvent) -> None:
            if event.kind not in ("started", "step"):
                self.depot.release.remote(event.trial, settled=False)
            listener(event)

        return listen

    def _shares_folder(self) -> bool:
        try:
            return (self.place.sweep / _TOKEN).read_text(encoding="utf-8") == self.token
        except OSError:
            return False

    def _execute_here(self, folder: int, attempt: int, on_step: OnStep) -> Ended:
        """Work in the driver's folder itself."""
        _ask(self.depot.own.remote(folder, attempt))
        key = SweepFolder(self.place.sweep).trial(folder).spec().dense_key
        leads = _ask(self.depot.lead.remote(key, folder))

        def step(record: Any) -> None:
            if leads:
                self.depot.release.remote(folder)
            on_step(record)

        return execute(self.place, folder, attempt, step)

    def _execute_on_copy(self, folder: int, attempt: int, on_step: OnStep) -> Ended:
        """Work on this node's own disk."""
        import ray

        copies = _copies(self.token)
        copies.mkdir(mode=0o700, exist_ok=True)
        place = dataclasses.replace(self.place, sweep=copies / "sweep", base_dir=copies / "base")
        trial = SweepFolder(place.sweep).trial(folder)
        shutil.rmtree(trial.path, ignore_errors=True)
        node = ray.get_runtime_context().get_node_id()
        try:
            unpack(_ask(self.depot.claim.remote(folder, attempt, node)), place.sweep)
            sender = _Sender(self.depot, place.sweep, trial, attempt)
            self._fetch_inputs(trial.spec(), folder, place)

            def step(record: Any) -> None:
                sender.send()
                on_step(record)

            ended = execute(place, folder, attempt, step)
            sender.send()
        except (TrialError, OSError) as error:
            ended = Ended("error", f"{type(error).__name__}: {error}")
        finally:
            shutil.rmtree(trial.path, ignore_errors=True)
        where = f"on node {socket.gethostname()}: "
        return dataclasses.replace(ended, error=where + ended.error) if ended.error else ended

    def _fetch_inputs(self, spec: TrialSpec, folder: int, place: Workplace) -> None:
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
        place.base_dir.mkdir(exist_ok=True)
        with _one_at_a_time(place.base_dir.parent):
            for name in _relative_names(spec):
                if not _is_here(name, place.base_dir):
                    unpack(_ask(self.depot.supply.remote(name)), place.base_dir)
        if _ask(self.depot.lead.remote(spec.dense_key, folder)):
            return
        with _one_at_a_time(place.base_dir.parent):
            dense = SweepFolder(place.sweep).dense_dir
            if next(dense.glob(f"{spec.dense_key}-*/dense.pt"), None) is None:
                unpack(_ask(self.depot.dense.remote(spec.dense_key)), place.sweep)


class _Sender:
    """Brings the files of one trial, and the dense networks beside it, to the depot.

    What is there when it is made is known to the depot already.
    """

    def __init__(self, depot: Any, sweep: Path, trial: TrialFolder, attempt: int) -> None:
        self._depot, self._sweep, self._trial, self._attempt = depot, sweep, trial, attempt
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
            _ask(self._depot.commit.remote(self._trial.number, self._attempt, files))
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
                _ask(self._depot.stage.remote(*here))
        return None


def _ask(reference: Any) -> Any:
    """Return the depot's answer, or raise what it raised there.

    Raises:
        LostDepotError: it does not answer any more.
    """
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise LostDepotError(f"the driver's node does not answer ({_last(error)})") from error


def unpack(parcels: Parcels, root: Path) -> None:
    """Write files below `root`, each whole."""
    for name, pieces in parcels.items():
        target = root / PurePosixPath(name)
        with replacing(target) as partial, partial.open("wb") as file:
            for piece in pieces:
                file.write(piece if isinstance(piece, bytes) else _ask(piece))


def _relative_names(spec: TrialSpec) -> list[str]:
    """Return the files that a trial names by relative paths; none of them leaves its folder."""
    names = [spec.data.file, spec.model.weights, spec.model.name if spec.model.is_file else None]
    if spec.edge is not None and spec.edge.device.endswith((".yml", ".yaml")):
        names.append(spec.edge.device)
    paths = [PurePosixPath(name) for name in names if name is not None]
    return [str(p) for p in paths if not (p.is_absolute() or ".." in p.parts or p.parts[0] == "~")]


def _check_data(spec: TrialSpec) -> None:
    path = Path(spec.data.file or ".").expanduser()
    if path.is_absolute() and not path.exists():
        raise TrialError(
            f"data.file: '{path}' is not on this node. Put it there on every node, or name it by a "
            "path relative to the sweep file: then it is brought to the nodes."
        )


def _is_here(name: str, base_dir: Path) -> bool:
    folders = [folder for folder in (base_dir, Path.cwd(), data_dir()) if folder is not None]
    return any((folder / name).exists() for folder in folders)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one worker of this node fetch, so that nothing comes twice."""
    with (folder / ".fetching").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _last(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[-1].split())
