"""A front as text: JSON, CSV, tables for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rfprune.front.front import Front, best_per_budget
from rfprune.front.labels import number, plain, summary
from rfprune.front.points import Candidate
from rfprune.quantities import DIRECTIONS

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["budget_table", "costs_of", "front_csv", "front_json", "front_table"]

#: Columns of the terminal table, where they are known.
_SHOWN = (
    "val_accuracy",
    "accuracy",
    "dsp",
    "bram18",
    "lut",
    "ff",
    "latency_cycles",
    "ii_cycles",
    "sparsity",
)


def costs_of(front: Front) -> list[str]:
    """Return the objectives that are to be small, in the order of the sweep file."""
    return [name for name, way in front.view.objectives.items() if way == "min"]


def front_json(front: Front, run_ids: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Return the object that ``rfprune pareto --json`` prints.

    Args:
        front: of the sweep.
        run_ids: MLflow run by trial number; null in the object where absent.
    """
    view, counts = front.view, front.counts
    return {
        "sweep": view.name,
        "objectives": dict(view.objectives),
        "hypervolume": front.hypervolume,
        "reference_point": None if view.reference_point is None else dict(view.reference_point),
        "trials": {
            "complete": counts.complete,
            "failed": counts.failed,
            "infeasible": counts.infeasible,
            "running": counts.running,
        },
        "front": [_row(point, run_ids or {}) for point in front.points],
    }


def _row(point: Candidate, run_ids: Mapping[int, str]) -> dict[str, Any]:
    return {
        "trial": point.trial,
        "step": point.step,
        "run_id": run_ids.get(point.trial),
        "feasible": point.feasible,
        "params": dict(point.params),
        **{name: plain(point.metrics.get(name)) for name in DIRECTIONS},
    }


def front_csv(front: Front, run_ids: Mapping[int, str] | None = None) -> str:
    """Return the front as CSV: one row per point, one column per searched value and quantity."""
    params = list(front.points[0].params) if front.points else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "step", "run_id", "feasible", *params, *DIRECTIONS])
    for point in front.points:
        row = _row(point, run_ids or {})
        lead = [row["trial"], row["step"], row["run_id"], int(point.feasible)]
        searched = [point.params[path] for path in params]
        writer.writerow([*lead, *searched, *(row[name] for name in DIRECTIONS)])
    return text.getvalue()


def front_table(front: Front) -> Table:
    """Return the front as a table for the terminal."""
    from rich import box
    from rich.table import Table

    view = front.view
    columns = [
        name
        for name in dict.fromkeys([*view.objectives, *_SHOWN])
        if name in view.objectives or any(p.metrics.get(name) is not None for p in front.points)
    ]
    table = Table(
        title=f"Pareto front of '{view.name}'",
        caption=summary(front),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("trial", justify="right")
    table.add_column("step", justify="right")
    for name in columns:
        arrow = {"max": " ↑", "min": " ↓"}.get(view.objectives.get(name, ""), "")
        table.add_column(name.replace("_", " ") + arrow, justify="right")
    for point in front.points:
        cells = [number(name, point.metrics.get(name)) for name in columns]
        style = None if point.feasible else "dim"
        table.add_row(str(point.trial), str(point.step), *cells, style=style)
    return table


def budget_table(front: Front) -> Table:
    """Return, for the first cost objective, the most accurate front point within each budget."""
    from rich import box
    from rich.table import Table

    cost = (costs_of(front) or ["dsp"])[0]
    table = Table(
        title=f"Best point per {cost.replace('_', ' ')} budget",
        caption="budgets as part of the largest dense network",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for name in ("budget", cost, "val accuracy", "accuracy", "trial", "step"):
        table.add_column(name.replace("_", " "), justify="right")
    for row in best_per_budget(front, cost):
        budget = f"{row.fraction:.0%} ({row.budget:,.0f})"
        if row.best is None:
            table.add_row(budget, *["-"] * 5)
            continue
        names = (cost, "val_accuracy", "accuracy")
        values = [number(name, row.best.metrics.get(name)) for name in names]
        table.add_row(budget, *values, str(row.best.trial), str(row.best.step))
    return table
