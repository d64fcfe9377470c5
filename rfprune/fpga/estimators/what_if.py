"""One design at many reuse factors, clocks and parts: a table of estimates, in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.core.tables import Column, make_table
from rfprune.fpga.estimators.analytic import estimate_many
from rfprune.fpga.estimators.calibration import corrected
from rfprune.fpga.estimators.design import MULTIPLYING, Design, LayerDesign
from rfprune.fpga.estimators.result import Estimate
from rfprune.hardware.reuse import nearest_valid_reuse_factor

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["WhatIf", "draw", "what_if", "what_if_table"]

_SHOWN = ("dsp", "bram18", "lut", "ff", "latency_cycles", "ii_cycles")


@dataclass(frozen=True)
class WhatIf:
    """One point: what was asked, the design, and its estimate.

    Attributes:
        reuse_factor: asked of every layer; None = those of the design. A Resource layer has the
            nearest that is valid.
        design: with reuse factors, clock and part set.
        estimate: of that design.
    """

    reuse_factor: int | None
    design: Design
    estimate: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return the point as plain JSON values."""
        return {
            "reuse_factor": self.reuse_factor,
            **self.estimate.to_json(self.design.device),
        }


def what_if(
    design: Design,
    reuse_factors: Sequence[int] = (),
    clocks_ns: Sequence[float] = (),
    parts: Sequence[str] = (),
) -> list[WhatIf]:
    """Return the estimates of `design` at every combination, all computed at once.

    Args:
        design: where a list is empty, its own value is taken.
        reuse_factors: of every layer with weights.
        clocks_ns: clock periods in ns.
        parts: parts or boards.

    Raises:
        UnknownNameError: a part that is not in the catalogue; names the nearest.
        SpecError: a clock or reuse factor that is not positive.
    """
    from rfprune.spec.yaml_files import parse_spec

    points = list(
        product(reuse_factors or (None,), clocks_ns or (design.clock_ns,), parts or (design.part,))
    )
    values = design.model_dump()
    bases = {
        (clock, part): parse_spec(Design, {**values, "clock_ns": clock, "part": part}, design.name)
        for _, clock, part in points
    }
    designs = [_reused(bases[clock, part], factor) for factor, clock, part in points]
    return [
        WhatIf(factor, own, corrected(found, own))
        for (factor, _, _), own, found in zip(points, designs, estimate_many(designs), strict=True)
    ]


def _reused(design: Design, factor: int | None) -> Design:
    if factor is None:
        return design
    layers = tuple(_layer(design, layer, factor) for layer in design.layers)
    return design.model_copy(update={"layers": layers})


def _layer(design: Design, layer: LayerDesign, factor: int) -> LayerDesign:
    if layer.type not in MULTIPLYING or layer.n_in is None:
        return layer
    strategy = design.strategy_of(layer)
    if strategy != "latency":
        factor = nearest_valid_reuse_factor(layer.n_in, layer.n_out, factor, strategy)
    changed: dict[str, Any] = {"reuse_factor": factor}
    if layer.weights is not None and factor != layer.reuse_factor:
        # Which multipliers are left was counted for another number of weights each.
        changed["weights"] = layer.weights.model_copy(update={"live_groups": None})
    return layer.model_copy(update=changed)


def what_if_table(points: Sequence[WhatIf], width: int | None = None) -> Table:
    """Return one row per point, for the terminal."""

    def cell(value: float | None) -> str:
        return "unknown" if value is None else f"{value:,.0f}"

    quantities = [point.estimate.quantities() for point in points]
    columns = [
        Column(
            "reuse_factor",
            ["own" if p.reuse_factor is None else str(p.reuse_factor) for p in points],
            needed=True,
        ),
        Column("clock_ns", [f"{p.design.clock_ns:g}" for p in points], needed=True),
        Column("part", [p.design.device.name for p in points], left=True, needed=True),
        Column(
            "fits",
            ["yes" if p.estimate.fits(p.design.device) else "no" for p in points],
            left=True,
            needed=True,
        ),
    ]
    for name in _SHOWN:
        cells = [cell(known[name]) for known in quantities]
        columns.append(Column(name, cells, needed=name in ("dsp", "lut", "latency_cycles")))
        if name == "lut":
            ends = [(known.get("lut.low"), known.get("lut.high")) for known in quantities]
            columns.append(Column("lut, 90 %", [f"{cell(a)} to {cell(b)}" for a, b in ends]))
    columns.append(Column("latency_ns", [cell(known["latency_ns"]) for known in quantities]))
    return make_table(columns, width, title="What if")


def draw(points: Sequence[WhatIf], path: Path) -> None:
    """Write a PNG of DSP, LUT, block RAM and latency over the reuse factor.

    One line per clock and part; bars are the 90 % intervals.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    lines = list(dict.fromkeys((p.design.clock_ns, p.design.device.name) for p in points))
    shown = ("dsp", "lut", "bram18", "latency_ns")
    for panel, name in zip(figure.subplots(2, 2).flat, shown, strict=True):
        for clock, part in lines:
            own = [p for p in points if (p.design.clock_ns, p.design.device.name) == (clock, part)]
            x = [p.reuse_factor or i + 1 for i, p in enumerate(own)]
            known = [p.estimate.quantities() for p in own]
            y = [float(k[name] or 0) for k in known]
            low = [float(k.get(f"{name}.low") or v) for v, k in zip(y, known, strict=True)]
            high = [float(k.get(f"{name}.high") or v) for v, k in zip(y, known, strict=True)]
            bars = np.abs([np.subtract(y, low), np.subtract(high, y)])
            label = f"{part}, {clock:g} ns"
            panel.errorbar(x, y, yerr=bars, marker="o", capsize=3, label=label)
        panel.set(title=name, xlabel="reuse factor", xscale="log", yscale="symlog")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, format="png", dpi=120)
