"""What is left in hardware when some weights of a layer are zero, by exact counting.

A multiplier is live if any of its RF weights is not zero, a BRAM column if any multiplier that
shares it is live. Counts follow what hls4ml generates (`rfprune.hls.codegen` reads the same
numbers back).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rfprune.groups.costs import UnitCost, unit_cost
from rfprune.network.plan import LayerPlan
from rfprune.quantities import RESOURCES

__all__ = ["live_multipliers", "live_runs", "used"]


def live_runs(nonzero: NDArray[np.bool_], run: int) -> NDArray[np.bool_]:
    """Return (ceil(N / run),): whether each run of weights in HLS order has a non-zero one."""
    starts = np.arange(0, nonzero.size, run)
    return np.logical_or.reduceat(nonzero, starts) if nonzero.size else np.zeros(0, dtype=bool)


def live_multipliers(plan: LayerPlan, nonzero: NDArray[np.bool_]) -> int:
    """Return how many multipliers hls4ml still generates for this layer.

    Args:
        plan: the layer.
        nonzero: (N,) in HLS order, True where the weight is not zero.
    """
    if not plan.droppable:
        return plan.n_multipliers
    if plan.strategy == "latency":
        # nnet_dense_latency.h: limit = ceil(T / RF) - floor(zeros / RF).
        zeros = int(nonzero.size - np.count_nonzero(nonzero))
        return plan.n_multipliers - zeros // plan.reuse_factor
    return int(np.count_nonzero(live_runs(nonzero, plan.reuse_factor)))


def used(plan: LayerPlan, nonzero: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (R,): the resources that this layer's weights hold.

    Args:
        plan: the layer.
        nonzero: (N,) in HLS order, True where the weight is not zero.
    """
    cost: UnitCost = unit_cost(plan)
    total = np.zeros(len(RESOURCES))
    total += cost.per_multiplier * live_multipliers(plan, nonzero)
    if cost.multipliers_per_word:
        live = np.ones_like(nonzero) if not plan.droppable else nonzero
        words = live_runs(live, plan.reuse_factor * cost.multipliers_per_word)
        total += cost.per_word * np.count_nonzero(words)
    return total
