"""An estimate as a table for people: totals beside what the part offers, then layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfprune.core.quantities import RESOURCES, Resources
from rfprune.core.tables import Column, make_table
from rfprune.fpga.estimators.result import Estimate
from rfprune.hardware.parts import Part

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

__all__ = ["KINDS", "table"]

#: What an estimate predicts, in words.
KINDS = {"hls": "C synthesis", "synthesis": "logic synthesis"}


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def table(estimate: Estimate, part: Part, width: int | None = None) -> Group:
    """Return what the command line prints: totals, layers, and what a reader must know.

    Args:
        estimate: resources and cycles.
        part: what it is compared with.
        width: of the terminal; None = there is room for all columns.
    """
    from rich.console import Group
    from rich.text import Text

    part = estimate.device(part)
    verdict = "fits" if estimate.fits(part) else "does NOT fit"
    head = f"{estimate.source}: {KINDS[estimate.predicts]}, {estimate.tool or 'any tool'}; "
    head += f"{verdict} {part.name} at {estimate.clock_ns:g} ns"
    lines = [] if estimate.reachable_ns is None else [_reached(estimate)]
    if estimate.power_mw is not None:
        lines.append(f"power: about {estimate.power_mw:,.0f} mW (estimate)")
    notes = [Text(line) for line in (*lines, *estimate.notes)]
    layers = [_layers(estimate, width)] if estimate.layers else []
    return Group(Text(head), _totals(estimate, part, width), *layers, *notes)


def _reached(estimate: Estimate) -> str:
    low, high = estimate.intervals.get("reachable_ns", (None, None))
    spread = "" if low is None or high is None else f" ({low:.3g} to {high:.3g})"
    # What knows no C synthesis states the clock of what was routed.
    stage = "after routing" if estimate.hls is None else "in HLS"
    return f"reachable clock {stage}: {estimate.reachable_ns:.3g} ns{spread}"


def _between(estimate: Estimate, name: str) -> str:
    pair = estimate.intervals.get(name)
    return "-" if pair is None else f"{pair[0]:,.0f} to {pair[1]:,.0f}"


def _totals(estimate: Estimate, part: Part, width: int | None) -> Table:
    cycles = ("latency_cycles", "ii_cycles")
    used = {**estimate.total._asdict(), **{name: getattr(estimate, name) for name in cycles}}
    percent = {
        name: "unknown" if share is None else f"{100 * share:.1f}"
        for name, share in estimate.utilization(part).items()
    }
    hls, synthesis = estimate.hls, estimate.synthesis
    between = [_between(estimate, name) for name in used]
    columns = [
        Column("quantity", list(used), left=True, needed=True),
        Column("used", [_count(value) for value in used.values()], needed=True),
        *([Column("90 % between", between, needed=True)] if estimate.intervals else []),
        Column("offered", [*(_count(getattr(part, name)) for name in RESOURCES), "", ""]),
        Column("%", [*(percent[name] for name in RESOURCES), "", ""]),
        Column("hls", [*(_of_kind(hls, name) for name in RESOURCES), "", ""]),
        Column("synthesis", [*(_of_kind(synthesis, name) for name in RESOURCES), "", ""]),
    ]
    if estimate.layers:
        # The interval of a network is not a sum of its layers', so that no layer has most of it.
        most = [None if name == "ii_cycles" else estimate.dominant(name) for name in used]
        cells = [layer.name if layer else "-" for layer in most]
        cells[-1] = ""
        columns.insert(4 + bool(estimate.intervals), Column("most in", cells, left=True))
    return make_table(columns, width, title="Whole design")


def _of_kind(resources: Resources | None, name: str) -> str:
    value = None if resources is None else getattr(resources, name)
    return "-" if value is None else _count(value)


def _layers(estimate: Estimate, width: int | None) -> Table:
    layers = estimate.layers
    columns = [
        Column("layer", [layer.name for layer in layers], left=True, needed=True),
        Column("reuse_factor", [str(layer.reuse_factor) for layer in layers]),
    ]
    for name in RESOURCES:
        top = estimate.dominant(name)
        cells = [f"{_count(getattr(layer, name))}{'*' if layer is top else ''}" for layer in layers]
        columns.append(Column(name, cells, needed=name in ("dsp", "bram18")))
    columns += [
        Column("latency_cycles", [_count(layer.latency_cycles) for layer in layers]),
        Column("ii_cycles", [_count(layer.ii_cycles) for layer in layers]),
        Column("type", [layer.type for layer in layers], left=True),
        Column("strategy", [layer.strategy or "-" for layer in layers], left=True),
    ]
    return make_table(columns, width, title="Layers", caption="* = most of a resource")
