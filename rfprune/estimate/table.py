"""An estimate as a table for people: totals beside what the part offers, then layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfprune.estimate.result import Estimate, LayerEstimate
from rfprune.hardware.parts import Part
from rfprune.quantities import RESOURCES, Resources
from rfprune.tables import Column, make_table

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

    verdict = "fits" if estimate.fits(part) else "does NOT fit"
    head = f"{estimate.source}: {KINDS[estimate.predicts]}, {estimate.tool or 'any tool'}; "
    head += f"{verdict} {part.name} at {estimate.clock_ns:g} ns"
    lines = [f"{name}: {low:,} to {high:,}" for name, (low, high) in estimate.intervals.items()]
    if estimate.power_mw is not None:
        lines.append(f"power: about {estimate.power_mw:,.0f} mW (estimate)")
    notes = [Text(line) for line in (*lines, *estimate.notes)]
    layers = [_layers(estimate, width)] if estimate.layers else []
    return Group(Text(head), _totals(estimate, part, width), *layers, *notes)


def _totals(estimate: Estimate, part: Part, width: int | None) -> Table:
    cycles = ("latency_cycles", "ii_cycles")
    used = {**estimate.total._asdict(), **{name: getattr(estimate, name) for name in cycles}}
    share = estimate.utilization(part)
    hls, synthesis = estimate.hls, estimate.synthesis
    columns = [
        Column("quantity", list(used), left=True, needed=True),
        Column("used", [_count(value) for value in used.values()], needed=True),
        Column("offered", [*(_count(getattr(part, name)) for name in RESOURCES), "", ""]),
        Column("%", [*(_percent(share[name]) for name in RESOURCES), "", ""]),
        Column("hls", [*(_of_kind(hls, name) for name in RESOURCES), "", ""]),
        Column("synthesis", [*(_of_kind(synthesis, name) for name in RESOURCES), "", ""]),
    ]
    if estimate.layers:
        most = Column("most in", [_most(estimate, name) for name in used], left=True)
        columns.insert(4, most)
    return make_table(columns, width, title="Whole design")


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f}"


def _of_kind(resources: Resources | None, name: str) -> str:
    value = None if resources is None else getattr(resources, name)
    return "-" if value is None else _count(value)


def _most(estimate: Estimate, name: str) -> str:
    if name == "ii_cycles":
        return ""
    layer = estimate.dominant(name)
    return layer.name if layer else "-"


def _layers(estimate: Estimate, width: int | None) -> Table:
    layers = estimate.layers
    columns = [
        Column("layer", [layer.name for layer in layers], left=True, needed=True),
        Column("reuse_factor", [str(layer.reuse_factor) for layer in layers]),
    ]
    for name in RESOURCES:
        top = estimate.dominant(name)
        cells = [_marked(layer, name, top) for layer in layers]
        columns.append(Column(name, cells, needed=name in ("dsp", "bram18")))
    columns += [
        Column("latency_cycles", [_count(layer.latency_cycles) for layer in layers]),
        Column("ii_cycles", [_count(layer.ii_cycles) for layer in layers]),
        Column("type", [layer.type for layer in layers], left=True),
        Column("strategy", [layer.strategy or "-" for layer in layers], left=True),
    ]
    return make_table(columns, width, title="Layers", caption="* = most of a resource")


def _marked(layer: LayerEstimate, name: str, top: LayerEstimate | None) -> str:
    text = _count(getattr(layer, name))
    return f"{text}*" if layer is top else text
