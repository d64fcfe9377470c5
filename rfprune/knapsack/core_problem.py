"""The core problem: the rows whose decision the prices leave open, as short lists of options.

At the prices of the dual a row has the margin ``value - price . cost``. Keeping the rows of
positive margin is the *base*; it attains the bound but may hold a little too much or too little.
Going against the base costs the margin's size, so that a row whose margin exceeds the distance
between the bound and the best selection known is decided (reduced cost fixing), and only few rows
around margin zero are open.

Rows with one vector of costs are a *cost class*. Of a class an optimum keeps the most valuable
groups, so that a class needs no more than a number, and an *option* is one choice of that number:
its gain in value and its change in what is held, both against the base. The loss of an option, what
it lies below the bound, is convex in the number; only options whose loss is within the distance can
matter.

Core and base are what Balas and Zemel (An algorithm for large zero-one knapsack problems, 1980) and
Pisinger (A minimal algorithm for the 0-1 knapsack problem, 1997) call core and break solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.prices import Prices
from rfprune.knapsack.reduction import Pool, equal_columns

__all__ = ["Base", "Core", "CostClass", "cost_classes", "take"]

#: Numbers on each side of the mixture that are looked at, of a class with very many groups.
_WIDTH = 64
#: Options that lose less than this part of the bound lose nothing: that much is rounding.
_NO_LOSS = 1e-12


@dataclass(frozen=True)
class Base:
    """The selection that is best at the prices, whether or not it is within the budgets.

    Attributes:
        margin: (N,) value beyond the price of what one group of the row holds.
        taken: (N,) groups of each row in the base: all or none.
        value: what the base is worth.
        left: (R,) what it leaves of the room; negative where it holds too much.
    """

    margin: Floats
    taken: Floats
    value: float
    left: Floats

    @classmethod
    def at(cls, pool: Pool, price: Floats) -> Base:
        """Return the base at the prices (R,)."""
        margin = pool.value - price @ pool.cost
        taken = pool.count * (margin > 0)
        left = pool.room - pool.cost @ taken
        return cls(margin, taken, float((pool.value * taken).sum()), left)


@dataclass(frozen=True)
class Core:
    """The rows of least margin; all others stay as they are in the base.

    Attributes:
        rows: (n,) the rows.
        reach: a selection that goes against the base outside the core loses more than this.
    """

    rows: Ints
    reach: float


@dataclass(frozen=True)
class CostClass:
    """Rows with one vector of costs, the most valuable first, and m options.

    Attributes:
        rows: (n,) rows of the pool.
        number: (m,) groups kept under each option.
        shift: (R, m) cost against the base.
        loss: (m,) what the option loses against the bound.
        beyond: every option that is not listed loses at least this.
    """

    rows: Ints
    number: Ints
    shift: Floats
    loss: Floats
    beyond: float

    def within(self, reach: float) -> CostClass:
        """Return the class with the options that lose no more than `reach`."""
        # The option of least loss always stays: a class without any would rule out every selection.
        which = self.loss <= max(reach, float(self.loss.min()))
        beyond = min(self.beyond, float(self.loss.min(where=~which, initial=np.inf)))
        return CostClass(
            self.rows, self.number[which], self.shift[:, which], self.loss[which], beyond
        )

    def taken(self, count: Floats, option: int) -> Floats:
        """Return (n,) how many groups of each row, of which there are `count` (n,), are kept."""
        return np.asarray(np.clip(self.number[option] - (np.cumsum(count) - count), 0, count))


def take(margin: Floats, distance: float, most: int) -> Core:
    """Return the core of the rows with a margin up to `distance`, about `most` of them at most.

    Args:
        margin: (N,) of all rows, of either sign.
        distance: largest size of a margin; inf = all rows.
        most: about so many rows, those of least margin; ties may add some.
    """
    size = abs(margin)
    rows = np.flatnonzero(size <= distance)
    if len(rows) <= most:
        return Core(rows, distance)
    limit = float(np.partition(size[rows], most)[most])
    return Core(rows[size[rows] <= limit], limit)


def cost_classes(
    pool: Pool, base: Base, core: Core, prices: Prices, options: int
) -> tuple[list[CostClass], float]:
    """Return the cost classes of a core with the options that lose little, and how little that is.

    Args:
        pool: all rows.
        base: the base at the prices.
        core: which rows.
        prices: the minimum of the dual; its mixture says around which numbers the options lie.
        options: about so many options at most, those that lose least.

    Returns:
        The classes with the options that lose up to a reach, and this reach: the core's, or less.
    """
    rows = core.rows[np.argsort(-pool.value[core.rows], kind="stable")]
    order, start = equal_columns(pool.cost[:, rows])
    rows = rows[order]
    mixed = prices.shares(pool.value[rows], pool.cost[:, rows]) * pool.count[rows]
    middle = np.rint(np.add.reduceat(mixed, start)) if len(start) else mixed
    ends = np.append(start, len(rows))[1:]
    found = [
        _cost_class(pool, base, rows[first:last], int(number))
        for first, last, number in zip(start, ends, middle, strict=True)
    ]
    losses = np.concatenate([np.zeros(0), *(each.loss for each in found)])
    losses = np.sort(losses[losses > _NO_LOSS * prices.bound])
    reach = min(core.reach, float(losses[options])) if len(losses) > options else core.reach
    return [each.within(reach) for each in found], reach


def _cost_class(pool: Pool, base: Base, rows: Ints, middle: int) -> CostClass:
    """Return one class with the options whose number is near the middle."""
    count, usual = pool.count[rows], float(base.taken[rows].sum())
    ends = np.append(0.0, np.cumsum(count))
    # The optimum keeps about as many as the relaxation; `beyond` says what the window may miss.
    number = np.arange(max(0, middle - _WIDTH), min(int(ends[-1]), middle + _WIDTH) + 1)
    total = np.append(0.0, np.cumsum(count * base.margin[rows]))
    loss = np.interp(usual, ends, total) - np.interp(number, ends, total)
    beyond = min(
        float(loss[0]) if number[0] > 0 else np.inf,
        float(loss[-1]) if number[-1] < ends[-1] else np.inf,
    )
    return CostClass(rows, number, pool.cost[:, rows[:1]] * (number - usual), loss, beyond)
