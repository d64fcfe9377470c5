"""Sweeps in the background of this machine.

A small shell supervises the sweep. It holds a lock on the job's file as long as it lives, so that
another process with its number is never taken for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from rfprune.core.locks import is_locked, take
from rfprune.errors import ClusterError
from rfprune.execution.launch.advice import explain
from rfprune.execution.launch.entry import ENTRY_FILE
from rfprune.execution.launch.jobs import Job, JobState, Note, follow_file, progress, unknown_job
from rfprune.execution.launch.prepared_job import PreparedJob

__all__ = ["find", "job_folder", "render", "send"]

_LOG, _EXIT, _LOCK, _CANCELLED = "log.txt", "exit", "lock", "cancelled"
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.2
#: Passes signals on to the sweep, closes the lock for it, and keeps its exit status.
_SUPERVISOR = f"""\
bash ./{ENTRY_FILE} {{lock}}>&- &
sweep=$!
trap 'kill -TERM "$sweep" 2>/dev/null' TERM
wait "$sweep"; status=$?
while kill -0 "$sweep" 2>/dev/null; do wait "$sweep"; status=$?; done
echo "$status" > {_EXIT}
"""
#: Starts a script in a session of its own, and prints its process number.
_IN_BACKGROUND = 'setsid bash -c "$1" < /dev/null > "$2" 2>&1 & echo "$!"'


def job_folder(prepared: PreparedJob) -> Path:
    """Return the folder of a job's files, beside the runs."""
    return Path(prepared.profile.runs).expanduser() / ".jobs" / prepared.name


def render(prepared: PreparedJob) -> str:
    """Return the folder, the supervising shell and the files."""
    return (
        f"# In the background, in {job_folder(prepared)}, output to {_LOG}:\n"
        f"{_SUPERVISOR.format(lock='9')}\n{prepared.summary()}"
    )


def send(prepared: PreparedJob) -> str:
    """Start the sweep in the background, and return the job's handle.

    Raises:
        ClusterError: the folder cannot be written.
    """
    folder = job_folder(prepared)
    try:
        prepared.upload.write(folder)
        process = _start(folder)
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(f"{folder}: the job cannot be started ({error}).") from error
    handle = f"local:{prepared.name}"
    Note(handle, {"folder": str(folder), "process": process}).save()
    return handle


def _start(folder: Path) -> int:
    with (folder / _LOCK).open("w") as lock:
        take(lock)
        supervisor = _SUPERVISOR.format(lock=lock.fileno())
        started = subprocess.run(
            ["bash", "-c", _IN_BACKGROUND, "bash", supervisor, _LOG],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            # The supervisor inherits the lock, and holds it when this process closes its own.
            pass_fds=(lock.fileno(),),
        )
    return int(started.stdout)


def find(note: Note, address: str | None) -> Job:
    """Return the job of a handle.

    Raises:
        UnknownNameError: it was not sent from here, or its folder is gone.
    """
    folder = note.facts.get("folder")
    if folder is None or not Path(folder).is_dir():
        raise unknown_job(note.handle, "on this machine")
    return LocalJob(Path(folder), int(note.facts["process"]))


class LocalJob:
    """A sweep in the background."""

    def __init__(self, folder: Path, process: int) -> None:
        self._folder, self._process = folder, process

    def status(self) -> JobState:
        """Return how the job is: its progress, or the reason of its end."""
        log = self._log()
        if self._alive():
            return JobState("running", progress(log))
        if (self._folder / _CANCELLED).exists():
            return JobState("cancelled", "What is finished is kept; submit again to resume.")
        with contextlib.suppress(OSError, ValueError):
            status = int((self._folder / _EXIT).read_text())
            if status == 0:
                return JobState("succeeded", progress(log))
            return JobState("failed", explain(log, f"it ended with status {status}.", "local"))
        return JobState("failed", "its process was killed; submit again to resume.")

    def logs(self, follow: bool = False) -> Iterator[str]:
        """Yield the sweep's output."""
        return follow_file(self._folder / _LOG, follow, lambda: not self._alive())

    def cancel(self) -> JobState:
        """Ask the sweep to stop, and wait until it has recorded what it gives up."""
        if self._alive():
            # Before the signal: a query of the state in between must not report a failure.
            (self._folder / _CANCELLED).touch()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while self._alive() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        return self.status()

    def _alive(self) -> bool:
        return is_locked(self._folder / _LOCK)

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return (self._folder / _LOG).read_text(encoding="utf-8", errors="replace")
        return ""
