"""What a sweep shows: one line per ended trial, or a live table on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from rfprune.api.progress import Display
from rfprune.study import StudyCounts, SweepEvent
from tests.study.conftest import make_spec

__all__ = ["make_spec"]  # a fixture of the study's tests

Maker = Callable[..., Any]


def event(kind: Any, trial: int, done: int = 0, **metrics: float | None) -> SweepEvent:
    return SweepEvent(kind, trial, metrics=metrics, seconds=2.0, counts=StudyCounts(complete=done))


def plain(spec: Any) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    return Display(spec, console=Console(file=out, width=120)), out


def test_without_a_terminal_each_ended_trial_is_one_line(make_spec: Maker) -> None:
    display, out = plain(make_spec(trials=12))
    with display:
        display(event("started", 0))
        for step in range(3):
            display(event("step", 0, step=step, val_accuracy=0.9))
        display(event("complete", 0, 1, val_accuracy=0.91234, dsp=120.0, lut=5.0))
        display(SweepEvent("failed", 1, reason="error: ValueError: [x]"))
        display(SweepEvent("retried", 2, reason="died: gone"))
        display(SweepEvent("orphaned", 3))
    assert out.getvalue().splitlines() == [
        "[ 1/12] trial 0: val_accuracy 0.9123, dsp 120 (2.0 s)",
        "trial 1 failed: error: ValueError: [x]",
        "trial 2 failed: died: gone; it will be retried",
    ]


def test_the_best_trial_is_feasible(make_spec: Maker) -> None:
    display, _ = plain(make_spec(constraints=["dsp <= 100"]))
    infeasible = event("complete", 0, 1, val_accuracy=0.99, dsp=500.0)
    display(infeasible)
    assert display.best is None
    assert "(infeasible, 2.0 s)" in display.line(infeasible)
    display(event("complete", 1, val_accuracy=0.90, dsp=90.0))
    display(event("complete", 2, val_accuracy=0.80, dsp=10.0))
    assert display.best is not None
    assert display.best.trial == 1


def test_the_live_table_shows_sweep_best_and_running(make_spec: Maker) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    display = Display(make_spec(trials=4), console=console)
    with display:
        assert display.eta_seconds() is None
        display(event("complete", 5, 2, val_accuracy=0.5, dsp=3.0))
        display(event("started", 6, 2))
        display(event("step", 7, 2, step=2.0, val_accuracy=0.75, dsp=7.0))
        with console.capture() as capture:
            console.print(display)
    text = capture.get()
    for words in ("2/4", "left", "best", "trial 5", "training", "step 2: val_accuracy 0.7500"):
        assert words in text
    eta = display.eta_seconds()
    assert eta is not None
    assert eta > 0


def test_the_live_table_prints_no_line_per_complete_trial(make_spec: Maker) -> None:
    out = io.StringIO()
    display = Display(make_spec(), console=Console(file=out, force_terminal=True, width=120))
    with display:
        display(event("complete", 5, val_accuracy=0.5, dsp=3.0))
    assert "[1/6]" not in out.getvalue()


def test_the_live_table_shows_the_counts_of_the_study_and_none_before_an_event(
    make_spec: Maker,
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    display = Display(make_spec(trials=9), console=console)
    with console.capture() as capture:
        console.print(display)
    assert "/9" not in capture.get()
    counts = StudyCounts(complete=4, infeasible=3, failed=2, dominated=1)
    display(SweepEvent("started", 7, counts=counts))
    with console.capture() as capture:
        console.print(display)
    assert "5/9" in capture.get()
    assert "3 infeasible, 2 failed" in capture.get()
