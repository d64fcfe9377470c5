"""Each method: how it selects, which structure it is bound to, what its penalty acts on."""

from __future__ import annotations

from rfprune.methods import baselines
from rfprune.methods.knapsack import knapsack
from rfprune.methods.problem import Method

__all__ = [
    "EBOPS",
    "GREEDY",
    "HLS4ML_GREEDY",
    "KNAPSACK",
    "L1",
    "MAGNITUDE",
    "NONE",
    "RANDOM",
    "UNIFORM",
    "WIDTHS",
]

KNAPSACK = Method(knapsack)
GREEDY = Method(baselines.greedy)
HLS4ML_GREEDY = Method(baselines.hls4ml_greedy)
UNIFORM = Method(baselines.uniform, counts=True)
RANDOM = Method(baselines.random)
#: Both count what is left: zeros that are strewn about free nothing by themselves.
MAGNITUDE = Method(
    baselines.magnitude, structure="weight", penalty="none", counts=True, kernel_score="l2"
)
L1 = Method(
    baselines.magnitude, structure="weight", penalty="weight", counts=True, kernel_score="l1"
)
NONE = Method(baselines.keep_all, penalty="none", prunes=False)
# What they select is values, in `Prunable.level`; asked for groups, they keep them all.
WIDTHS = EBOPS = Method(baselines.keep_all, penalty="none", chooses_values=True)
