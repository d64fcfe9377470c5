"""Tracking while a sweep runs: in the background, so MLflow can neither delay it nor fail it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from dataclasses import dataclass

from rfprune.results import SweepFolder
from rfprune.tracking.config import TrackingConfig
from rfprune.tracking.projection import Projection

__all__ = ["Tracker", "TrackerReport"]

_log = logging.getLogger("rfprune.tracking")
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 15.0, 300.0
#: The pictures of the front cost about a second, a trial some hundredths of one.
_FRONT_EVERY_SECONDS = 60.0
#: Further tries at the end, where there is no later: a server may fail now and then.
_LAST_TRIES = 3


@dataclass(frozen=True)
class TrackerReport:
    """What is in MLflow when a sweep ends.

    Attributes:
        run_ids: MLflow run by trial number.
        missing: finished trials that are not in MLflow; the next projection writes them.
        error: the fault that keeps them out, None if there is none.
        closed: whether the front is written and the sweep's run is closed.
    """

    run_ids: dict[int, str]
    missing: tuple[int, ...]
    error: str | None
    closed: bool = True


class Tracker:
    """Writes finished trials to MLflow from a background thread.

    MLflow is imported and contacted once the first trial has finished. Trials that an earlier
    driver could not write are written too. A failure is logged once and retried later.

    Attributes:
        begun: whether a trial has been handed to it.
    """

    def __init__(self, folder: SweepFolder, config: TrackingConfig) -> None:
        self.begun = False
        self._folder = folder
        self._config = config
        self._events: queue.Queue[int | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._pending: set[int] = set()
        self._projection: Projection | None = None
        self._error: str | None = None
        self._told = False
        self._closed = False
        self._n_written = 0
        self._retry_at = self._front_at = float("-inf")
        self._retry_seconds = _FIRST_RETRY_SECONDS

    @property
    def error(self) -> str | None:
        """The fault that holds tracking up at the moment, None if there is none."""
        return self._error

    def trial_finished(self, number: int) -> None:
        """Ask for trial `number` to be written; returns at once and never raises."""
        if self._config.enabled:
            self.begun = True
            self._pending.add(number)
            self._events.put(number)
            self._start()

    def close(self, timeout: float = 30.0) -> TrackerReport:
        """Write what is left and the front, and close the sweep's run; never raises.

        Args:
            timeout: seconds to wait at most without anything being written.
        """
        if self._config.enabled:
            thread = self._start()
            self._events.put(None)
            n_written = -1
            while thread.is_alive() and self._n_written > n_written:
                n_written = self._n_written
                thread.join(timeout)
            if thread.is_alive() and self._error is None:
                self._error = f"MLflow did not answer within {timeout:g} s"
        projection = self._projection
        run_ids = {} if projection is None else projection.run_ids
        missing = tuple(sorted(self._pending.copy()))
        return TrackerReport(
            run_ids, missing, self._error, self._closed or not self._config.enabled
        )

    def _start(self) -> threading.Thread:
        if self._thread is None:
            # A daemon: a server that hangs must not keep the driver from ending.
            self._thread = threading.Thread(target=self._run, name="rfprune-tracker", daemon=True)
            self._thread.start()
        return self._thread

    def _run(self) -> None:
        closing = False
        while not closing:
            # Woken by a trial, by the end (None), or, after a failure, by the time to retry.
            wait = None if self._error is None else max(0.0, self._retry_at - time.monotonic())
            with contextlib.suppress(queue.Empty):
                closing = self._events.get(timeout=wait) is None
            if closing or time.monotonic() >= self._retry_at:
                self._attempt(closing)
            for _ in range(_LAST_TRIES if closing else 0):
                if self._error is not None:
                    self._attempt(closing)

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
                    "%s The sweep continues; its trials are in %s and will be written to "
                    "MLflow later.",
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
            self._n_written += 1
        if closing:
            self._projection.finish()
            self._closed = True
        elif time.monotonic() >= self._front_at:
            self._projection.write_front()
            self._front_at = time.monotonic() + _FRONT_EVERY_SECONDS
