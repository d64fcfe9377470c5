"""Tracking while a sweep runs: in the background, so that MLflow can neither delay nor fail it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass

from rfprune.runs import SweepFolder
from rfprune.tracking.config import TrackingConfig
from rfprune.tracking.projection import Projection

__all__ = ["Tracker", "TrackerReport"]

_log = logging.getLogger("rfprune.tracking")
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 15.0, 300.0
#: The pictures of the front cost about a second, a trial some hundredths of one.
_FRONT_EVERY_SECONDS = 60.0


@dataclass(frozen=True)
class TrackerReport:
    """What is in MLflow when a sweep ends.

    Attributes:
        run_ids: MLflow run by trial number.
        missing: finished trials that are not in MLflow; the next projection writes them.
        error: the fault that keeps them out, None if there is none.
    """

    run_ids: dict[int, str]
    missing: tuple[int, ...]
    error: str | None


class Tracker:
    """Writes finished trials to MLflow from a background thread.

    MLflow is imported and reached when the first trial has finished. Trials that an earlier driver
    did not get written are written too. A fault is logged once, and tried again later.
    """

    def __init__(self, folder: SweepFolder, config: TrackingConfig) -> None:
        self._folder = folder
        self._config = config
        self._events: queue.Queue[int | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._pending: set[int] = set()
        self._projection: Projection | None = None
        self._error: str | None = None
        self._told = False
        self._retry_at = self._front_at = float("-inf")
        self._retry_seconds = _FIRST_RETRY_SECONDS

    @property
    def error(self) -> str | None:
        """The fault that holds tracking up at the moment, None if there is none."""
        return self._error

    def trial_finished(self, number: int) -> None:
        """Ask for trial `number` to be written; returns at once and never raises."""
        if self._config.enabled:
            self._pending.add(number)
            self._events.put(number)
            self._start()

    def close(self, timeout: float = 30.0) -> TrackerReport:
        """Write what is left and the front, waiting at most `timeout` seconds; never raises."""
        if self._config.enabled:
            thread = self._start()
            self._events.put(None)
            thread.join(timeout)
            if thread.is_alive() and self._error is None:
                self._error = f"MLflow has not answered within {timeout:g} s"
        projection = self._projection
        run_ids = {} if projection is None else projection.run_ids
        return TrackerReport(run_ids, tuple(sorted(self._pending.copy())), self._error)

    def _start(self) -> threading.Thread:
        if self._thread is None:
            # A daemon: a server that hangs must not keep the driver from ending.
            self._thread = threading.Thread(target=self._run, name="rfprune-tracker", daemon=True)
            self._thread.start()
        return self._thread

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._wait()
            if closing or time.monotonic() >= self._retry_at:
                self._attempt(closing)

    def _wait(self) -> bool:
        """Wait for a trial, for the time of the next attempt, or for the end; True at the end."""
        seconds = None if self._error is None else max(0.0, self._retry_at - time.monotonic())
        try:
            return self._events.get(timeout=seconds) is None
        except queue.Empty:
            return False

    def _attempt(self, closing: bool) -> None:
        try:
            self._write(closing)
        except Exception as error:
            # Nothing that goes wrong in tracking, whatever it is, may reach the sweep.
            self._error = str(error)
            self._retry_at = time.monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _LONGEST_RETRY_SECONDS)
            if not self._told:
                self._told = True
                _log.warning(
                    "%s The sweep goes on; its trials are in %s and are written to MLflow later.",
                    self._error,
                    self._folder.path,
                )
        else:
            self._error = None
            self._retry_seconds = _FIRST_RETRY_SECONDS

    def _write(self, closing: bool) -> None:
        if self._projection is None:
            self._projection = Projection(self._folder, self._config)
            self._pending.update(self._projection.finished_trials())
        for number in sorted(self._pending.copy()):
            self._projection.write_trial(number)
            self._pending.discard(number)
        if closing or time.monotonic() >= self._front_at:
            self._projection.write_front()
            self._front_at = time.monotonic() + _FRONT_EVERY_SECONDS
