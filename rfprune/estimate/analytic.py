"""The default estimator: sums of rules per layer, vectorised over designs.

The rules hold because of how hls4ml writes its kernels and how HLS maps them (modules `rules`,
`terms`, `glue`); the few fitted constants are in `constants` and are refitted by ``python -m
benchmarks.estimates.fit``. A design whose weights are counted (a
trained network) is estimated after logic synthesis, since C-synthesis reports do not show freed
memory columns; a design without weights as its C-synthesis report. What is not known: URAM,
routing, and the effect of synthesis options.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rfprune.estimate.design import Design
from rfprune.estimate.layers import Columns, read_columns, tool_of
from rfprune.estimate.power import estimate_power
from rfprune.estimate.result import Estimate, LayerEstimate, Predicts
from rfprune.estimate.rules import LayerCosts, layer_costs, network_cycles
from rfprune.quantities import Resources

__all__ = ["EstimateTable", "estimate", "estimate_many"]

F = NDArray[np.float64]
_QUANTITIES = ("dsp", "bram18", "lut", "ff")


def _whole(value: float) -> int | None:
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
        synthesis_first: (n_designs,) True where the estimate is one after logic synthesis.
    """

    designs: Sequence[Design]
    columns: Columns
    costs: LayerCosts
    total: dict[str, F]
    latency_cycles: F
    ii_cycles: F
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
            intervals=self._intervals(i),
            notes=self._notes(i),
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

    def _intervals(self, i: int) -> dict[str, tuple[int, int]]:
        start = int(self.columns.starts[i])
        stop = start + len(self.designs[i].layers)
        if not self.costs.bounded[start:stop].any():
            return {}
        pairs = {}
        for name, (low, high) in self.costs.bounds.items():
            join = np.max if name == "ii_cycles" else np.sum
            pairs[name] = (
                round(float(join(low[start:stop]))),
                round(float(join(high[start:stop]))),
            )
        return pairs

    def _notes(self, i: int) -> tuple[str, ...]:
        start = int(self.columns.starts[i])
        stop = start + len(self.designs[i].layers)
        notes = []
        if self.synthesis_first[i]:
            notes.append(
                "Predicts logic synthesis, as the weights are known: C-synthesis reports do not "
                "show the memory columns of pruned multipliers."
            )
        if self.costs.bounded[start:stop].any():
            notes.append(
                "Latency layers without weights: DSP, LUT and FF depend on the weights; the values "
                "assume none is pruned, `intervals` bounds them."
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
    known = ~np.isnan(columns.live_groups) & costs.multiplies
    first = np.logical_or.reduceat(known, columns.starts)
    return EstimateTable(tuple(designs), columns, costs, total, latency, ii, first)


def estimate(design: Design) -> Estimate:
    """Return the analytic estimate of one design.

    Layers, totals of both kinds, cycles, and intervals where Latency layers have no weights.
    """
    return estimate_many([design])[0]
