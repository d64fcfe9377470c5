"""A first selection within the budgets: by margin, whatever fits."""

from __future__ import annotations

import numpy as np

from rfprune.knapsack.core_problem import Base, take
from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.reduction import Pool

__all__ = ["greedy"]

#: Rows around margin zero that are looked at first; all others stay as they are in the base.
_NEAR = 256
#: Rows that are tried one by one after the first that did not fit.
_TRIED = 256


def greedy(pool: Pool, base: Base) -> tuple[Ints, Floats] | None:
    """Return (n,) rows that differ from the base, and (n,) the groups kept of them.

    Without floors there is always an answer, since keeping nothing is one; with floors on groups of
    unlike cost it can fail, and returns None.
    """
    if (pool.resource < 0).any():
        return _with_floors(pool, base)
    # The base can overdraw a budget by more than the rows of a window hold; then it is widened.
    most = _NEAR
    while True:
        rows = take(base.margin, np.inf, most).rows
        # As if none of the window were kept; `_fill` takes them again one by one.
        left = base.left + pool.cost[:, rows] @ base.taken[rows]
        if len(rows) == pool.size or (left >= pool.grain).all():
            break
        most *= 8
    rows = rows[np.argsort(-base.margin[rows], kind="stable")]
    return rows, _fill(pool, rows, left)


def _with_floors(pool: Pool, base: Base) -> tuple[Ints, Floats] | None:
    """Try the rows that a floor needs first: the best by margin, or else the cheapest."""
    real = pool.resource >= 0
    room = np.maximum(pool.room[real], np.finfo(np.float64).tiny)
    # In shares of each budget, so that costs of unlike units can be added up.
    expense = (pool.cost[real] / room[:, None]).sum(axis=0)
    for rank in (-base.margin, expense):
        needed = np.zeros(pool.size, dtype=np.bool_)
        for row in np.flatnonzero(~real):
            members = np.flatnonzero(pool.cost[row] < 0)
            members = members[np.argsort(rank[members], kind="stable")]
            supply = np.cumsum(-pool.cost[row, members] * pool.count[members])
            # Up to and including the row with which the floor is met.
            needed[members[: int(np.searchsorted(supply, -pool.room[row])) + 1]] = True
        # The last key counts first: needed rows, then their rank, then the margin of all others.
        rows = np.lexsort((-base.margin, np.where(needed, rank, 0.0), ~needed))
        taken = _fill(pool, rows, pool.room)
        if (pool.room - pool.cost[:, rows] @ taken >= 0)[~real].all():
            return rows, taken
    return None


def _fill(pool: Pool, rows: Ints, left: Floats) -> Floats:
    """Return how many groups of each row, in this order, fit into what is left."""
    real = pool.resource >= 0
    cost, count = pool.cost[real][:, rows], pool.count[rows]
    # Short of the budget by the grain, so that the caller's own sum is certain to agree.
    spare = (left - pool.grain)[real]
    use = np.cumsum(cost * count, axis=1)
    fits = (use <= spare[:, None]).all(axis=0)
    # All rows before the first that does not fit are taken at once; only few need the loop.
    sure = len(rows) if fits.all() else int(fits.argmin())
    taken = np.append(count[:sure], np.zeros(len(rows) - sure))
    rest = (spare - (use[:, sure - 1] if sure else 0)).tolist()
    # From the first row that does not fit, each changes what is left for the next. For so few
    # numbers plain floats are faster than arrays.
    tried = slice(sure, sure + _TRIED)
    for place, each in enumerate(cost[:, tried].T.tolist(), start=sure):
        most = min(r // c if c > 0 else np.inf for r, c in zip(rest, each, strict=True))
        number = max(0.0, min(float(count[place]), most))
        taken[place] = number
        rest = [r - number * c for r, c in zip(rest, each, strict=True)]
    return taken
