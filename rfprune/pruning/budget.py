"""Budgets: from what the file says to resource vectors, and whether any pruning can reach them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rfprune.arrays import FloatArray
from rfprune.errors import BudgetError
from rfprune.groups import Groups
from rfprune.quantities import RESOURCES

__all__ = [
    "budget_notes",
    "check_reachable",
    "dense_use",
    "final_fractions",
    "least_use",
    "step_budget",
    "step_fractions",
]


def dense_use(groups: Groups) -> dict[str, float]:
    """Return what the dense network's weights hold of each resource."""
    return dict(zip(RESOURCES, groups.dense.tolist(), strict=True))


def final_fractions(dense: Mapping[str, float], budget: Mapping[str, float]) -> dict[str, float]:
    """Return each budget as a fraction of the dense network's use.

    Values up to 1 are fractions already; above 1 they are amounts. A resource that the dense
    network does not use at all is always within its budget (fraction 1).

    Args:
        dense: use of the dense network, by resource.
        budget: as the file says it, by resource.
    """
    fractions: dict[str, float] = {}
    for name, value in budget.items():
        if dense[name] <= 0:
            fractions[name] = 1.0
        else:
            fractions[name] = min(1.0, value if value <= 1 else value / dense[name])
    return fractions


def budget_notes(groups: Groups, budget: dict[str, float]) -> list[str]:
    """Return one sentence per budget that cannot save anything."""
    dense = dense_use(groups)
    return [
        f"prune.budget.{name}: the dense network uses no {name}, so this budget prunes nothing."
        for name in budget
        if dense[name] <= 0
    ]


def step_fractions(final: Mapping[str, float], progress: float) -> dict[str, float]:
    """Return the fractions of dense at `progress` between dense (0) and final (1)."""
    return {name: 1 - progress * (1 - fraction) for name, fraction in final.items()}


def step_budget(
    dense: Mapping[str, float], final: Mapping[str, float], progress: float
) -> FloatArray:
    """Return (R,) the budget at `progress` between dense (0) and final (1); inf = not limited.

    Args:
        dense: use of the dense network, by resource in the order of the resource axis.
        final: final budget as a fraction of it, by resource.
        progress: 0 to 1.
    """
    fractions = step_fractions(final, progress)
    amounts = [
        fractions[name] * use if name in fractions else np.inf for name, use in dense.items()
    ]
    return np.array(amounts)


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
    budget = step_budget(dense_use(groups), fractions, 1.0)
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
