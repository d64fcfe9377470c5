"""A front as a picture: the first objective to maximise over every cost objective."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rfprune.results.axes import FAR, LOG_RATIO, axis_pairs, edge_of_front
from rfprune.results.front import Front
from rfprune.results.labels import BETWEEN, number, summary
from rfprune.results.noise import error_of
from rfprune.results.points import Candidate
from rfprune.spec import Condition

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["front_figure", "front_png"]

_FRONT = "#1d5fb8"
_FAINT = "#98a4b3"
_INFEASIBLE = "#c4573f"
_INK = "#22303f"
_GRID = "#e4e8ed"
_PANELS_PER_ROW = 3
#: Letters of the names of lines, in points.
_NAME_SIZE = 8.5
#: Of the line below the title, which is broken where the picture ends.
_CHARACTERS_PER_INCH = 13
_MARKERS: dict[str, dict[str, Any]] = {
    "accepted step": {"s": 14, "color": _FAINT, "alpha": 0.5, "linewidths": 0},
    "infeasible": {"s": 18, "color": _INFEASIBLE, "alpha": 0.6, "linewidths": 0.9, "marker": "x"},
    "dense network": {
        "s": 34,
        "facecolors": "none",
        "edgecolors": _INK,
        "linewidths": 0.9,
        "marker": "D",
    },
    "Pareto front": {
        "s": 36,
        "color": _FRONT,
        "edgecolors": "white",
        "linewidths": 0.8,
        "zorder": 4,
    },
}

_CHOSEN: dict[str, Any] = {
    "s": 150,
    "facecolors": "none",
    "edgecolors": "#e08a00",
    "linewidths": 2.2,
    "zorder": 5,
}


def front_png(
    front: Front, chosen: Candidate | None = None, per_row: int = _PANELS_PER_ROW
) -> bytes:
    """Return the front as a PNG file: one panel per objective beside the one on the y axis.

    Args:
        front: of the sweep.
        chosen: a candidate to be marked.
        per_row: most panels side by side; one where the picture must be narrow.
    """
    buffer = io.BytesIO()
    front_figure(front, chosen, per_row).savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def front_figure(
    front: Front, chosen: Candidate | None = None, per_row: int = _PANELS_PER_ROW
) -> Figure:
    """Return the front as a matplotlib figure; see `front_png`.

    Bars are standard errors of the score on the validation rows (and over seeds, where there are
    several), and intervals of estimated costs that hold nine of ten designs; the line with the name
    of the part is what it has.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pairs = axis_pairs(front)
    columns = min(len(pairs), per_row)
    rows = -(-len(pairs) // columns)
    # Figure without pyplot: no global state, so that it may be drawn outside the main thread.
    size = (max(5.6 * columns, 7.0), 4.4 * rows + 0.9)
    figure = Figure(figsize=size, dpi=100 if per_row == 1 else 130)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (x, y) in zip(panels, pairs, strict=False):
        _panel(panel, front, x, y)
        if chosen is not None:
            panel.scatter(*_xy([chosen], x, y), label="chosen", **_CHOSEN)
    for panel in panels[len(pairs) :]:
        panel.set_visible(False)
    _frame(figure, front, panels[0])
    return figure


def _frame(figure: Figure, front: Front, panel: Axes) -> None:
    """Add the title and one legend for all panels."""
    height = figure.get_figheight()
    lines = _broken(summary(front), int(_CHARACTERS_PER_INCH * figure.get_figwidth()))
    figure.text(
        0.012, 1 - 0.14 / height, front.view.name, color=_INK, size=14, weight="bold", va="top"
    )
    figure.text(
        0.012,
        1 - 0.45 / height,
        "\n".join(lines),
        color="#5b6775",
        size=9.5,
        va="top",
    )
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.006, 0.0),
        ncols=len(labels),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        handletextpad=0.3,
        columnspacing=1.6,
    )
    top = 1 - (0.5 + 0.2 * len(lines)) / height
    figure.tight_layout(rect=(0, 0.34 / height, 1, top), w_pad=2.0)


def _broken(text: str, width: int) -> list[str]:
    """Return a summary in lines, broken between its facts."""
    lines: list[str] = []
    for fact in text.split(BETWEEN):
        if lines and len(lines[-1]) + len(BETWEEN) + len(fact) <= width:
            lines[-1] += BETWEEN + fact
        else:
            lines.append(fact)
    return lines


def _panel(panel: Axes, front: Front, x: str, y: str) -> None:
    chosen = {(point.trial, point.step) for point in front.points}
    rest = [c for c in front.view.candidates if (c.trial, c.step) not in chosen]
    groups = {
        "accepted step": [c for c in rest if c.feasible],
        "infeasible": [c for c in rest if not c.feasible],
        "dense network": [c for c in front.view.candidates if c.step == 0],
        "Pareto front": front.points,
    }
    for name, points in groups.items():
        if points:
            panel.scatter(*_xy(points, x, y), label=name, **_MARKERS[name])
    _error_bars(panel, front, x, y)
    edge = _xy(edge_of_front(front, x, y), x, y)
    # A staircase is what a front guarantees between two points: the worse of the two values.
    style = "steps-post" if front.view.quantities[x].direction == "min" else "steps-pre"
    panel.plot(*edge, color=_FRONT, linewidth=1.4, alpha=0.8, drawstyle=style, zorder=3)
    _scale(panel, front, x, y)
    _capacity_line(panel, front, x)
    _constraint_lines(panel, front, x, y)


def _error_bars(panel: Axes, front: Front, x: str, y: str) -> None:
    """Draw one standard error around the scores of the front, and the intervals of its costs."""
    _intervals(panel, front, x, y)
    known = [
        (a, b, error)
        for point in front.points
        if (error := error_of(point, y)) > 0
        and (a := point.metrics.get(x)) is not None
        and (b := point.metrics.get(y)) is not None
    ]
    if known:
        across, upward, errors = zip(*known, strict=True)
        panel.errorbar(
            across, upward, yerr=errors, fmt="none", ecolor=_FRONT, elinewidth=1, alpha=0.55
        )


def _intervals(panel: Axes, front: Front, x: str, y: str) -> None:
    """Draw what holds nine of ten designs around the costs of the front."""
    from matplotlib.collections import LineCollection

    bars = []
    for point in front.points:
        height, ends = point.metrics.get(y), point.between(x)
        if ends is not None and height is not None:
            bars.append([(end, height) for end in ends])
    if bars:
        lines = LineCollection(bars, colors=_FRONT, linewidths=1.2, alpha=0.4, zorder=2)
        # An interval may be far wider than the front: what is outside is cut off.
        panel.add_collection(lines, autolim=False)


def _xy(points: Sequence[Candidate], x: str, y: str) -> tuple[list[float], list[float]]:
    pairs = [(p.metrics.get(x), p.metrics.get(y)) for p in points]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in known], [b for _, b in known]


def _scale(panel: Axes, front: Front, x: str, y: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values, _ = _xy(front.view.candidates, x, y)
    available = front.view.capacity.get(x)
    # The dense network is in sight, too: it is what the front is compared with.
    _, heights = _xy(front.shown, x, y)
    # Before any limit is set: the left one of a linear axis may be below zero.
    if values and min(values) > 0 and max(values) / min(values) > LOG_RATIO:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        panel.xaxis.set_minor_formatter(NullFormatter())
    # The size of the part is drawn only if the points do not shrink to a corner beside it.
    if values and available is not None and max(values) < available <= FAR * max(values):
        panel.set_xlim(right=1.04 * available)
    across, upward = front.view.quantities[x], front.view.quantities[y]
    if across.direction == "min":
        panel.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number(across, round(v, 2))))
    if heights:
        # Steps far behind these are cut off: they would press the front into a line.
        span = max(max(heights) - min(heights), 0.01 * abs(max(heights)), 1e-9)
        low, high = panel.get_ylim()
        below, above = (0.6, 0.15) if upward.direction == "max" else (0.15, 0.6)
        low = max(low, min(heights) - below * span)
        panel.set_ylim(low, min(high, max(heights) + above * span))
    panel.set_xlabel(across.label, color=_INK)
    panel.set_ylabel(upward.label, color=_INK)
    panel.grid(color=_GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors=_INK, labelsize=9, length=3)
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#b9c2cc")


def _shown(condition: Condition) -> str:
    return str(condition).replace("<=", "≤").replace(">=", "≥")


def _constraint_lines(panel: Axes, front: Front, x: str, y: str) -> None:
    style: dict[str, Any] = {
        "color": _INFEASIBLE,
        "linewidth": 1.1,
        "linestyle": (0, (4, 3)),
        "zorder": 2,
    }
    for condition in front.view.constraints:
        low, high = panel.get_xlim()
        if condition.name == x and low <= condition.bound <= high:
            panel.axvline(condition.bound, **style)
            _name_above(panel, condition.bound, _shown(condition), _INFEASIBLE)
        low, high = panel.get_ylim()
        if condition.name == y and low <= condition.bound <= high:
            panel.axhline(condition.bound, **style)
            panel.annotate(
                _shown(condition),
                (1, condition.bound),
                (3, 0),
                rotation=270,
                va="center",
                xycoords=panel.get_yaxis_transform(),
                textcoords="offset points",
                color=_INFEASIBLE,
                size=_NAME_SIZE,
            )


def _capacity_line(panel: Axes, front: Front, x: str) -> None:
    """Draw what the part has of a resource, or say on which side it is out of sight."""
    available = front.view.capacity.get(x)
    if available is None:
        return
    named = f"{front.view.part}: {available:,.0f}"
    low, high = panel.get_xlim()
    if low <= available <= high:
        panel.axvline(available, color=_INK, linewidth=1.4, zorder=2)
        _name_above(panel, available, named, _INK)
    elif available > high:
        _name_above(panel, high, f"{named} →", _INK)
    else:
        _name_above(panel, low, f"← {named}", _INK)


def _name_above(panel: Axes, place: float, name: str, colour: str) -> None:
    """Name what is at `place` of the x axis above the panel, where no point is.

    Names of one panel stand one above the other.
    """
    across = panel.get_xaxis_transform()
    share, _ = panel.transAxes.inverted().transform(across.transform((place, 1)))
    side = "left" if share < 0.2 else "right" if share > 0.8 else "center"
    row = sum(text.get_verticalalignment() == "bottom" for text in panel.texts)
    panel.annotate(
        name,
        (place, 1),
        (0, 3 + 1.3 * _NAME_SIZE * row),
        ha=side,
        va="bottom",
        xycoords=across,
        textcoords="offset points",
        color=colour,
        size=_NAME_SIZE,
    )
