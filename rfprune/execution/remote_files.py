"""Run folders for nodes that do not see them: a Ray actor on the driver's node.

It hands out the files that a trial resumes from, takes in what a step has made, and lets one of the
trials that share a dense network train it. It knows files and attempts, not what is in them; the
worker's side is `rfprune.execution.transport`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rfprune.core.files import write_atomic
from rfprune.data import data_files
from rfprune.errors import TrialError
from rfprune.results import SweepFolder, TrialFolder

__all__ = [
    "CHUNK_BYTES",
    "INCOMING",
    "INLINE_BYTES",
    "LARGEST_BYTES",
    "FilePieces",
    "RemoteFiles",
    "SupersededError",
]

#: Large files travel in pieces of this size, so that no process holds a whole one.
CHUNK_BYTES = 8 << 20
#: Files up to this size travel inside the call.
INLINE_BYTES = 64 << 10
#: A file above this size in a run folder is taken for a mistake.
LARGEST_BYTES = 8 << 30

#: Files by their path below the folder they belong to: each a list of contents or references.
FilePieces = dict[str, list[Any]]

#: Folder beside the trials in which files lie until they are whole.
INCOMING = ".incoming"
#: Written last in a commit: their presence says that the other files are there.
_LAST = ("steps.jsonl", "result.json")


class SupersededError(Exception):
    """Another attempt has taken over the trial: this one's results are no longer wanted."""


class RemoteFiles:
    """Keeps the run folders of one sweep; an asynchronous Ray actor.

    Args:
        sweep: the sweep's folder on the driver's node.
        search_dirs: folders there in which relative names of the sweep file are looked for.
    """

    def __init__(self, sweep: Path, search_dirs: Sequence[Path]) -> None:
        self._sweep = SweepFolder(sweep)
        self._search_dirs = tuple(search_dirs)
        self._attempts: dict[int, int] = {}
        self._leaders: dict[str, int] = {}
        self._settled: set[str] = set()
        self._changed = asyncio.Condition()
        self._shared: dict[Path, list[Any]] = {}
        self._nodes: set[str] = set()

    def sees(self, name: str, text: str) -> bool:
        """Return whether the file `name` of the sweep's folder holds `text`."""
        path = self._sweep.path / name
        return path.is_file() and path.read_text(encoding="utf-8") == text

    def nodes(self) -> list[str]:
        """Return Ray's names of the nodes that work on copies."""
        return sorted(self._nodes)

    async def own(self, trial: int, attempt: int) -> None:
        """Give a trial's folder to one attempt; earlier ones may no longer write.

        Raises:
            SupersededError: a later attempt has it.
        """
        # An attempt that was taken for dead may still be running.
        self._check_owner(trial, attempt)
        self._attempts[trial] = attempt
        shutil.rmtree(self._incoming(trial), ignore_errors=True)

    async def claim(self, trial: int, attempt: int, node: str) -> FilePieces:
        """Give a trial's folder to one attempt, and return the files that it resumes from.

        Raises:
            SupersededError: a later attempt has it.
        """
        await self.own(trial, attempt)
        self._nodes.add(node)
        folder = self._sweep.trial(trial)
        return await asyncio.to_thread(self._packed, _continued_from(folder), self._sweep.path)

    async def stage(self, trial: int, attempt: int, name: str, offset: int, chunk: bytes) -> None:
        """Take a piece of a large file that a commit puts into place.

        Raises:
            SupersededError: a later attempt has the trial.
            TrialError: the file is too large.
            OSError: the disk of the driver's node is full, or the folder cannot be written.
        """
        self._check_owner(trial, attempt)
        path = self._incoming(trial) / _inside(trial, name)
        await asyncio.to_thread(_write_at, path, offset, chunk)

    async def commit(self, trial: int, attempt: int, files: dict[str, bytes | None]) -> None:
        """Put files into place, each whole; None stands for one that was staged.

        Raises:
            SupersededError: a later attempt has the trial.
            OSError: the disk of the driver's node is full, or the folder cannot be written.
        """
        self._check_owner(trial, attempt)
        # Each file whole, and those that make a step count last.
        for name in sorted(files, key=_rank):
            target = self._sweep.path / _inside(trial, name)
            content = files[name]
            if content is None:
                await asyncio.to_thread(_move, self._incoming(trial) / name, target)
            else:
                await asyncio.to_thread(write_atomic, target, content)
        await self.release(trial)

    async def lead(self, dense_key: str, trial: int) -> bool:
        """Wait until a dense network is settled, or until it is this trial's turn to train it.

        Returns:
            Whether this trial goes ahead; the others wait until it has made a step or ended.
        """
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._is_settled(dense_key) or dense_key not in self._leaders
            )
            if self._is_settled(dense_key):
                return False
            self._leaders[dense_key] = trial
            return True

    async def release(self, trial: int, settled: bool = True) -> None:
        """Let the trials go on that wait for `trial`.

        Args:
            trial: which may lead or not.
            settled: False if it ended before its first step: one of the others leads then.
        """
        led = [key for key, leader in self._leaders.items() if leader == trial]
        for key in led:
            del self._leaders[key]
            if settled:
                self._settled.add(key)
        if led:
            async with self._changed:
                self._changed.notify_all()

    async def dense(self, dense_key: str) -> FilePieces:
        """Return the files of a dense network; none if no trial has kept one."""
        found = self._dense_files(dense_key)
        return await asyncio.to_thread(self._packed, found, self._sweep.path, True)

    async def supply(self, name: str) -> FilePieces:
        """Return a file, or the files of a data set's folder, that the sweep file names."""
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            return {}
        for search_dir in self._search_dirs:
            path = search_dir / name
            if path.exists():
                return await asyncio.to_thread(self._packed, data_files(path), search_dir, True)
        return {}

    def _dense_files(self, dense_key: str) -> list[Path]:
        return sorted(self._sweep.dense_dir.glob(f"{dense_key}-*/dense.*"))

    def _is_settled(self, dense_key: str) -> bool:
        if dense_key not in self._settled and self._dense_files(dense_key):
            self._settled.add(dense_key)
        return dense_key in self._settled

    def _check_owner(self, trial: int, attempt: int) -> None:
        if attempt < self._attempts.get(trial, attempt):
            raise SupersededError

    def _incoming(self, trial: int) -> Path:
        return self._sweep.path / INCOMING / f"{trial:04d}"

    def _packed(self, files: Iterable[Path], root: Path, shared: bool = False) -> FilePieces:
        return {
            path.relative_to(root).as_posix(): self._pieces(path, shared)
            for path in files
            if path.is_file()
        }

    def _pieces(self, path: Path, shared: bool) -> list[Any]:
        """Return a file's content, put into Ray's object store once if several nodes want it."""
        import ray

        # Not worth a place in the object store.
        if path.stat().st_size <= INLINE_BYTES:
            return [path.read_bytes()]
        if path in self._shared:
            return self._shared[path]
        pieces = []
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                pieces.append(ray.put(chunk))
        if shared:
            self._shared[path] = pieces
        return pieces


def _continued_from(trial: TrialFolder) -> list[Path]:
    """Return what a trial needs to go on: its records, and of the checkpoints the last one."""
    files = [path for path in trial.files() if path.parent.name != "steps"]
    # Earlier checkpoints are on the driver; a trial only ever resumes from the last.
    accepted = [step.step for step in trial.steps() if step.accepted]
    checkpoints = [path for step in accepted if (path := trial.checkpoint(step)).exists()]
    return [*files, *checkpoints[-1:]]


def _inside(trial: int, name: str) -> PurePosixPath:
    """Return `name` as a path, if it is one that a trial may write."""
    path = PurePosixPath(name)
    own = path.parts[:2] == ("trials", f"{trial:04d}") or path.parts[:1] == ("dense",)
    if path.is_absolute() or ".." in path.parts or not own:
        raise TrialError(f"'{name}': is not a file of trial {trial}.")
    return path


def _rank(name: str) -> tuple[int, str]:
    last = PurePosixPath(name).name
    return (_LAST.index(last) + 1 if last in _LAST else 0), name


def _write_at(path: Path, offset: int, chunk: bytes) -> None:
    if offset + len(chunk) > LARGEST_BYTES:
        raise TrialError(
            f"{path.name}: is larger than {LARGEST_BYTES / 2**30:.0f} GiB, the limit for files "
            "of a run folder."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        # A piece that is sent again, after an answer was lost, replaces itself.
        file.truncate(offset)
        file.write(chunk)


def _move(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        # Before the rename: a power failure must not leave the name without the content.
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
