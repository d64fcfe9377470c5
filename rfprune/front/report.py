"""A front as text: JSON, CSV, tables for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfprune.front.front import Front, best_per_budget, main_cost
from rfprune.front.labels import number, plain, summary
from rfprune.front.points import Candidate
from rfprune.quantities import DIRECTIONS, EDGE
from rfprune.tables import Column, make_table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["budget_table", "front_csv", "front_json", "front_table"]

#: Columns of the terminal table, where they are known.
_SHOWN = (
    "val_accuracy",
    "accuracy",
    "dsp",
    "latency_cycles",
    "bram18",
    "lut",
    "ff",
    "ii_cycles",
    "energy_mj",
    "inference_ms",
    "power_mw",
    "macs",
    "parameters",
    "kernel_sparsity",
    "sparsity",
)


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
            **({"stopped": counts.stopped} if counts.stopped else {}),
        },
        "front": [_row(point, run_ids or {}, _quantities(front)) for point in front.points],
    }


def _row(point: Candidate, run_ids: Mapping[int, str], names: Sequence[str]) -> dict[str, Any]:
    return {
        "trial": point.trial,
        "step": point.step,
        "run_id": run_ids.get(point.trial),
        "feasible": point.feasible,
        "params": dict(point.params),
        **{name: plain(point.metrics.get(name)) for name in names},
    }


def front_csv(front: Front, run_ids: Mapping[int, str] | None = None) -> str:
    """Return the front as CSV: one row per point, one column per searched value and quantity."""
    params = list(front.points[0].params) if front.points else []
    names = _quantities(front)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "step", "run_id", "feasible", *params, *names])
    for point in front.points:
        row = _row(point, run_ids or {}, names)
        lead = [row["trial"], row["step"], row["run_id"], int(point.feasible)]
        searched = [point.params[path] for path in params]
        writer.writerow([*lead, *searched, *(row[name] for name in names)])
    return text.getvalue()


def _quantities(front: Front) -> list[str]:
    """Return the names in files: those of an FPGA always, those of an edge device where known."""
    return [name for name in DIRECTIONS if name not in EDGE or _is_known(front, name)]


def _is_known(front: Front, name: str) -> bool:
    return any(point.metrics.get(name) is not None for point in front.points)


def front_table(front: Front, width: int | None = None) -> Table:
    """Return the front as a table for the terminal.

    Args:
        front: of the sweep.
        width: of the terminal; what is no objective gives way where there is no room.
    """
    view, points = front.view, front.points
    names = [
        name
        for name in dict.fromkeys([*view.objectives, *_SHOWN])
        if name in view.objectives or _is_known(front, name)
    ]
    columns = [
        Column("trial", [str(point.trial) for point in points], needed=True),
        Column("step", [str(point.step) for point in points], needed=True),
    ]
    for name in names:
        arrow = {"max": " ↑", "min": " ↓"}.get(view.objectives.get(name, ""), "")
        cells = [number(name, point.metrics.get(name)) for point in points]
        columns.append(Column(name + arrow, cells, needed=name in view.objectives))
    return make_table(
        columns,
        width,
        title=f"Pareto front of '{view.name}'",
        caption=summary(front),
        styles=["" if point.feasible else "dim" for point in points],
    )


def _rounded(name: str, budget: float) -> str:
    return f"{budget:,.0f}" if budget >= 10 else number(name, budget)


def budget_table(front: Front, width: int | None = None) -> Table:
    """Return, for the first cost objective, the most accurate front point within each budget."""
    cost = main_cost(front)
    rows = list(best_per_budget(front, cost))
    names = (cost, "val_accuracy", "accuracy")
    found = [row.best for row in rows]
    columns = [
        Column("budget", [f"{row.fraction:.0%} ({_rounded(cost, row.budget)})" for row in rows])
    ]
    for name in names:
        cells = ["-" if best is None else number(name, best.metrics.get(name)) for best in found]
        columns.append(Column(name, cells))
    columns += [
        Column("trial", ["-" if best is None else str(best.trial) for best in found]),
        Column("step", ["-" if best is None else str(best.step) for best in found]),
    ]
    return make_table(
        columns,
        width,
        title=f"Best point per {cost} budget",
        caption="budgets as part of the largest dense network",
    )
