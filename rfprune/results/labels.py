"""How quantities are shown to people: words, number of digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfprune.core.quantities import Quantity
from rfprune.results.noise import RULE, standard_error

if TYPE_CHECKING:
    from rfprune.results.front import Front
    from rfprune.results.points import Candidate

__all__ = ["BETWEEN", "counted", "marks", "number", "plain", "reading", "summary"]


#: Between the facts of a summary.
BETWEEN = "  ·  "


def plain(value: float | None) -> float | int | None:
    """Return a whole number as int, so that files say 532 and not 532.0."""
    if value is None or not float(value).is_integer():
        return value
    return int(value)


def number(quantity: Quantity, value: float | None, spread: float | None = None) -> str:
    """Return a quantity as text: four decimals for fractions, thousands separators for counts.

    Small amounts keep three digits: energy per image may be far below 1 mJ. A spread that is not 0
    stands behind it.
    """
    if value is None:
        return "-"
    if spread:
        return f"{number(quantity, value)} ± {number(quantity, spread)}"
    if quantity.kind == "fraction":
        return f"{value:.4f}"
    if quantity.kind == "metric":
        return f"{value:.5g}"
    if float(value).is_integer():
        return f"{value:,.0f}"
    # Three digits tell small amounts apart; one decimal is enough for large ones.
    return f"{value:.3g}" if abs(value) < 10 else f"{value:,.1f}"


def counted(n: int, what: str) -> str:
    """Return a number with its noun, as in ``1 trial`` and ``2 trials``."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def marks(front: Front, point: Candidate) -> str:
    """Return what a reader must know of a point, in a word or two."""
    words = ["dense"] if point.dense else []
    words += ["~"] if (point.trial, point.step) in front.within_noise else []
    words += ["does not fit"] if point.fits is False else []
    words += ["one answer"] if point.constant else []
    return ", ".join(words)


def reading(front: Front) -> list[str]:
    """Return the lines that say how to read the scores of a front: of how many rows, how exact."""
    view = front.view
    lines = []
    rows, error = view.rows.get("val"), standard_error(front.points, view.score)
    if rows is not None and error is not None:
        lines.append(
            f"{view.score} on {counted(rows, 'row')}, standard error {error:.2g}"
            + (f"; {RULE}" if front.within_noise else "")
        )
    seeds = max((point.repeats for point in front.points), default=1)
    if seeds > 1:
        lines.append(f"means over {seeds} seeds ± their standard deviation")
    constant = sum(point.constant for point in front.shown)
    if constant:
        lines.append(f"one answer: {counted(constant, 'network')} say the same of every row")
    floats = [c for c in view.candidates if f"float_{view.score}" not in c.metrics]
    old = sum(not c.dense for c in floats)
    if old and not view.target.in_floats:
        lines.append(f"{counted(old, 'step')} measured in floats, by version 0.1")
    elif floats and not view.target.in_floats:
        # Widths are chosen with the first step, so that a dense network has no types.
        lines.append("the dense network is measured in floats")
    return lines


def summary(front: Front) -> str:
    """Return one line: how many points, of how many steps and trials, and the hypervolume."""
    counts = front.counts
    parts = [
        f"{counted(len(front.points), 'point')} on the front of "
        f"{counted(len(front.view.candidates), 'accepted step')}",
        f"{counted(counts.complete, 'trial')} complete",
    ]
    parts += [f"{counts.infeasible} of them infeasible"] if counts.infeasible else []
    parts += [f"{counts.stopped} stopped early"] if counts.stopped else []
    parts += [f"{counts.failed} failed"] if counts.failed else []
    parts += [f"{counts.running} not finished"] if counts.running else []
    if front.hypervolume is not None:
        parts.append(f"hypervolume {front.hypervolume:,.6g}")
    if front.unknown:
        parts.append(f"{counted(front.unknown, 'step')} left out because an objective is unknown")
    if front.view.damaged:
        parts.append(f"{counted(len(front.view.damaged), 'unreadable run folder')}")
    return BETWEEN.join(parts)
