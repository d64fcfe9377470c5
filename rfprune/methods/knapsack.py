"""The knapsack: the choice of highest total value, proven, under all budgets at once.

Maximise ``sum_g v_g x_g`` subject to ``sum_g a_g x_g <= budget`` over binary x
(arXiv 2308.05170, knapsack formulation); solved by `rfprune.knapsack.solve`.
"""

from __future__ import annotations

from rfprune.methods.problem import Choice, Problem

__all__ = ["knapsack"]


def knapsack(problem: Problem) -> Choice:
    """Keep the groups of the highest total value."""
    from rfprune.knapsack import solve

    s = solve(problem.value, problem.cost, problem.budget, layer=problem.layer, floor=problem.floor)
    return Choice(s.keep, prices=s.prices, gap=s.gap)
