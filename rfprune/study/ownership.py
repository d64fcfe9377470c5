"""Who drives a study that lies in a database: one folder, one driver, held by a lease.

A folder's lock keeps a second driver out of that folder. A study in a database can be reached from
any folder on any machine, so the study itself says who its owner is: the run folder, the sweep's
id, the process, and a number that the driver raises every few seconds. Whoever wants to take the
study over watches that number; clocks are not compared, so a wrong one does no harm.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rfprune.errors import RunsError, WorkError

__all__ = ["ATTRIBUTE", "LEASE_SECONDS", "Lease", "Owner", "read_owner"]

#: The user attribute of the study.
ATTRIBUTE = "owner"
#: A driver that has not raised its number for so long has died.
LEASE_SECONDS = 30.0
_RENEW_SECONDS = 5.0
_POLL_SECONDS = 0.5

#: Replaces the text of the attribute if it is the first one (None = there is none); returns whether
#: it did.
Exchange = Callable[[str | None, str], bool]


@dataclass(frozen=True)
class Owner:
    """Whom a study belongs to.

    Attributes:
        sweep_id: of ``sweep.json`` in its folder.
        folder: absolute path of the run folder, on `host`.
        host: where its driver runs.
        pid: of its driver.
        token: of one driver.
        renewed: raised by the driver while it lives.
        driven: False once the driver has ended in good order.
    """

    sweep_id: str
    folder: str
    host: str
    pid: int
    token: str
    renewed: int = 0
    driven: bool = True

    @classmethod
    def here(cls, folder: Path, sweep_id: str) -> Owner:
        """Return this process as the owner."""
        host = socket.gethostname()
        return cls(sweep_id, str(folder.resolve()), host, os.getpid(), uuid.uuid4().hex)

    @classmethod
    def read(cls, text: str | None) -> Owner | None:
        """Return the owner that an attribute names, None if it names none."""
        try:
            return None if text is None else cls(**json.loads(text))
        except (TypeError, ValueError):
            return None

    def write(self) -> str:
        """Return the text of the attribute."""
        return json.dumps(asdict(self))

    @property
    def place(self) -> tuple[str, str]:
        """Host and folder."""
        return self.host, self.folder

    def shares_sweep_with(self, other: Owner) -> bool:
        """Return whether both are drivers of one sweep; its folder may have been moved."""
        return self.place == other.place or self.sweep_id == other.sweep_id


def read_owner(attributes: dict[str, Any]) -> Owner | None:
    """Return the owner that the user attributes of a study name."""
    value = attributes.get(ATTRIBUTE)
    return Owner.read(json.dumps(value)) if isinstance(value, dict) else None


class Lease:
    """The right to write one study, for as long as it is renewed; a thread of its own does that.

    Args:
        read: returns the text of the attribute, None if there is none.
        exchange: see `Exchange`.
        where: the study, for messages.
    """

    def __init__(self, read: Callable[[], str | None], exchange: Exchange, where: str) -> None:
        self._read, self._exchange, self._where = read, exchange, where
        self._owner: Owner | None = None
        self._renewed_at = 0.0
        self._lost: WorkError | None = None
        self._one_at_a_time = threading.Lock()
        self._over = threading.Event()

    def acquire(self, mine: Owner, has_trials: Callable[[], bool]) -> None:
        """Take the study, or refuse it.

        Args:
            mine: this driver.
            has_trials: whether trials of the study have run.

        Raises:
            RunsError: it belongs to another folder, or another driver is at work on it.
        """
        while True:
            text = self._read()
            owner = Owner.read(text)
            # A study without trials is nobody's loss: a first start that failed leaves one behind.
            if owner is not None and not owner.shares_sweep_with(mine) and has_trials():
                raise RunsError(self._belongs_to(owner))
            # The lock of this driver's own folder is held, so whoever drove it from here has ended.
            if owner is not None and owner.driven and owner.place != mine.place:
                self._wait_until_dead(owner, text)
            # Only if the attribute is still what was read: of two drivers that start at once one
            # wins.
            if self._exchange(text, mine.write()):
                break
        self._owner, self._renewed_at = mine, _now()
        threading.Thread(target=self._keep, name="rfprune-lease", daemon=True).start()

    def _keep(self) -> None:
        while not self._over.wait(_RENEW_SECONDS):
            # A storage that does not answer is the main thread's to report, as soon as it writes.
            with contextlib.suppress(Exception):
                self._renew()

    def hold(self) -> None:
        """Make sure that the study is still this driver's; call it before every write.

        Raises:
            WorkError: another driver has taken the study over.
        """
        # Half the lease: whoever waits for all of it has not taken the study over by then.
        if self._owner is not None and _now() - self._renewed_at > LEASE_SECONDS / 2:
            # The process, or the whole machine, was stopped for a while.
            self._renew()
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        """Say that the driver has ended; the study stays the folder's.

        A storage that does not answer learns it from the lease that is no longer renewed.
        """
        self._over.set()
        # The renewing thread may be in the middle of an exchange.
        with self._one_at_a_time, contextlib.suppress(Exception):
            if self._owner is not None:
                self._exchange(self._owner.write(), replace(self._owner, driven=False).write())
        self._owner = None

    def _renew(self) -> None:
        with self._one_at_a_time:
            if self._owner is None:
                return
            new = replace(self._owner, renewed=self._owner.renewed + 1)
            if not self._exchange(self._owner.write(), new.write()):
                found = Owner.read(self._read())
                # The answer to an earlier exchange may have been lost though it was carried out.
                if found is None or found.token != new.token:
                    self._lost = self._taken_over(found)
                    self._owner = None
                    return
                new = found
            self._owner, self._renewed_at = new, _now()

    def _taken_over(self, by: Owner | None) -> WorkError:
        who = "another driver" if by is None else _named(by)
        return WorkError(
            f"{self._where}: {who} has taken the study over, because this process had not answered "
            f"for {_now() - self._renewed_at:.0f} s. Finished work is kept."
        )

    def _wait_until_dead(self, owner: Owner, text: str | None) -> None:
        """Return once the owner has not renewed its lease for long enough.

        Raises:
            RunsError: it is alive.
        """
        began = _now()
        while _now() - began < LEASE_SECONDS:
            # Any change is a sign of life; clocks of two machines are never compared.
            if self._read() != text:
                raise RunsError(
                    f"{self._where}: the study is in use by {_named(owner)}. Wait for that "
                    "process, stop it, or give this sweep another name."
                )
            time.sleep(_POLL_SECONDS)

    def _belongs_to(self, owner: Owner) -> str:
        runs = Path(owner.folder).parent
        return (
            f"{self._where}: the study belongs to the sweep in {owner.folder} on {owner.host} "
            f"(process {owner.pid}). Use that folder (--runs {runs}), or give this sweep another "
            "name."
        )


def _named(owner: Owner) -> str:
    return f"process {owner.pid} on {owner.host} (folder {owner.folder})"


def _now() -> float:
    # Goes on while the machine sleeps, where there is such a clock, and never jumps.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
