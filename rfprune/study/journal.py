"""The study's journal file, written and synced where it matters instead of at every line.

Optuna's own backend locks, writes and syncs for each of the dozen lines that a trial leaves: 50 ms
where a sync takes 3 ms. What a killed process wrote is safe without that; against a power failure
it is enough that a trial is on disk before its worker begins, and its end before the next is asked
for. And lines that belong to one step of a trial go there in one piece (`Journal.together`).

A sync takes milliseconds in which the driver has other things to do: it runs beside them, and who
needs it waits at its end (`Journal.settle`); so does the next write.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import json
import os
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, NamedTuple

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from rfprune.core.files import sync
from rfprune.study.optuna_private import ends_a_step
from rfprune.study.outages import Patience

__all__ = ["SYNCED_ATTRIBUTES", "Journal", "StudyJournal"]

#: User attributes of a trial whose writing ends a step that must not be lost.
SYNCED_ATTRIBUTES = frozenset({"folder", "reason"})


class Journal(JournalFileBackend):
    """`JournalFileBackend` that writes the same lines and syncs at the end of each step.

    Attributes:
        patience: waits while the disk is full.
    """

    def __init__(self, path: str, patience: Patience | None = None) -> None:
        self.patience = patience or Patience(path)
        self._path = path
        self._write_lock = JournalFileSymlinkLock(path)
        # Lines of a `together` that is under way, and the number of the first once it is known.
        self._kept: list[str] | None = None
        self._first_kept: int | None = None
        self._sync = False
        self._syncing: _Syncing | None = None
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="journal")
        super().__init__(path, lock_obj=self._write_lock)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Keep the lines that are appended within, and write them in one piece at its end.

        Other writers wait meanwhile: the number of a line is its place in the file, and has to be
        the same here and there.
        """
        with self._locked():
            self._kept, self._first_kept = [], None
            try:
                yield
            finally:
                lines, self._kept = self._kept, None
                self._write(lines)
                if self._first_kept is not None:
                    # Teaches the backend where the new lines end; else it would begin at the top.
                    for _ in super().read_logs(self._first_kept):
                        pass

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append one line per log, and sync if one of them ends a step."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        # Kept until the lines are written, which may be at the end of a `together`.
        self._sync |= any(ends_a_step(log, SYNCED_ATTRIBUTES) for log in logs)
        if self._kept is not None:
            self._kept += lines
        else:
            with self._locked():
                self._write(lines)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the logs from a number on, those that are kept for now among them."""
        first = self._first_kept
        # Optuna counts logs from the top of the file; lines kept in memory have numbers as well.
        if self._kept is None or first is None or log_number_from < first:
            number = log_number_from
            for log in super().read_logs(log_number_from):
                number += 1
                yield log
            self._first_kept = first = number
        if self._kept is not None:
            for line in self._kept[max(log_number_from - first, 0) :]:
                yield json.loads(line)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._write_lock.acquire()
        try:
            yield
        finally:
            self._write_lock.release()

    def settle(self) -> None:
        """Wait until what was written is on the disk."""
        if self._syncing is not None:
            with self._locked():
                self._settle()

    def _settle(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is None:
            return

        def again() -> None:
            # What was not synced may be there in part.
            os.truncate(self._path, syncing.start)
            written = self._append(syncing.content, True)
            assert written is not None
            written.done.result()

        self.patience.call(syncing.done.result, again)

    def _write(self, lines: list[str]) -> None:
        self._settle()
        content = "".join(lines).encode()
        # Here and not only around the caller: what is written together has been taken in already.
        self._syncing = self.patience.call(lambda: self._append(content, self._sync))
        self._sync = False

    def _append(self, content: bytes, due: bool) -> _Syncing | None:
        """Append in one write; return its sync, which runs beside, if one is due."""
        # Unbuffered, so that what a killed process leaves is whole lines or a torn end.
        file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed behind the sync
        start = file.tell()
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        except OSError:
            # Half a line would be glued to the next one, and end the journal for good.
            file.truncate(start)
            file.close()
            raise
        if not due:
            file.close()
            return None
        # In this context: whoever writes thousands of files has them synced at the end.
        context = contextvars.copy_context()
        return _Syncing(start, content, self._beside.submit(context.run, _sync_and_close, file))


class _Syncing(NamedTuple):
    """What was written last: where in the file it begins, the lines, and their sync."""

    start: int
    content: bytes
    done: Future[None]


def _sync_and_close(file: IO[bytes]) -> None:
    with file:
        sync(file)


class StudyJournal(JournalStorage):
    """Optuna's storage on a `Journal`, which stays at hand.

    Attributes:
        journal: the file.
    """

    def __init__(self, path: str, patience: Patience | None = None) -> None:
        self.journal = Journal(path, patience)
        super().__init__(self.journal)
