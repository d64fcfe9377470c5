"""The display of a running sweep: a live table on a terminal or in a notebook, else lines."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rfprune.spec import SweepSpec
from rfprune.study.events import SweepEvent
from rfprune.study.trials import DOMINATED, PAUSED, StudyCounts

if TYPE_CHECKING:
    from rich.console import Console, ConsoleRenderable

__all__ = ["Display"]


class Display:
    """Shows a sweep's progress on stderr; use it as a context manager and as a listener.

    Attributes:
        counts: of all trials of the study, those of earlier drivers among them, as the last event
            says them; None before the first one.
        best: the feasible trial with the best score under this driver.
    """

    def __init__(self, spec: SweepSpec, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole

        self.spec = spec
        self.counts: StudyCounts | None = None
        self.best: SweepEvent | None = None
        self.console = console or RichConsole(file=sys.stderr)
        self._began = time.monotonic()
        self._done_here = 0
        self._running: dict[int, SweepEvent] = {}
        self._live = self._make_live()

    def _make_live(self) -> Live | NotebookLive | None:
        if NotebookLive.is_here():
            return NotebookLive(self)
        return Live(self) if self.console.is_terminal else None

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
        self.counts = event.counts
        if event.kind in ("started", "step"):
            self._running[event.trial] = event
        else:
            self._running.pop(event.trial, None)
        if event.kind == "complete":
            self.best = self._better(event)
        # Dominated trials take time and count towards those wanted; other early ends do neither.
        self._done_here += event.kind == "complete" or event.reason.startswith((DOMINATED, PAUSED))
        if isinstance(self._live, NotebookLive):
            self._live.update()
        # The live table shows the best complete trial; in a log every one has a line.
        if event.kind in ("complete", "stopped", "failed", "retried") and (
            self._live is None or event.kind != "complete"
        ):
            # Of a terminal that was closed, the sweep learns by a signal.
            with contextlib.suppress(OSError):
                self.console.print(self.line(event), highlight=False, markup=False, soft_wrap=True)

    def _feasible(self, event: SweepEvent) -> bool:
        return all(c.holds(event.metrics.get(c.name)) for c in self.spec.conditions)

    def _better(self, event: SweepEvent) -> SweepEvent | None:
        # An infeasible trial is never the best one.
        if not self._feasible(event):
            return self.best
        name = self.spec.task.score_name
        score = event.metrics.get(name)
        known = self.best.metrics.get(name) if self.best else None
        if score is None:
            return self.best
        # A score of the user's own that is not an objective is taken for one to be large.
        quantity = self.spec.quantities().get(name)
        way = self.spec.objectives.get(name, quantity.direction if quantity else "max")
        better = known is None or (score > known if way == "max" else score < known)
        return event if better else self.best

    def line(self, event: SweepEvent) -> str:
        """Return an ended trial as one line of text."""
        if event.kind == "complete":
            width = len(str(self.spec.trials))
            count = f"[{event.counts.done:{width}}/{self.spec.trials}]"
            note = "" if self._feasible(event) else "infeasible, "
            shown = f"{self.quantities(event)} ({note}{event.seconds:.1f} s)"
            return f"{count} trial {event.trial}: {shown}"
        if event.kind == "stopped":
            paused = event.reason.startswith(PAUSED)
            said = event.reason.replace(":", "") if paused else f"stopped early: {event.reason}"
            return f"trial {event.trial} {said}"
        again = "; it will be retried" if event.kind == "retried" else ""
        return f"trial {event.trial} failed: {event.reason}{again}"

    def quantities(self, event: SweepEvent) -> str:
        """Return the objectives of an event, the score first."""
        names = dict.fromkeys([self.spec.task.score_name, *self.spec.objectives])
        quantities = self.spec.quantities()
        shown = []
        for name in names:
            value = event.metrics.get(name)
            if value is not None:
                fraction = name in quantities and quantities[name].kind == "fraction"
                shown.append(f"{name} {value:.4f}" if fraction else f"{name} {value:g}")
        return ", ".join(shown)

    def eta_seconds(self) -> float | None:
        """Return the expected time to the end, from the trials that completed here."""
        if self._done_here == 0 or self.counts is None:
            return None
        left = max(0, self.spec.trials - self.counts.done)
        # By what completed here: trials of an earlier driver may have run elsewhere.
        return (time.monotonic() - self._began) / self._done_here * left

    def __rich__(self) -> ConsoleRenderable:
        """Return the live table: a line on the sweep, the best trial, the running ones."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        eta = self.eta_seconds()
        head = Table.grid(padding=(0, 2))
        counts = self.counts or StudyCounts()
        bar = ProgressBar(total=self.spec.trials, completed=counts.done, width=30)
        # Until the first event nobody has looked into the study, where earlier trials may be.
        done = "" if self.counts is None else f"{counts.done}/{self.spec.trials}"
        kinds = {"infeasible": counts.infeasible, "failed": counts.failed}
        others = ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
        left = f"about {_clock(eta)} left" if eta is not None else ""
        elapsed = _clock(time.monotonic() - self._began)
        head.add_row(self.spec.name, bar, done, others, elapsed, left)
        rows = Table.grid(padding=(0, 2))
        if self.best is not None:
            rows.add_row("best", f"trial {self.best.trial}", self.quantities(self.best))
        for event in self._running.values():
            step = event.metrics.get("step")
            shown = "training" if step is None else f"step {step:.0f}: {self.quantities(event)}"
            rows.add_row("running", f"trial {event.trial}", shown)
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


class NotebookLive:
    """The live table as HTML in the output of a notebook's cell, drawn anew with the events."""

    _SECONDS = 0.25

    def __init__(self, display: Display) -> None:
        self._display, self._handle, self._last = display, None, 0.0

    @staticmethod
    def is_here() -> bool:
        """Return whether this process is the kernel of a notebook."""
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None else None
        return shell is not None and hasattr(shell, "kernel")

    def start(self) -> None:
        """Begin to draw."""
        from IPython.display import HTML, display

        self._handle = display(HTML(self._html()), display_id=True)

    def update(self, at_once: bool = False) -> None:
        """Draw anew, but not more often than anybody can read."""
        from IPython.display import HTML

        now = time.monotonic()
        if self._handle is not None and (at_once or now - self._last >= self._SECONDS):
            self._last = now
            self._handle.update(HTML(self._html()))

    def stop(self) -> None:
        """Draw the end, which stays in the notebook."""
        self.update(at_once=True)

    def _html(self) -> str:
        from rich.console import Console as RichConsole

        console = RichConsole(file=io.StringIO(), record=True, width=110, force_jupyter=False)
        console.print(self._display)
        return console.export_html(inline_styles=True, code_format=_CELL)


#: In the place of rich's page: one element, in the notebook's own colours.
_CELL = (
    '<pre style="line-height:1.3;font-family:monospace;color:inherit;white-space:pre">{code}</pre>'
)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
