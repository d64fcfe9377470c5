"""The core: the rows whose decision the prices leave open, as short lists of options.

At the prices of the dual a row has the margin ``value - price . cost``. Keeping the rows of
positive margin is the *base*; it attains the bound but may hold a little too much or too little.
Going against the base costs the margin's size, so that a row whose margin exceeds the distance
between the bound and the best selection known is decided (reduced cost fixing), and only few rows
around margin zero are open.

Rows with one vector of costs are a *kind*. Of a kind an optimum keeps the most valuable groups, so
that a kind needs no more than a number, and an *option* is one choice of that number: its gain in
value and its change in what is held, both against the base. The loss of an option, what it lies
below the bound, is convex in the number; only options whose loss is within the distance can matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rfprune.knapsack.pool import Pool, equal_columns
from rfprune.knapsack.prices import Prices
from rfprune.knapsack.problem import Floats, Ints

__all__ = ["Base", "Block", "Core", "Kind", "blocks", "kinds", "take"]

#: Kinds are combined until a block has about this many options.
_BLOCK = 32


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
        covers: no row outside the core is open.
    """

    rows: Ints
    covers: bool


@dataclass(frozen=True)
class Kind:
    """Rows with one vector of costs, the most valuable first, and m options.

    Attributes:
        rows: (n,) rows of the pool.
        number: (m,) groups kept under each option.
        gain: (m,) value against the base.
        shift: (R, m) cost against the base.
        loss: (m,) distance from the bound.
        cut: options that could matter were left out.
    """

    rows: Ints
    number: Ints
    gain: Floats
    shift: Floats
    loss: Floats
    cut: bool

    def taken(self, count: Floats, option: int) -> Floats:
        """Return (n,) how many groups of each row, of which there are `count` (n,), are kept."""
        return np.asarray(np.clip(self.number[option] - (np.cumsum(count) - count), 0, count))


@dataclass(frozen=True)
class Block:
    """One or more kinds whose options are combined: one choice among m.

    Attributes:
        gain: (m,) value against the base.
        shift: (R, m) cost against the base.
        loss: (m,) distance from the bound.
        option: (k, m) the option of each of the k kinds.
        members: the k kinds, by their place in the list of kinds.
    """

    gain: Floats
    shift: Floats
    loss: Floats
    option: Ints
    members: tuple[int, ...]


def take(margin: Floats, distance: float, most: int) -> Core:
    """Return the core of the rows with a margin up to `distance`, about `most` of them at most."""
    size = abs(margin)
    rows = np.flatnonzero(size <= distance)
    if len(rows) <= most:
        return Core(rows, True)
    limit = np.partition(size[rows], most)[most]
    return Core(rows[size[rows] <= limit], False)


def kinds(
    pool: Pool, base: Base, rows: Ints, prices: Prices, distance: float, width: int
) -> list[Kind]:
    """Return the kinds among some rows, with their options.

    Args:
        pool: all rows.
        base: the base at the prices.
        rows: (n,) the rows of the core.
        prices: the minimum of the dual; its mixture says around which number the options lie.
        distance: options that lose more than this cannot matter.
        width: at most this many numbers on each side of the mixture.
    """
    rows = rows[np.argsort(-pool.value[rows], kind="stable")]
    order, start = equal_columns(pool.cost[:, rows])
    rows = rows[order]
    mixed = prices.shares(pool.value[rows], pool.cost[:, rows]) * pool.count[rows]
    middle = np.rint(np.add.reduceat(mixed, start)) if len(start) else mixed
    ends = np.append(start, len(rows))[1:]
    return [
        _kind(pool, base, rows[first:last], distance, (int(m) - width, int(m) + width))
        for first, last, m in zip(start, ends, middle, strict=True)
    ]


def _kind(pool: Pool, base: Base, rows: Ints, distance: float, window: tuple[int, int]) -> Kind:
    """Return one kind with the options whose number is in the window and whose loss can matter."""
    count, usual = pool.count[rows], float(base.taken[rows].sum())
    ends = np.append(0.0, np.cumsum(count))
    number = np.arange(max(0, window[0]), min(int(ends[-1]), window[1]) + 1)

    def against_base(each: Floats) -> Floats:
        total = np.append(0.0, np.cumsum(count * each))
        return np.asarray(np.interp(number, ends, total) - np.interp(usual, ends, total))

    gain, loss = against_base(pool.value[rows]), -against_base(base.margin[rows])
    matter = loss <= distance
    cut = bool((number[0] > 0 and matter[0]) or (number[-1] < ends[-1] and matter[-1]))
    if not matter.any():
        matter, cut = loss == loss.min(), True
    number = number[matter]
    shift = pool.cost[:, rows[:1]] * (number - usual)
    return Kind(rows, number, gain[matter], shift, loss[matter], cut)


def blocks(found: Sequence[Kind], distance: float) -> list[Block]:
    """Combine kinds, those with the fewest options first, into blocks of about `_BLOCK` options."""
    result: list[Block] = []
    current: Block | None = None
    for place in sorted(range(len(found)), key=lambda i: _rank(found[i])):
        kind = found[place]
        option = np.arange(len(kind.gain))[None]
        single = Block(kind.gain, kind.shift, kind.loss, option, (place,))
        if current is None:
            current = single
        elif len(current.gain) * len(kind.gain) > _BLOCK:
            result.append(current)
            current = single
        else:
            current = _product(current, single, distance)
    return result if current is None else [*result, current]


def _rank(kind: Kind) -> tuple[int, float]:
    """Sort by how little a kind can do: few options, dear ones; the fine adjustment comes last."""
    return len(kind.gain), -float(kind.loss.max())


def _product(first: Block, second: Block, distance: float) -> Block:
    loss = (first.loss[:, None] + second.loss).ravel()
    within = np.flatnonzero(loss <= distance)
    a, b = np.divmod(within, len(second.gain))
    return Block(
        gain=first.gain[a] + second.gain[b],
        shift=first.shift[:, a] + second.shift[:, b],
        loss=loss[within],
        option=np.concatenate([first.option[:, a], second.option[:, b]]),
        members=first.members + second.members,
    )
