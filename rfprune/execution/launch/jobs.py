"""What all kinds of jobs share: a handle, a state, and a note in the user's state folder.

A handle (``ray:rfprune-digits-1a2b3c``) names the job; the note beside it says at which address it
is, so that another shell finds it. Notes hold no secrets.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from rfprune.core.files import read_json, write_json
from rfprune.core.paths import user_folder
from rfprune.core.registry import nearest
from rfprune.errors import RunsError, UnknownNameError

__all__ = [
    "RAY_STATES",
    "Job",
    "JobState",
    "Note",
    "State",
    "follow_file",
    "known_jobs",
    "last_line",
    "progress",
    "read_note",
    "unknown_job",
]

State = Literal["pending", "running", "succeeded", "failed", "cancelled"]
#: Ray's words for the states of its jobs, which KubeRay passes on.
RAY_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "cancelled",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
}
#: "[ 3/24] trial 5: ..." while it runs, "24 of 24 trials complete, ..." at its end.
_COUNT = re.compile(r"\[ *\d+/\d+\]|\d+ of \d+ trials complete")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class JobState:
    """How a job is.

    Attributes:
        state: pending, running, succeeded, failed or cancelled.
        message: progress, or the reason and what to do; may be empty.
    """

    state: State
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self.state not in ("pending", "running")


class Job(Protocol):
    """A sweep that was sent somewhere.

    Example::

        job = rfprune.job(name)  # as `rfprune.submit` returned it
        print("".join(job.logs(follow=True))[-500:])  # waits for its end
        job.status().ended, job.status().message
        job.cancel().state  # of one that is over: as it ended
    """

    def status(self) -> JobState:
        """Return how the job is now: ``state``, ``message``, and whether it has ``ended``.

        Raises:
            ClusterError: the cluster cannot be reached, or does not know the job.
        """

    def logs(self, follow: bool = False) -> Iterator[str]:
        """Yield what the job has written; with `follow`, go on until it ends.

        Raises:
            ClusterError: as of `status`.
        """

    def cancel(self) -> JobState:
        """Stop the job and return how it is then; what is finished is kept.

        Raises:
            ClusterError: as of `status`.
        """


@dataclass(frozen=True)
class Note:
    """What is remembered of a job: its handle, and facts by name (address, folder, ...)."""

    handle: str
    facts: dict[str, Any]

    def save(self) -> None:
        """Write the note to the user's state folder."""
        write_json(_path(self.handle), {"job": self.handle, **self.facts})


def read_note(handle: str) -> Note:
    """Return what is remembered of a job; no facts if nothing is."""
    try:
        facts = read_json(_path(handle))
    except RunsError:
        # A note only saves typing: `--address` and the cluster's own commands work without it.
        facts = {}
    return Note(handle, facts)


def known_jobs() -> list[str]:
    """Return the handles of all remembered jobs."""
    handles = []
    for path in sorted(_folder().glob("*.json")):
        try:
            handles.append(str(read_json(path)["job"]))
        # A damaged note hides one job, not the list of all others.
        except (RunsError, KeyError, TypeError):
            continue
    return handles


def unknown_job(handle: str, where: str) -> UnknownNameError:
    """Return the error for a job that does not exist."""
    known = known_jobs()
    listed = f" Sent from here: {', '.join(known[-5:])}." if known else ""
    return UnknownNameError(f"unknown job '{handle}' {where}.{nearest(handle, known)}{listed}")


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def follow_file(
    path: Path, follow: bool, ended: Callable[[], bool], poll_seconds: float = 0.5
) -> Iterator[str]:
    """Yield a log file's text; with `follow`, go on until `ended` says so."""
    position = 0
    while True:
        # Asked before reading, so that what is written just before the end is not lost.
        over = not follow or ended()
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                while chunk := file.read(_CHUNK_BYTES):
                    position += len(chunk)
                    yield chunk.decode(errors="replace")
        if over:
            return
        time.sleep(poll_seconds)


def progress(log: str) -> str:
    """Return the last line of a sweep's log that counts its trials, else its last line."""
    counts = [line.strip() for line in log.splitlines() if _COUNT.match(line.strip())]
    return counts[-1] if counts else last_line(log)


def _folder() -> Path:
    return user_folder("state") / "jobs"


def _path(handle: str) -> Path:
    # A handle holds ':' and may hold '/'.
    return _folder() / (re.sub(r"[^A-Za-z0-9._-]", "_", handle) + ".json")
