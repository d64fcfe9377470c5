"""Advisory locks on files (flock): the system frees them when their process dies, however it ends.

A lock file is never removed while it may be in use: another process would lock a new file of the
same name, and both would hold "the" lock. `flock` also works between the hosts of a shared file
system (NFS maps it to a lock on the server), which is why exclusive locks need a file that is open
for writing and shared ones a file that is open for reading.
"""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rfprune.core.turns import waiting
from rfprune.errors import WorkError

__all__ = ["is_locked", "locked", "take"]

_POLL_SECONDS = 0.05
#: What `flock` says on a file system without locks: NFS without its lock service, Lustre that is
#: mounted without ``flock``, and some others.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def take(file: int | IO[Any], seconds: float | None = None) -> bool:
    """Lock an open file for this process; closing the file lets go of it.

    Args:
        file: open for writing; its number, or the file.
        seconds: how long to wait for another holder at most; None = as long as it takes.

    Returns:
        Whether the lock is held now.

    Raises:
        WorkError: the file system has no locks.
    """
    if seconds is None:
        if not take(file, 0.0):
            # The holder may be another thread of this process, and need its turn to let go.
            with waiting():
                _flock(file, fcntl.LOCK_EX)
        return True
    # flock has no time limit of its own, and a signal that would end it reaches only main threads.
    deadline = time.monotonic() + seconds
    while True:
        try:
            _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def _flock(file: int | IO[Any], operation: int) -> None:
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise WorkError(
            f"the file system of {getattr(file, 'name', 'the run folder')} has no file locks "
            f"({error.strerror}), and without them two processes could write one sweep. Use a "
            "folder on a local disk or on NFS 4 (--runs), or have it mounted with locks."
        ) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` for a while, waiting as long as it takes; the file stays."""
    with path.open("w") as file:
        take(file)
        yield


def is_locked(path: Path) -> bool:
    """Return whether some process, here or on a host that shares the folder, holds the lock.

    The check takes a shared lock for a moment: several processes may check at once without
    mistaking each other for the holder, but `take` should be given a few tenths of a second.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        # Where there are no locks, nobody can hold one.
        if not isinstance(error, FileNotFoundError) and error.errno not in _NO_LOCKS:
            raise
    return False
