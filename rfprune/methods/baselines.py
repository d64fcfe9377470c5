"""Simple ways to choose groups: the references that the knapsack is measured against.

All of them keep the floors first and end within the budget by counting, so that methods are
compared at equal cost.
"""

from __future__ import annotations

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.methods.problem import Choice, Problem

__all__ = ["greedy", "hls4ml_greedy", "keep_all", "magnitude", "random", "uniform"]


def keep_all(problem: Problem) -> Choice:
    """Keep everything: the dense network."""
    return Choice(np.ones(len(problem.value), dtype=bool))


def _floors(problem: Problem, order: IntArray) -> BoolArray:
    """Return (G,): the first `floor` groups of each layer in `order`."""
    keep = np.zeros(len(problem.value), dtype=bool)
    for layer, floor in enumerate(problem.floor):
        members = order[problem.layer[order] == layer]
        keep[members[:floor]] = True
    return keep


def _fill(problem: Problem, order: IntArray, to_first_misfit: bool = False) -> Choice:
    """Take groups in `order` while they fit; a misfit is skipped, or is the end."""
    keep = _floors(problem, order)
    # May be negative where floors alone exceed a budget; then nothing is added, and the check says
    # so.
    room = problem.budget - problem.cost[keep].sum(axis=0)
    for group in order[~keep[order]]:
        if np.all(problem.cost[group] <= room):
            keep[group] = True
            room -= problem.cost[group]
        elif to_first_misfit:
            break
    return Choice(keep)


def _density(value: FloatArray, share: FloatArray) -> FloatArray:
    """Return (G,) value per share; what has no share comes first."""
    return np.where(share > 0, value / np.where(share > 0, share, 1.0), np.inf)


def greedy(problem: Problem) -> Choice:
    """Take groups by value per share of the scarcest budget they touch."""
    # A budget of 0 leaves no share to speak of; what it costs anything goes last.
    bound = np.where(problem.budget > 0, problem.budget, np.finfo(float).tiny)
    with np.errstate(over="ignore"):
        # A resource without a limit is not scarce, however much of it is held.
        share = np.where(np.isfinite(problem.budget), problem.cost / bound, 0.0)
    density = _density(problem.value, share.max(axis=1))
    return _fill(problem, np.argsort(-density, kind="stable"))


def hls4ml_greedy(problem: Problem) -> Choice:
    """Take groups as hls4ml's own API does, whatever the budgets: up to the first misfit.

    By value per sum of costs, each resource in units of its most expensive group
    (``__solve_knapsack_greedy`` in hls4ml/optimization/dsp_aware_pruning/knapsack.py).
    """
    limited = np.isfinite(problem.budget)
    most = np.maximum(problem.cost.max(axis=0), np.finfo(float).tiny)
    density = _density(problem.value, (problem.cost / most)[:, limited].sum(axis=1))
    return _fill(problem, np.argsort(-density, kind="stable"), to_first_misfit=True)


def random(problem: Problem) -> Choice:
    """Take groups in random order."""
    return _fill(problem, problem.rng.permutation(len(problem.value)))


def _largest_fraction(problem: Problem, kept_at: FloatArray) -> BoolArray:
    """Keep group g iff its rank in [0, 1] is below the largest fraction that stays in the budget.

    Args:
        problem: budget and count.
        kept_at: (G,) the fraction from which on each group is kept; < 0 = always.
    """
    # Equal ranks stay or go together, so that the fraction is the same in every layer.
    levels = np.unique(kept_at)
    low, high = 0, len(levels)  # the budget holds for the first `low` levels, not for high + 1
    while low < high:
        middle = (low + high + 1) // 2
        keep = kept_at <= levels[middle - 1]
        if np.all(problem.used(keep) <= problem.budget * (1 + 1e-12)):
            low = middle
        else:
            high = middle - 1
    return np.asarray(kept_at <= levels[low - 1] if low else np.zeros(len(kept_at), dtype=bool))


def uniform(problem: Problem) -> Choice:
    """Keep the same fraction of the best groups in every layer, as large as the budget allows."""
    kept_at = np.empty(len(problem.value))
    for layer, floor in enumerate(problem.floor):
        members = np.flatnonzero(problem.layer == layer)
        order = members[np.argsort(-problem.value[members], kind="stable")]
        kept_at[order] = (np.arange(len(order)) + 1) / max(len(order), 1)
        # Below every level: floors stay at any fraction.
        kept_at[order[:floor]] = -1.0
    return Choice(_largest_fraction(problem, kept_at))


def magnitude(problem: Problem) -> Choice:
    """Unstructured: one threshold on all weights, as low as the counted cost allows."""
    order = np.argsort(-problem.value, kind="stable")
    kept_at = np.empty(len(problem.value))
    kept_at[order] = np.arange(len(order)) + 1.0
    kept_at[_floors(problem, order)] = -1.0
    return Choice(_largest_fraction(problem, kept_at))
