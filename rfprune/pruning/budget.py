"""Budgets: from what the file says to resource vectors, and whether any pruning can reach them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rfprune.errors import BudgetError
from rfprune.groups import Groups
from rfprune.quantities import RESOURCES

__all__ = ["budget_notes", "check_reachable", "final_fractions", "least_use", "step_budget"]

FloatArray = NDArray[np.float64]


def final_fractions(groups: Groups, budget: dict[str, float]) -> dict[str, float]:
    """Return each budget as a fraction of the dense network's use.

    Values up to 1 are fractions already; above 1 they are counts. A resource that the dense network
    does not use at all is always within its budget (fraction 1).
    """
    dense = dict(zip(RESOURCES, groups.dense, strict=True))
    fractions: dict[str, float] = {}
    for name, value in budget.items():
        if dense[name] <= 0:
            fractions[name] = 1.0
        else:
            fractions[name] = min(1.0, value if value <= 1 else value / dense[name])
    return fractions


def budget_notes(groups: Groups, budget: dict[str, float]) -> list[str]:
    """Return one sentence per budget that cannot save anything."""
    dense = dict(zip(RESOURCES, groups.dense, strict=True))
    return [
        f"prune.budget.{name}: the dense network uses no {name}, so this budget prunes nothing."
        for name in budget
        if dense[name] <= 0
    ]


def step_budget(groups: Groups, fractions: dict[str, float], progress: float) -> FloatArray:
    """Return (R,) the budget at `progress` between dense (0) and final (1); inf = not limited."""
    budget = np.full(len(RESOURCES), np.inf)
    for name, final in fractions.items():
        at = RESOURCES.index(name)
        budget[at] = (1 - progress * (1 - final)) * groups.dense[at]
    return budget


def least_use(groups: Groups) -> FloatArray:
    """Return (R,) what is left when every layer is pruned down to its floor."""
    least = groups.fixed.copy()
    for layer in groups.layers:
        least += layer.least
    return least


def check_reachable(groups: Groups, fractions: dict[str, float]) -> None:
    """Raise if no pruning can reach a budget.

    Raises:
        BudgetError: names the resource, the least that is possible and what holds it.
    """
    least = least_use(groups)
    budget = step_budget(groups, fractions, 1.0)
    for at in np.flatnonzero(least > budget * (1 + 1e-9)):
        name, dense = RESOURCES[at], groups.dense[at]
        held = groups.fixed[at]
        reason = (
            f"{held:g} of them are in layers whose pruned groups would not vanish"
            if held > budget[at]
            else f"the floors of {len(groups.layers)} layers alone hold {least[at] - held:g}"
        )
        raise BudgetError(
            f"prune.budget.{name}: {budget[at]:g} of {dense:g} {name} cannot be reached: {reason}. "
            f"The least is {least[at]:g} ({least[at] / dense:.4g} of the dense network)."
        )
