"""Budgets as amounts: what the network may use of each resource, from dense to final.

What a file says (a fraction, an amount) becomes an amount once, in `final_amounts`; a whole number
stays that number exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.spec.pruning import budget_amount

__all__ = ["final_amounts", "step_amounts", "step_budget", "step_fractions"]


def final_amounts(
    dense: Mapping[str, float], budget: Mapping[str, float | str]
) -> dict[str, float]:
    """Return each budget as an amount, at most what the dense network uses.

    Args:
        dense: use of the dense network, by resource.
        budget: as the file says it, by resource.
    """
    return {name: budget_amount(value, dense[name]) for name, value in budget.items()}


def step_amounts(
    dense: Mapping[str, float],
    final: Mapping[str, float],
    progress: float,
    growth: float | None = None,
) -> dict[str, float]:
    """Return the amounts at `progress` between dense (0) and final (1).

    Args:
        dense: use of the dense network, by resource.
        final: final amounts, by resource.
        progress: 0 to 1.
        growth: on a ladder, by how much more than the end its start is; what lies between falls by
            the same factor everywhere. None = in a straight line from the dense network.
    """
    # The end is named, not computed: dense - 1 * (dense - final) may be an ulp below `final`, and
    # then a whole number would lose one unit.
    if progress >= 1:
        return dict(final)
    if growth is not None:
        above = growth ** (1 - progress)
        # A ladder may start above what the dense network uses, where it limits nothing.
        return {name: min(dense[name], end * above) for name, end in final.items()}
    return {name: dense[name] + progress * (end - dense[name]) for name, end in final.items()}


def step_fractions(
    dense: Mapping[str, float],
    final: Mapping[str, float],
    progress: float,
    growth: float | None = None,
) -> dict[str, float]:
    """Return the same as parts of the dense network's use; 1 where that is nothing."""
    # Named, not computed, as the end is: the dense step says exactly 1.
    if progress <= 0:
        return dict.fromkeys(final, 1.0)
    amounts = step_amounts(dense, final, progress, growth)
    return {name: a / dense[name] if dense[name] > 0 else 1.0 for name, a in amounts.items()}


def step_budget(
    resources: Sequence[str],
    dense: Mapping[str, float],
    final: Mapping[str, float],
    progress: float,
    growth: float | None = None,
) -> FloatArray:
    """Return (R,) the budget at `progress`; inf = not limited.

    Args:
        resources: names in the order of the resource axis.
        dense: use of the dense network, by resource.
        final: final amounts, by resource.
        progress: 0 to 1.
        growth: of a ladder, as in `step_amounts`.
    """
    amounts = step_amounts(dense, final, progress, growth)
    return np.array([amounts.get(name, np.inf) for name in resources])
