"""From the cost of an adder graph to what is left of it after placing and routing.

Distributed arithmetic has no structure but adders, so that the cost of its graph in look-up tables
is nearly what Vivado uses. Fitted on 20 graph networks for jets (JEDI-linear, arXiv 2508.15468)
that were built by da4ml and routed for xcvu13p; one left out at a time, look-up tables are wrong by
3.2 % in the median and 8.9 % at most, flip-flops by 3.6 and 17 %, the reached period by 6.1 and
17 % (`python -m benchmarks.estimates.routed`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["LUT_SPREAD", "Routed", "routed"]

#: Look-up tables and flip-flops per unit of adder cost: geometric means.
LUT_PER_COST = 1.0506
FF_PER_COST = 0.5536
#: Reached period in ns: ``exp(a) * cost ** b``, least squares on logarithms. Wires grow with the
#: design; asked were 2 ns of all 20.
PERIOD_LOG, PERIOD_POWER = -1.3031, 0.21838
#: Factor that holds the truth in nine of ten; the largest left-out error, and half as much again
#: since all 20 are of one source.
LUT_SPREAD = 1.14
_SPREAD = {"lut": LUT_SPREAD, "ff": 1.27, "reachable_ns": 1.28}


@dataclass(frozen=True)
class Routed:
    """An adder graph after routing.

    Attributes:
        lut, ff: look-up tables, flip-flops of a pipeline.
        period_ns: clock period that is reached on a 16 nm device of the fastest common grade.
        intervals: (low, high) of ``lut``, ``ff`` and ``reachable_ns``.
    """

    lut: int
    ff: int
    period_ns: float
    intervals: dict[str, tuple[float, float]]


def routed(adder_cost: float) -> Routed:
    """Return what is left of an adder graph after routing.

    Args:
        adder_cost: of the graph, in look-up tables, as da4ml counts it.
    """
    cost = max(adder_cost, 0.0)
    lut, ff = LUT_PER_COST * cost, FF_PER_COST * cost
    period = math.exp(PERIOD_LOG) * cost**PERIOD_POWER
    values = {"lut": lut, "ff": ff, "reachable_ns": period}
    # A factor either way: errors of sizes are relative.
    ends = {name: (value / _SPREAD[name], value * _SPREAD[name]) for name, value in values.items()}
    counts = {
        name: (float(round(low)), float(round(high)))
        for name, (low, high) in ends.items()
        if name != "reachable_ns"
    }
    low, high = ends["reachable_ns"]
    counts["reachable_ns"] = round(low, 3), round(high, 3)
    return Routed(round(lut), round(ff), round(period, 3), counts)
