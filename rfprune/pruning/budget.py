"""Budgets as amounts: what the network may use of each resource, from dense to final.

What a file says (a fraction, an amount) becomes an amount once, in `final_amounts`; a whole number
stays that number exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.spec.pruning import Budget, budget_amount

__all__ = [
    "Growth",
    "final_amounts",
    "step_amounts",
    "step_budget",
    "step_fractions",
    "walked_growth",
]

#: Of a ladder: one for all resources, or by resource.
Growth = float | Mapping[str, float]


def final_amounts(dense: Mapping[str, float], budget: Mapping[str, Budget]) -> dict[str, float]:
    """Return each budget as an amount, at most what the dense network uses; of a range its low end.

    Args:
        dense: use of the dense network, by resource.
        budget: as the file says it, by resource.
    """
    return {name: budget_amount(value, dense[name]) for name, value in budget.items()}


def walked_growth(
    dense: Mapping[str, float], budget: Mapping[str, Budget], steps: int
) -> dict[str, float]:
    """Return by how much more than its end the start of each budget's ladder is.

    On a ladder of n steps the k-th is ``end * growth ** (1 - k / n)``. The first one of a range is
    its high end, so its growth is ``(high / low) ** (n / (n - 1))``; a budget that is no range
    holds from the first step on.

    Args:
        dense: use of the dense network, by resource.
        budget: as the file says it, by resource.
        steps: of the walk, at least 2.
    """
    ends = {
        name: [budget_amount(value, dense[name], end) for end in ("low", "high")]
        for name, value in budget.items()
    }
    # A network that uses nothing of a resource has nothing to walk.
    return {
        name: max(high / low, 1.0) ** (steps / (steps - 1)) if low > 0 else 1.0
        for name, (low, high) in ends.items()
    }


def step_amounts(
    dense: Mapping[str, float],
    final: Mapping[str, float],
    progress: float,
    growth: Growth | None = None,
) -> dict[str, float]:
    """Return the amounts at `progress` between dense (0) and final (1).

    Args:
        dense: use of the dense network, by resource.
        final: final amounts, by resource.
        progress: 0 to 1.
        growth: on a ladder, by how much more than the end its start is, for all resources or for
            each; what lies between falls by the same factor everywhere. None = in a straight line
            from the dense network.
    """
    # The end is named, not computed: dense - 1 * (dense - final) may be an ulp below `final`, and
    # then a whole number would lose one unit.
    if progress >= 1:
        return dict(final)
    if growth is not None:
        by_name = growth if isinstance(growth, Mapping) else dict.fromkeys(final, growth)
        # A ladder may start above what the dense network uses, where it limits nothing.
        return {
            name: min(dense[name], end * by_name[name] ** (1 - progress))
            for name, end in final.items()
        }
    return {name: dense[name] + progress * (end - dense[name]) for name, end in final.items()}


def step_fractions(
    dense: Mapping[str, float],
    final: Mapping[str, float],
    progress: float,
    growth: Growth | None = None,
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
    growth: Growth | None = None,
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
