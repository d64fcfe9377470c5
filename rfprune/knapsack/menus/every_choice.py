"""Every choice from a few menus, for the rare case that rounding defeats the search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.menus.instance import MenuInstance
from rfprune.knapsack.menus.open_menus import MenuFloor

__all__ = ["MOST_CHOICES", "enumerate_choices"]

#: 2^20 choices take some 50 MB and a tenth of a second.
MOST_CHOICES = 1 << 20


def enumerate_choices(instance: MenuInstance, needs: Sequence[MenuFloor]) -> Ints | None:
    """Return the best choice (G,) by entries, None if none is within budgets and floors."""
    sizes = np.diff(instance.start)
    possible = np.ones(int(np.prod(sizes)), dtype=np.bool_)
    # Wide by the grain: what only rounding rules out is left to `within`, the sum that counts.
    limit = instance.budget + instance.grain
    for column, most in zip(instance.columns, limit, strict=True):
        possible &= _totals(column, instance.start) <= most
    for need in needs:
        possible &= _totals(need.entries.astype(np.float64), instance.start) >= need.fewest
    number = np.flatnonzero(possible)
    worth = _totals(instance.value, instance.start)[number]
    # The last menu is the digit that changes fastest.
    weight = np.append(np.cumprod(sizes[::-1])[::-1][1:], 1)
    # From the best down: the first that is really within the budgets is the optimum.
    for each in number[np.argsort(-worth, kind="stable")]:
        choice = instance.start[:-1] + each // weight % sizes
        if instance.within(choice):
            return np.asarray(choice)
    return None


def _totals(each: Floats, start: Ints) -> Floats:
    """Return the sum of a number per entry (E,) for every choice."""
    totals = np.zeros(1)
    for first, last in pairwise(start):
        totals = (totals[:, None] + each[first:last]).ravel()
    return totals
