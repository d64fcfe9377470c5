"""Signals that ask a program to stop: Ctrl-C, SIGTERM, a closed terminal, Slurm's warning."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignals", "termination_as_interrupt"]

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class StopSignals:
    """Takes the signals while it is entered: as KeyboardInterrupt, or by a function.

    Handlers can only be set in the main thread; elsewhere nothing is changed.

    Attributes:
        times: how many requests to stop have come.
        impatient: whether Ctrl-C came after another request.
    """

    def __init__(self, numbers: tuple[signal.Signals, ...] = _STOP) -> None:
        self.times = 0
        self.impatient = False
        self._numbers = numbers
        self._before: dict[signal.Signals, Any] = {}
        self._call: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in self._numbers}
            self._install()
        return self

    def _install(self) -> None:
        # SIGINT too: a shell starts programs in the background with SIGINT ignored.
        for number in self._before:
            signal.signal(number, self._take)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def call(self, request: Callable[[], None]) -> None:
        """Let a signal call `request` from now on; a second Ctrl-C still interrupts at once."""
        self._call = request
        # What has been started since may have put handlers of its own in their place, as Ray does.
        self._install()
        if self.times:
            request()

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.times += 1
        self.impatient = self.times > 1 and number == signal.SIGINT
        if self._call is not None and not self.impatient:
            self._call()
        # `timeout` and systemd signal the process and its group, so that SIGTERM may come twice.
        elif self.times == 1 or number == signal.SIGINT:
            raise KeyboardInterrupt


def termination_as_interrupt() -> StopSignals:
    """Return a context in which SIGTERM and SIGHUP do what Ctrl-C does."""
    return StopSignals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
