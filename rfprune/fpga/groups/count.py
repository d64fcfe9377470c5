"""What is left in hardware when some weights of a layer are zero, by exact counting.

A multiplier is live if any of its RF weights is not zero, a BRAM column if any multiplier that
shares it is live. Counts follow what hls4ml generates (`rfprune.fpga.hls.generated_code` reads the
same numbers back).
"""

from __future__ import annotations

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.groups.unit_costs import UnitCost, unit_cost
from rfprune.fpga.layers.plan import LayerPlan

__all__ = ["group_costs", "live_multipliers", "live_runs", "used", "word_owners"]


def live_runs(nonzero: BoolArray, run: int) -> BoolArray:
    """Return (ceil(N / run),): whether each run of weights in HLS order has a non-zero one."""
    # The last run may be shorter: a multiplier that serves fewer weights.
    starts = np.arange(0, nonzero.size, run)
    return np.logical_or.reduceat(nonzero, starts) if nonzero.size else np.zeros(0, dtype=bool)


def live_multipliers(plan: LayerPlan, nonzero: BoolArray) -> int:
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


def group_costs(plan: LayerPlan, label: IntArray) -> FloatArray:
    """Return (G_l, R): what each group of a layer that can drop groups frees when it alone goes.

    Of the memory that is what no other group shares. A multiplier that several groups share (only
    single weights can) is counted for each of them, so that no selection exceeds a budget.

    Args:
        plan: the layer.
        label: (N,) group of each weight in HLS order.
    """
    unit = unit_cost(plan)
    count = int(label.max()) + 1
    if plan.strategy == "latency":
        shares = np.bincount(label, minlength=count) / plan.reuse_factor
        return np.outer(shares, unit.per_multiplier)
    position = np.arange(label.size)
    # A multiplier counts for each group that has some of its weights.
    begins = position % plan.reuse_factor == 0
    begins[1:] |= label[1:] != label[:-1]
    cost = np.outer(np.bincount(label[begins], minlength=count), unit.per_multiplier)
    if unit.multipliers_per_word:
        owners = word_owners(plan, label)
        cost += np.outer(np.bincount(owners[owners >= 0], minlength=count), unit.per_word)
    return cost


def word_owners(plan: LayerPlan, label: IntArray) -> IntArray:
    """Return, for each set of BRAM columns, the group that fills it alone, or -1.

    Args:
        plan: a layer with weights in memory.
        label: (N,) group of each weight in HLS order.
    """
    starts = np.arange(0, label.size, plan.reuse_factor * unit_cost(plan).multipliers_per_word)
    # A memory word is one group's own only if all weights in it have that group's label.
    least, most = np.minimum.reduceat(label, starts), np.maximum.reduceat(label, starts)
    return np.where(least == most, least, -1)


def used(plan: LayerPlan, nonzero: BoolArray) -> FloatArray:
    """Return (R,): the resources that this layer's weights hold.

    Args:
        plan: the layer.
        nonzero: (N,) in HLS order, True where the weight is not zero.
    """
    cost: UnitCost = unit_cost(plan)
    total = np.zeros(len(RESOURCES))
    multipliers: float = live_multipliers(plan, nonzero)
    if plan.strategy == "latency" and plan.droppable:
        # RF constants share a multiplier in time. A fraction of one each, so that every constant
        # that goes counts; hls4ml's own count falls at every RF-th one only.
        multipliers = np.count_nonzero(nonzero) / plan.reuse_factor
    total += cost.per_multiplier * multipliers
    if cost.multipliers_per_word:
        # A layer whose zeros hls4ml does not look for keeps every word.
        live = np.ones_like(nonzero) if not plan.droppable else nonzero
        words = live_runs(live, plan.reuse_factor * cost.multipliers_per_word)
        total += cost.per_word * np.count_nonzero(words)
    return total
