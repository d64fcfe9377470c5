"""What a sweep tells while it runs, and the display that shows it.

A listener is any function that takes a `SweepEvent`; the driver calls it in its own thread, one
event at a time. On a terminal the display is a live table, elsewhere one line per finished trial.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from rfprune.search.parameters import Scalar
from rfprune.search.trials import DOMINATED
from rfprune.spec import SweepSpec

if TYPE_CHECKING:
    from rich.console import Console, ConsoleRenderable

__all__ = ["Display", "Kind", "Listener", "SweepEvent"]


Kind = Literal["started", "step", "complete", "stopped", "failed", "retried", "orphaned"]


@dataclass(frozen=True)
class SweepEvent:
    """One thing that happened.

    Attributes:
        kind: ``started``, ``step`` (a pruning step was measured), ``complete``, ``stopped`` (ended
            early), ``failed`` (for good), ``retried`` (its process died; it is queued again) or
            ``orphaned`` (the driver stops; the next one goes on with it).
        trial: number of the run folder.
        attempt: how many attempts died before.
        values: the point of the search space.
        metrics: the quantities of the step, or of the final step; ``step`` is its number.
        reason: of a failure, in words.
        seconds: wall time of an ended trial.
    """

    kind: Kind
    trial: int
    attempt: int = 0
    values: dict[str, Scalar] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0


Listener = Callable[[SweepEvent], None]


class Display:
    """Shows a sweep's progress on stderr; use it as a context manager and as a listener.

    Attributes:
        done: complete and dominated trials, those of earlier drivers among them.
        failed: trials that failed for good under this driver.
        best: the feasible trial with the highest validation accuracy under this driver.
    """

    def __init__(self, spec: SweepSpec, done: int = 0, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole

        self.spec = spec
        self.done = done
        self.failed = 0
        self.best: SweepEvent | None = None
        self.console = console or RichConsole(file=sys.stderr)
        self._began = time.monotonic()
        self._done_before = done
        self._running: dict[int, SweepEvent] = {}
        self._live = self._make_live() if self.console.is_terminal else None

    def _make_live(self) -> Live:
        return Live(self)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: SweepEvent) -> None:
        """Take note of one event and show it."""
        if event.kind in ("started", "step"):
            self._running[event.trial] = event
        else:
            self._running.pop(event.trial, None)
        if event.kind == "complete":
            self.best = self._better(event)
        self.done += event.kind == "complete" or event.reason.startswith(DOMINATED)
        self.failed += event.kind == "failed"
        if event.kind in ("complete", "stopped", "failed", "retried") and (
            self._live is None or event.kind != "complete"
        ):
            self.console.print(self.line(event), highlight=False, markup=False, soft_wrap=True)

    def _better(self, event: SweepEvent) -> SweepEvent | None:
        if not all(c.holds(event.metrics.get(c.name)) for c in self.spec.conditions):
            return self.best
        accuracy = event.metrics.get("val_accuracy")
        known = self.best.metrics.get("val_accuracy") if self.best else None
        if accuracy is None or (known is not None and known >= accuracy):
            return self.best
        return event

    def line(self, event: SweepEvent) -> str:
        """Return an ended trial as one line of text."""
        if event.kind == "complete":
            width = len(str(self.spec.trials))
            count = f"[{self.done:{width}}/{self.spec.trials}]"
            return f"{count} trial {event.trial}: {self.quantities(event)} ({event.seconds:.1f} s)"
        if event.kind == "stopped":
            return f"trial {event.trial} stopped early: {event.reason}"
        again = "; it is tried again" if event.kind == "retried" else ""
        return f"trial {event.trial} failed: {event.reason}{again}"

    def quantities(self, event: SweepEvent) -> str:
        """Return the objectives of an event, validation accuracy first."""
        names = ["val_accuracy", *(n for n in self.spec.objectives if n != "val_accuracy")]
        known = [(name, event.metrics.get(name)) for name in names]
        return ", ".join(
            f"{name} {value:.4f}" if name in ("val_accuracy", "sparsity") else f"{name} {value:g}"
            for name, value in known
            if value is not None
        )

    def eta_seconds(self) -> float | None:
        """Return the expected time to the end, from the trials that completed here."""
        here = self.done - self._done_before
        if here == 0:
            return None
        return (time.monotonic() - self._began) / here * max(0, self.spec.trials - self.done)

    def __rich__(self) -> ConsoleRenderable:
        """Return the live table: a line on the sweep, the best trial, the running ones."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        eta = self.eta_seconds()
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=self.spec.trials, completed=self.done, width=30)
        failed = f"{self.failed} failed" if self.failed else ""
        left = f"about {_clock(eta)} left" if eta is not None else ""
        elapsed = _clock(time.monotonic() - self._began)
        head.add_row(self.spec.name, bar, f"{self.done}/{self.spec.trials}", failed, elapsed, left)
        rows = Table.grid(padding=(0, 2))
        if self.best is not None:
            rows.add_row("best", f"trial {self.best.trial}", self.quantities(self.best))
        for event in self._running.values():
            step = event.metrics.get("step")
            shown = "training" if step is None else f"step {step:.0f}: {self.quantities(event)}"
            rows.add_row("runs", f"trial {event.trial}", shown)
        return Group(head, rows)


class Live:
    """rich's live display of a `Display`, made only where there is a terminal."""

    def __init__(self, display: Display) -> None:
        from rich.live import Live as RichLive

        self._live = RichLive(
            console=display.console,
            get_renderable=display.__rich__,
            refresh_per_second=4,
            transient=True,
        )

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Stop drawing and leave the terminal as it was."""
        self._live.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
