"""An estimate as a table for people: totals beside what the part offers, then layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfprune.estimate.result import Estimate, LayerEstimate
from rfprune.hardware.parts import Part
from rfprune.quantities import RESOURCES

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

__all__ = ["table"]

_KINDS = {"hls": "C synthesis", "synthesis": "logic synthesis"}


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def table(estimate: Estimate, part: Part) -> Group:
    """Return what the command line prints: totals, layers, and what a reader must know."""
    from rich.console import Group
    from rich.text import Text

    verdict = "fits" if estimate.fits(part) else "does NOT fit"
    head = f"{estimate.source}: {_KINDS[estimate.predicts]}, {estimate.tool or 'any tool'}; "
    head += f"{verdict} {part.name} at {estimate.clock_ns:g} ns"
    lines = [f"{name}: {low:,} to {high:,}" for name, (low, high) in estimate.intervals.items()]
    if estimate.power_mw is not None:
        lines.append(f"power: about {estimate.power_mw:,.0f} mW (estimate)")
    notes = [Text(line) for line in (*lines, *estimate.notes)]
    return Group(Text(head), _totals(estimate, part), _layers(estimate), *notes)


def _totals(estimate: Estimate, part: Part) -> Table:
    from rich.table import Table

    made = Table(title="Whole design")
    for name in ("quantity", "used", "offered", "%", "hls", "synthesis", "most in"):
        made.add_column(name, justify="left" if name in ("quantity", "most in") else "right")
    used = estimate.total._asdict()
    for name in RESOURCES:
        share = estimate.utilization(part)[name]
        layer = estimate.dominant(name)
        both = [None if kind is None else getattr(kind, name) for kind in _both(estimate)]
        made.add_row(
            name,
            _count(used[name]),
            _count(getattr(part, name)),
            "unknown" if share is None else f"{100 * share:.1f}",
            *("-" if value is None else _count(value) for value in both),
            layer.name if layer else "-",
        )
    made.add_row(
        "latency_cycles", _count(estimate.latency_cycles), "", "", "", "", _slowest(estimate)
    )
    made.add_row("ii_cycles", _count(estimate.ii_cycles), "", "", "", "", "")
    return made


def _both(estimate: Estimate) -> tuple[object, object]:
    return estimate.hls, estimate.synthesis


def _slowest(estimate: Estimate) -> str:
    layer = estimate.dominant("latency_cycles")
    return layer.name if layer else "-"


def _layers(estimate: Estimate) -> Table:
    from rich import box
    from rich.table import Table

    made = Table(
        title="Layers (* = most of a resource)",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    top = {name: estimate.dominant(name) for name in RESOURCES}
    names = ("layer", "type", "strategy", "reuse_factor", *RESOURCES, "latency_cycles", "ii_cycles")
    for name in names:
        text = name in ("layer", "type", "strategy")
        made.add_column(
            name if text else name.replace("_", "\n"),
            justify="left" if text else "right",
            no_wrap=not text,
            overflow="fold",
        )
    for layer in estimate.layers:
        made.add_row(
            layer.name,
            layer.type,
            (layer.strategy or "-").replace("_", "_\n"),
            str(layer.reuse_factor),
            *(_marked(layer, name, top[name]) for name in RESOURCES),
            _count(layer.latency_cycles),
            _count(layer.ii_cycles),
        )
    return made


def _marked(layer: LayerEstimate, name: str, top: LayerEstimate | None) -> str:
    text = _count(getattr(layer, name))
    return f"{text}*" if layer is top else text
