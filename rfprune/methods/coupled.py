"""Budgets where costs do not add up: what a kernel costs depends on what is left around it.

Methods that add up costs are asked with a budget in which the sum of costs is meant, and that
budget is moved until what the choice really uses fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.methods.problem import Choice, Method, Problem

__all__ = ["select_coupled"]

#: Halvings of the interval in which the budget lies, and rounds with costs as the last choice left
#: them.
_HALVINGS, _ROUNDS = 12, 3


def select_coupled(
    method: Method, problem: Problem, costs_at: Callable[[BoolArray], FloatArray]
) -> Choice:
    """Return the choice of a method on a problem whose costs are coupled; it fits the budget.

    Costs are linearised: first around the groups that the problem's own costs belong to, then twice
    around the choice so far. The choice of the greatest value is returned.

    Args:
        method: how it is chosen.
        problem: `used` says what a choice really uses; `cost` are marginal costs.
        costs_at: returns the marginal costs (G, R) beside a set of kept groups (G,).
    """
    # These ask for what is really used, and need no budget of sums.
    if method.counts or not method.prunes:
        return method.select(problem)
    best: Choice | None = None
    for _ in range(_ROUNDS):
        found = _within(method, problem)
        if best is None or _worth(problem, found) > _worth(problem, best):
            best = found
        # Costs around what was kept: fewer kernels elsewhere make each of the rest cheaper.
        problem = replace(problem, cost=costs_at(found.keep))
    assert best is not None
    return best


def _worth(problem: Problem, choice: Choice) -> float:
    return float(problem.value[choice.keep].sum())


def _within(method: Method, problem: Problem) -> Choice:
    """Return the choice for the largest budget of summed costs whose real use fits."""
    whole = problem.cost.sum(axis=0)
    # All kernels of a layer cost the same, so that its first one stands for any.
    least = sum(
        floor * problem.cost[np.flatnonzero(problem.layer == layer)[0]]
        for layer, floor in enumerate(problem.floor)
    )
    limited = np.isfinite(problem.budget)

    def at(share: float) -> Choice:
        summed = np.where(limited, least + share * (whole - least), np.inf)
        # Drawn anew each time, so that a larger budget keeps what a smaller one did.
        rng = np.random.default_rng(0)
        rng.bit_generator.state = problem.rng.bit_generator.state
        return method.select(replace(problem, budget=summed * (1 + 1e-9), rng=rng))

    # At 0 nothing but the floors is kept; that is the answer if nothing larger fits.
    low, high, best = 0.0, 1.0, at(0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = at(middle)
        if np.all(problem.used(found.keep) <= problem.budget * (1 + 1e-12)):
            low, best = middle, found
        else:
            high = middle
    return Choice(best.keep)
