"""Threads that take turns: one works at a time, and those that want the same thing meet for it.

What a work does between two meetings runs as if it were alone in the process, so that it need not
know of the others. Work that waits for something outside (a file lock that another of the threads
may hold, an answer from another process) says so by `waiting`, and the others go on meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Turns", "current", "waiting"]

_here = threading.local()


def current() -> Turns | None:
    """Return whose turns this thread takes; None for a thread that is alone."""
    found: Turns | None = getattr(_here, "turns", None)
    return found


@contextmanager
def waiting() -> Iterator[None]:
    """Let others work while the block waits; without others it is no more than the block."""
    turns = current()
    if turns is None:
        yield
        return
    turns._pause()
    try:
        yield
    finally:
        turns._resume()


@dataclass(eq=False)
class _Seat:
    """A place at a meeting."""

    job: Any
    served: bool = False
    error: BaseException | None = None


class Turns:
    """Runs works in threads of their own, one at a time.

    Args:
        serve: is handed the jobs of a meeting, in the order in which they came, once nobody could
            work on without it; it runs in one of the threads, during its turn.
    """

    def __init__(self, serve: Callable[[Sequence[Any]], None]) -> None:
        self._serve = serve
        self._changed = threading.Condition()
        self._taken = False
        #: Works that need no meeting to go on, whether it is their turn or not.
        self._able = 0
        self._seats: list[_Seat] = []

    def run(self, works: Sequence[Callable[[], None]]) -> list[BaseException | None]:
        """Run all works to their end; return what each of them raised, or None."""
        raised: list[BaseException | None] = [None] * len(works)
        self._able = len(works)

        def run(place: int) -> None:
            _here.turns = self
            self._take()
            try:
                works[place]()
            except BaseException as error:
                raised[place] = error
            finally:
                self._drop_out()
                self._give()

        # Daemons: a process that is to end does not wait for them.
        threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(works))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return raised

    def meet(self, job: Any) -> None:
        """Hand in a job and return once it has been served; raises what `serve` raised."""
        seat = _Seat(job)
        self._seats.append(seat)
        self._drop_out()
        if not seat.served:
            self._give()
            with self._changed:
                self._changed.wait_for(lambda: seat.served)
            self._take()
        if seat.error is not None:
            raise seat.error

    def _pause(self) -> None:
        self._drop_out()
        self._give()

    def _resume(self) -> None:
        # One number more: whoever has the turn serves nobody before this work has met as well.
        with self._changed:
            self._able += 1
        self._take()

    def _take(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._taken = True

    def _give(self) -> None:
        with self._changed:
            self._taken = False
            self._changed.notify_all()

    def _drop_out(self) -> None:
        """Count this work, whose turn it is, as one that cannot go on; serve if none can."""
        with self._changed:
            self._able -= 1
            if self._able or not self._seats:
                return
            seats, self._seats = self._seats, []
            # Before they are served: what returns from outside meanwhile finds the count in order.
            self._able += len(seats)
        error: BaseException | None = None
        try:
            self._serve([seat.job for seat in seats])
        except BaseException as found:
            error = found
        with self._changed:
            for seat in seats:
                seat.served, seat.error = True, error
            self._changed.notify_all()
