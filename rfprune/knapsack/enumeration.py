"""Every selection of a few groups, for the rare case that rounding defeats the search.

Where a budget equals a sum of fractional costs to the last bit, whether a selection is within it
can depend on which of several groups of equal cost it holds. The search looks at one of them only;
this module looks at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rfprune.knapsack.instance import Bools, Floats, Instance, Ints
from rfprune.knapsack.reduction import Need

__all__ = ["MOST_GROUPS", "enumerate_all"]

#: 2^20 selections take some 50 MB and a tenth of a second.
MOST_GROUPS = 20


def enumerate_all(
    instance: Instance, kept: Bools, groups: Ints, needs: Sequence[Need]
) -> Bools | None:
    """Return the groups kept by the best selection, None if no selection fits.

    Args:
        instance: the problem.
        kept: (G,) groups that are kept in any case.
        groups: (n,) at most `MOST_GROUPS` groups that are not.
        needs: floors to meet.
    """
    number = np.arange(1 << len(groups))
    # Wide by the grain: what only rounding rules out is left to `within`, the sum that counts.
    room = instance.room(kept) + instance.grain
    possible = np.ones(len(number), dtype=np.bool_)
    for column, most in zip(instance.columns, room, strict=True):
        possible &= _totals(column[groups]) <= most
    for need in needs:
        possible &= _totals(np.isin(groups, need.groups).astype(np.float64)) >= need.fewest
    candidates = number[possible]
    worth = _totals(instance.value[groups])[possible]
    # From the best down, so that the first one that is really within the budgets is the optimum.
    for choice in candidates[np.argsort(-worth, kind="stable")]:
        keep = kept.copy()
        keep[groups[(choice >> np.arange(len(groups))) & 1 == 1]] = True
        if instance.within(keep).all():
            return keep
    return None


def _totals(each: Floats) -> Floats:
    """Return (2^n,) the sum of every subset of n numbers; bit i of the index: i is in it."""
    totals = np.zeros(1)
    for number in each:
        totals = np.concatenate([totals, totals + number])
    return totals
