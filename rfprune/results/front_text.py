"""A front as text: JSON, CSV, tables for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfprune.core.quantities import RESOURCES, Quantity
from rfprune.core.tables import Column, make_table
from rfprune.results.front import Front, best_per_budget, main_cost
from rfprune.results.labels import marks, number, plain, reading, summary
from rfprune.results.points import Candidate
from rfprune.spec.networks import SEARCHED

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["budget_table", "front_csv", "front_json", "front_table"]

#: Programs that read the JSON find these in every row; null where the target has no such thing.
_ALWAYS = (*RESOURCES, "latency_cycles", "ii_cycles", "fits")


def front_json(front: Front, run_ids: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Return the object that ``rfprune pareto --json`` prints.

    Args:
        front: of the sweep.
        run_ids: MLflow run by trial number; null in the object where absent.
    """
    view, counts = front.view, front.counts
    names = list(dict.fromkeys([*_quantities(front), *_ALWAYS]))
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
        "rows": dict(view.rows),
        "capacity": {name: plain(value) for name, value in view.capacity.items()},
        "reference": dict(front.reference),
        "front": [_row(front, point, run_ids or {}, names) for point in front.shown],
    }


def _row(
    front: Front, point: Candidate, run_ids: Mapping[int, str], names: Sequence[str]
) -> dict[str, Any]:
    return {
        "trial": point.trial,
        "step": point.step,
        "run_id": run_ids.get(point.trial),
        "feasible": point.feasible,
        "dense": int(point.dense),
        "on_front": int(point in front.points),
        "within_noise": int((point.trial, point.step) in front.within_noise),
        "constant": int(point.constant),
        "errors": dict(point.errors),
        "repeats": point.repeats,
        "spread": dict(point.spread),
        "params": dict(point.params),
        **{name: plain(point.metrics.get(name)) for name in names},
    }


def front_csv(front: Front, run_ids: Mapping[int, str] | None = None) -> str:
    """Return the front as CSV: one row per point, one column per searched value and quantity.

    The dense network is the last row if it is not on the front.
    """
    params = list(front.shown[0].params) if front.shown else []
    names = _quantities(front)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    flags = ("dense", "on_front", "within_noise", "constant")
    error = f"{front.view.score}_error"
    writer.writerow(["trial", "step", "run_id", "feasible", *flags, *params, *names, error])
    for point in front.shown:
        row = _row(front, point, run_ids or {}, names)
        lead = [row["trial"], row["step"], row["run_id"], int(point.feasible)]
        lead += [row[flag] for flag in flags]
        searched = [point.params[path] for path in params]
        last = point.errors.get(front.view.score)
        writer.writerow([*lead, *searched, *(row[name] for name in names), last])
    return text.getvalue()


def _quantities(front: Front) -> list[str]:
    """Return the names in files: everything that a trial of this task and target measures."""
    return list(front.view.quantities)


def front_table(front: Front, width: int | None = None) -> Table:
    """Return the front as a table for the terminal.

    Args:
        front: of the sweep.
        width: of the terminal; columns that are not objectives are left out where there is no room.
    """
    view, points = front.view, front.shown
    # A metric of the task is what is measured twice: on validation rows and on test rows.
    twice = [name for name in view.quantities if f"val_{name}" in view.quantities]
    metrics = [view.score, view.score.removeprefix("val_")]
    metrics += [whole for name in twice for whole in (f"val_{name}", name)]
    names = [
        name
        for name in dict.fromkeys([*view.objectives, *metrics, *view.target.shown])
        if name in view.objectives or any(p.metrics.get(name) is not None for p in points)
    ]
    untouched = _untouched(front)
    last = ["-"] if untouched else []
    columns = [
        Column("trial", [*(str(point.trial) for point in points), *last], needed=True),
        Column("step", [*(str(point.step) for point in points), *last], needed=True),
    ]
    labels = [str(point.params.get(SEARCHED, "-")) for point in points]
    if any(SEARCHED in point.params for point in points):
        columns.append(Column(SEARCHED, [*labels, *last], left=True, needed=True))
    n_first = len(columns)
    for name in names:
        arrow = {"max": " ↑", "min": " ↓"}.get(view.objectives.get(name, ""), "")
        cells = [
            number(view.quantities[name], p.metrics.get(name), p.spread.get(name)) for p in points
        ]
        if untouched:
            cells.append(number(view.quantities[name], untouched.get(name)))
        columns.append(Column(name + arrow, cells, needed=name in view.objectives))
    for name in names:
        pairs = [point.between(name) for point in points]
        if any(pairs):
            columns.append(Column(f"{name} 90 %", [*_spans(view.quantities[name], pairs), *last]))
    words = [*(marks(front, point) for point in points), *(["untouched"] if untouched else [])]
    if any(words):
        # Right behind trial, step and the objectives.
        columns.insert(n_first + len(view.objectives), Column("note", words, left=True))
    styles = ["" if point.feasible and point in front.points else "dim" for point in points]
    return make_table(
        columns,
        width,
        title=f"Pareto front of '{view.name}'",
        caption="\n".join([summary(front), *reading(front)]),
        styles=[*styles, *(["dim"] if untouched else [])],
    )


def _spans(quantity: Quantity, pairs: Sequence[tuple[float, float] | None]) -> list[str]:
    """Return intervals in words."""
    ends = [None if pair is None else [number(quantity, end) for end in pair] for pair in pairs]
    return ["-" if each is None else " to ".join(each) for each in ends]


def _untouched(front: Front) -> dict[str, float]:
    """Return the metrics of the network before anything was pruned or rounded, if it is shown."""
    return dict(front.reference) if front.points else {}


def budget_table(front: Front, width: int | None = None) -> Table:
    """Return, for the first cost objective, the front point of the best score in each budget."""
    cost, quantities = main_cost(front), front.view.quantities
    rows = list(best_per_budget(front, cost))
    score = front.view.score
    names = (cost, score, score.removeprefix("val_"))
    part = cost in front.view.capacity
    whole = f"what {front.view.part} has" if part else "the largest dense network"
    found = [row.best for row in rows]
    amounts = [
        f"{row.budget:,.0f}" if row.budget >= 10 else number(quantities[cost], row.budget)
        for row in rows
    ]
    budgets = [
        f"{100 * row.fraction:.3g} % ({text})" for row, text in zip(rows, amounts, strict=True)
    ]
    columns = [Column("budget", budgets)]
    for name in names:
        cells = [
            "-" if best is None else number(quantities[name], best.metrics.get(name))
            for best in found
        ]
        columns.append(Column(name, cells))
    columns += [
        Column("trial", ["-" if best is None else str(best.trial) for best in found]),
        Column("step", ["-" if best is None else str(best.step) for best in found]),
    ]
    return make_table(
        columns,
        width,
        title=f"Best point per {cost} budget",
        caption=f"budgets as part of {whole}",
    )
