"""Sweeps side by side as text, JSON, a picture and a page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rfprune.core.tables import Column, make_table
from rfprune.results.comparison import SweepComparison
from rfprune.results.labels import counted, number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

__all__ = [
    "comparison_figure",
    "comparison_html",
    "comparison_json",
    "comparison_png",
    "comparison_summary",
    "comparison_table",
    "sweeps_table",
]

_COLORS = ("#1d5fb8", "#c4573f", "#2f8f5b", "#8a5bb0", "#b8860b", "#3b3f46")
_MARKERS = "osD^vP"
_PANELS_PER_ROW = 3


def comparison_json(found: SweepComparison) -> dict[str, Any]:
    """Return the object that ``rfprune compare --json`` prints."""
    labels = [sweep.label for sweep in found.sweeps]
    return {
        "objectives": dict(found.objectives),
        "not_compared": list(found.others),
        "reference_point": dict(found.reference_point),
        "hypervolume": found.hypervolume,
        "sweeps": [
            {
                "sweep": sweep.label,
                "part": sweep.front.view.part,
                "trials": sweep.front.counts.complete,
                "hypervolume": sweep.hypervolume,
                "alone": sweep.alone,
                "front": len(sweep.front.points),
                "on_common_front": sweep.points,
                "missing_in": {
                    other: len(found.missing(here, there))
                    for there, other in enumerate(labels)
                    if there != here
                },
            }
            for here, sweep in enumerate(found.sweeps)
        ],
        "points": [
            {
                "sweep": labels[each.sweep],
                "trial": each.point.trial,
                "step": each.point.step,
                "on_common_front": int(each.on_common_front),
                "params": dict(each.point.params),
                **{name: plain(value) for name, value in each.point.metrics.items()},
            }
            for each in found.points
        ],
    }


def comparison_summary(found: SweepComparison) -> list[str]:
    """Return what each sweep has that each other one has not, one sentence each."""
    lines = []
    for here, sweep in enumerate(found.sweeps):
        for there, other in enumerate(found.sweeps):
            if here != there:
                points = counted(len(found.missing(here, there)), "point")
                lines.append(
                    f"{sweep.label} has {points} that {other.label} neither beats nor equals."
                )
    if found.others:
        lines.append(f"Not compared, since not all sweeps have it: {', '.join(found.others)}.")
    return lines


def sweeps_table(found: SweepComparison, width: int | None = None) -> Table:
    """Return one row per sweep."""
    whole = found.hypervolume or 1.0
    sweeps = found.sweeps
    columns = [
        Column("sweep", [s.label for s in sweeps], left=True, needed=True),
        Column(
            "hypervolume", [f"{100 * s.hypervolume / whole:.2f} %" for s in sweeps], needed=True
        ),
        Column("alone", [f"{100 * s.alone / whole:.2f} %" for s in sweeps]),
        Column("front", [str(len(s.front.points)) for s in sweeps]),
        Column("on the common front", [str(s.points) for s in sweeps]),
        Column("trials", [str(s.front.counts.complete) for s in sweeps]),
        Column("part", [s.front.view.part or "several" for s in sweeps], left=True),
    ]
    at = ", ".join(
        f"{name} {number(found.quantities[name], value)}"
        for name, value in found.reference_point.items()
    )
    caption = f"hypervolume as part of that of all together; reference point: {at}"
    return make_table(columns, width, title="Sweeps", caption=caption)


def comparison_table(found: SweepComparison, width: int | None = None) -> Table:
    """Return the points of all fronts; those that another sweep beats are dim."""
    points = found.points
    columns = [
        Column("sweep", [found.sweeps[p.sweep].label for p in points], left=True, needed=True),
        Column("trial", [str(p.point.trial) for p in points], needed=True),
        Column("step", [str(p.point.step) for p in points], needed=True),
    ]
    for name, way in found.objectives.items():
        cells = [number(found.quantities[name], p.point.metrics.get(name)) for p in points]
        columns.append(Column(f"{name} {'↑' if way == 'max' else '↓'}", cells, needed=True))
    words = ["" if p.on_common_front else "beaten" for p in points]
    columns.append(Column("note", words, left=True))
    styles = ["" if p.on_common_front else "dim" for p in points]
    return make_table(columns, width, title="Fronts together", styles=styles)


def comparison_png(found: SweepComparison) -> bytes:
    """Return the fronts as a PNG file; see `comparison_figure`."""
    buffer = io.BytesIO()
    comparison_figure(found).savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def comparison_figure(found: SweepComparison) -> Figure:
    """Return the fronts as a matplotlib figure: the first objective over each other one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    y, *others = found.objectives
    names = others or [_cost(found)]
    columns = min(len(names), _PANELS_PER_ROW)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(max(5.6 * columns, 7.0), 4.4 * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, x in zip(panels, names, strict=False):
        _panel(panel, found, x, y)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    panels[0].legend(loc="best", frameon=False, fontsize=9)
    return figure


def _cost(found: SweepComparison) -> str:
    """Return what a single objective is drawn over."""
    view = found.sweeps[0].front.view
    return view.target.cost if view.target.cost not in found.objectives else view.score


def _panel(panel: Axes, found: SweepComparison, x: str, y: str) -> None:
    for index, sweep in enumerate(found.sweeps):
        style: dict[str, Any] = {
            "color": _COLORS[index % len(_COLORS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linewidths": 0.8,
        }
        for common in (False, True):
            pairs = [
                (p.point.metrics.get(x), p.point.metrics.get(y))
                for p in found.points
                if p.sweep == index and p.on_common_front == common
            ]
            known = [(a, b) for a, b in pairs if a is not None and b is not None]
            if known or common:
                label = sweep.label if common else None
                alpha = 0.95 if common else 0.3
                panel.scatter(*_columns(known), s=26, label=label, alpha=alpha, **style)
    panel.set_xlabel(found.quantities[x].label)
    panel.set_ylabel(found.quantities[y].label)
    panel.grid(color="#e4e8ed", linewidth=0.8)
    panel.set_axisbelow(True)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


def comparison_html(found: SweepComparison) -> str:
    """Return the comparison as one page that loads nothing from elsewhere."""
    picture = base64.b64encode(comparison_png(found)).decode()
    title = " and ".join(html.escape(sweep.label) for sweep in found.sweeps)
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in comparison_summary(found))
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
        "<style>body{font:15px system-ui,sans-serif;margin:2em;color:#22303f}"
        "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;"
        "border-bottom:1px solid #e4e8ed}td:first-child,th:first-child{text-align:left}"
        ".beaten{color:#98a4b3}img{max-width:100%}</style>"
        f"<h1>{title}</h1><ul>{lines}</ul>"
        f"<img alt='fronts' src='data:image/png;base64,{picture}'>"
        f"{_html(sweeps_table(found))}{_html(comparison_table(found))}</html>\n"
    )


def _html(table: Table) -> str:
    """Return a table of the terminal as one of a page."""
    head = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
    cells = zip(*(column.cells for column in table.columns), strict=True)
    rows = "".join(
        f"<tr{' class=beaten' if 'beaten' in row else ''}>"
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row)
        + "</tr>"
        for row in cells
    )
    caption = f"<p>{html.escape(str(table.caption or ''))}</p>"
    return f"<h2>{html.escape(str(table.title))}</h2><table>{head}{rows}</table>{caption}"
