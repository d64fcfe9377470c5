"""The default estimator: sums of rules per layer, vectorised over designs.

The rules hold because of how hls4ml writes its kernels and how HLS maps them (modules `rules`,
`terms`, `glue`); the few fitted constants are in `constants` and are refitted by ``python -m
benchmarks.estimates.fit``. A design whose weights are counted (a
trained network) is estimated after logic synthesis, since C-synthesis reports do not show freed
memory columns; a design without weights as its C-synthesis report. What is not known: URAM,
routing, and the effect of synthesis options.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rfprune.core.quantities import Resources
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.intervals import Likeness, interval, likeness
from rfprune.fpga.estimators.layer_columns import Columns, read_columns, tool_of
from rfprune.fpga.estimators.power import estimate_power
from rfprune.fpga.estimators.result import Estimate, LayerEstimate, Predicts
from rfprune.fpga.estimators.rules import LayerCosts, layer_costs, network_cycles

__all__ = ["EstimateTable", "estimate", "estimate_many"]

F = NDArray[np.float64]
_QUANTITIES = ("dsp", "bram18", "lut", "ff")


def _whole(value: float) -> int | None:
    # NaN alone differs from itself: unknown, which is not 0.
    return None if value != value else round(value)


@dataclass(frozen=True)
class EstimateTable(Sequence[Estimate]):
    """Estimates of many designs as arrays; an item is built as `Estimate` when it is asked for.

    Attributes:
        designs: what was estimated.
        columns: their layers.
        costs: what each layer costs, one array (n_layers,) per quantity.
        total: name -> (n_designs,) sum over layers, e.g. ``hls_lut``, ``synthesis_lut``.
        latency_cycles, ii_cycles: (n_designs,).
        reachable_ns: (n_designs,) clock period that HLS will state, at least what it schedules for.
        synthesis_first: (n_designs,) True where the estimate is one after logic synthesis.
    """

    designs: Sequence[Design]
    columns: Columns
    costs: LayerCosts
    total: dict[str, F]
    latency_cycles: F
    ii_cycles: F
    reachable_ns: F
    synthesis_first: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.designs)

    def __iter__(self) -> Iterator[Estimate]:
        return (self[i] for i in range(len(self)))

    def resources(self, kind: Predicts, i: int) -> Resources:
        """Return the whole-design resources of design `i`, of one kind."""
        return Resources(*(_whole(float(self.total[f"{kind}_{q}"][i])) for q in _QUANTITIES))

    def __getitem__(self, i: int) -> Estimate:  # type: ignore[override]
        design = self.designs[i]
        kind: Predicts = "synthesis" if self.synthesis_first[i] else "hls"
        both = {k: self.resources(k, i) for k in ("hls", "synthesis")}
        tool, year = tool_of(design)
        alike = likeness(design)
        found = Estimate(
            source="analytic",
            predicts=kind,
            total=both[kind],
            latency_cycles=_whole(float(self.latency_cycles[i])),
            ii_cycles=_whole(float(self.ii_cycles[i])),
            clock_ns=design.clock_ns,
            layers=self._layers(i, kind),
            tool=f"{tool} {design.tool_version or year}",
            hls=both["hls"],
            synthesis=both["synthesis"],
            intervals=self._intervals(i, kind, alike),
            reachable_ns=round(float(self.reachable_ns[i]), 3),
            notes=self._notes(i, alike),
        )
        power = estimate_power(found, design.device)
        if power is None:
            return found
        return replace(found, power_mw=power.total_mw, notes=(*found.notes, power.assumptions))

    def _layers(self, i: int, kind: Predicts) -> tuple[LayerEstimate, ...]:
        start = int(self.columns.starts[i])
        stop = start + len(self.designs[i].layers)
        quantities = [getattr(self.costs, f"{kind}_{q}")[start:stop] for q in _QUANTITIES]
        quantities += [self.costs.latency[start:stop], self.costs.ii[start:stop]]
        rows = np.array(quantities).T.tolist()
        has_weights = self.costs.multiplies[start:stop].tolist()
        return tuple(
            LayerEstimate(
                layer.name,
                layer.type,
                layer.reuse_factor,
                self.designs[i].strategy_of(layer) if weighted else None,
                *(_whole(value) for value in row),
            )
            for layer, row, weighted in zip(self.designs[i].layers, rows, has_weights, strict=True)
        )

    def _intervals(self, i: int, kind: Predicts, alike: Likeness) -> dict[str, tuple[float, float]]:
        values = {q: (f"{kind}_{q}", self.total[f"{kind}_{q}"][i]) for q in _QUANTITIES}
        for name in ("latency_cycles", "ii_cycles"):
            values[name] = name, getattr(self, name)[i]
        values["reachable_ns"] = "hls_clock_ns", self.reachable_ns[i]
        pairs: dict[str, tuple[float, float]] = {}
        for name, (quantity, value) in values.items():
            pair = interval(quantity, float(value), alike)
            if pair is not None and name == "reachable_ns":
                pairs[name] = round(pair[0], 3), round(pair[1], 3)
            elif pair is not None:
                # Outwards: rounding must not make an interval narrower than nine in ten.
                pairs[name] = math.floor(pair[0]), math.ceil(pair[1])
        return pairs

    def _notes(self, i: int, alike: Likeness) -> tuple[str, ...]:
        start = int(self.columns.starts[i])
        stop = start + len(self.designs[i].layers)
        notes = [alike.note]
        if self.synthesis_first[i]:
            notes.append(
                "Predicts logic synthesis, as the weights are known: C-synthesis reports do not "
                "show the memory columns of pruned multipliers."
            )
        if self.costs.bounded[start:stop].any():
            notes.append(
                "Latency layers without weights: DSP, LUT and FF depend on the weights; the values "
                "assume a dense layer."
            )
        clock, reachable = self.designs[i].clock_ns, float(self.reachable_ns[i])
        if reachable > clock:
            notes.append(
                f"HLS will state a clock of about {reachable:.3g} ns where {clock:g} are asked: a "
                "path that it cannot cut."
            )
        return tuple(notes)


def estimate_many(designs: Sequence[Design]) -> EstimateTable:
    """Return the estimates of many designs at once; microseconds per design.

    Args:
        designs: any mix of strategies, tools and parts.
    """
    columns = read_columns(designs)
    costs = layer_costs(columns)
    names = [f"{kind}_{q}" for kind in ("hls", "synthesis") for q in _QUANTITIES]
    total = {name: np.add.reduceat(getattr(costs, name), columns.starts) for name in names}
    latency, ii = network_cycles(columns, costs)
    # One layer whose live multipliers were counted is enough: the network has been trained.
    known = ~np.isnan(columns.live_groups) & costs.multiplies
    first = np.logical_or.reduceat(known, columns.starts)
    path = np.maximum.reduceat(costs.period, columns.starts)
    # No clock is stated shorter than the one that was asked for.
    reachable = np.maximum(path, columns.period_ns[columns.starts])
    return EstimateTable(tuple(designs), columns, costs, total, latency, ii, reachable, first)


def estimate(design: Design) -> Estimate:
    """Return the analytic estimate of one design.

    Layers, totals of both kinds, cycles, and an interval for each quantity.
    """
    return estimate_many([design])[0]
