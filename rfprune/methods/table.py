"""Each method: how it selects, which structure it is bound to, what its penalty acts on."""

from __future__ import annotations

from rfprune.methods import baselines
from rfprune.methods.knapsack import knapsack
from rfprune.methods.problem import Method

__all__ = ["GREEDY", "KNAPSACK", "L1", "MAGNITUDE", "NONE", "RANDOM", "UNIFORM"]

KNAPSACK = Method(knapsack)
GREEDY = Method(baselines.greedy)
UNIFORM = Method(baselines.uniform)
RANDOM = Method(baselines.random)
MAGNITUDE = Method(baselines.magnitude, structure="weight", penalty="none")
L1 = Method(baselines.magnitude, structure="weight", penalty="weight")
NONE = Method(baselines.keep_all, penalty="none", prunes=False)
