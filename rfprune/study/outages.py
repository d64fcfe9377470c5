"""A storage that does not answer for a while: what counts as that, and how long it is waited for.

A database server that is restarted, a disk that is full, a SQLite file that somebody has locked:
none of them says anything about the sweep. The driver waits while its workers go on, and tries
again; what it was about to write is not lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from rfprune.core.addresses import masked
from rfprune.core.full_disk import is_full_disk
from rfprune.errors import RfpruneError, WorkError

__all__ = ["Patience", "is_outage"]

T = TypeVar("T")
_log = logging.getLogger("rfprune.study")

#: How long a storage may be away.
WAIT_SECONDS = 180.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0


def is_outage(error: BaseException) -> bool:
    """Return whether an error of a storage may be gone when it is asked again."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError, OperationalError
    from sqlalchemy.exc import TimeoutError as NoConnectionError

    if is_full_disk(error):
        return True
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        # Optuna wraps whatever fails in the middle of one of its transactions.
        error = error.__cause__
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | NoConnectionError)


class Patience:
    """Repeats calls on a storage until they succeed or it has been away for too long.

    Args:
        where: the storage, for messages; without its password.
        seconds: how long it may be away.
    """

    def __init__(self, where: str, seconds: float = WAIT_SECONDS) -> None:
        self._where = where
        self._seconds = seconds
        self._told = False

    def hurry(self) -> None:
        """Wait no longer: the driver has been asked to stop."""
        self._seconds = 0.0

    def call(self, work: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """Return what `work` returns.

        Args:
            work: one call on the storage.
            again: what is called from the second time on; `work` if it does no harm to repeat it,
                although its first call may have been carried out and only its answer been lost.

        Raises:
            WorkError: the storage has been away for too long.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
        while True:
            try:
                found = work()
            except RfpruneError:
                raise
            except Exception as error:
                if not is_outage(error):
                    raise
                self._give_up_or_tell(error, time.monotonic() - began)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                work = again or work
            else:
                if self._told:
                    self._told = False
                    _log.warning("%s answers again; the sweep continues.", self._where)
                return found

    def _give_up_or_tell(self, error: Exception, waited: float) -> None:
        from sqlalchemy.exc import DBAPIError

        # The database's own words; SQLAlchemy puts the command behind them.
        cause = error.__cause__ if isinstance(error.__cause__, DBAPIError) else error
        reason = masked(" ".join(str(getattr(cause, "orig", cause)).split("\n")[0].split()))
        if waited >= self._seconds:
            raise WorkError(
                f"{self._where}: the study could not be reached or written for {waited:.0f} s "
                f"({reason}). Finished work is kept in the run folder; run the same command to "
                "resume."
            ) from error
        if not self._told:
            self._told = True
            _log.warning(
                "%s cannot be reached or written (%s). The sweep waits for it, up to %.0f s.",
                self._where,
                reason,
                self._seconds,
            )
