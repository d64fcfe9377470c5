"""The core: the rows whose decision the prices leave open, as short lists of options.

At the prices of the dual a row has the margin ``value - price . cost``. Keeping the rows of positive
margin is the *base*; it attains the bound but may hold a little too much or too little. Going against
the base costs the margin's size, so that a row whose margin exceeds the distance between bound and best
selection known is decided (reduced cost fixing), and only few rows around margin zero stay open.

Rows with one vector of costs are a *kind*. Of a kind an optimum keeps the most valuable groups, so that
a kind needs no more than a number, and an *option* is one choice of that number: its gain in value and
its change in what is held, both against the base. The loss of an option, what it lies below the bound,
is convex in the number; only options whose loss is within the distance can matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfprune.knapsack.pool import Pool, equal_columns
from rfprune.knapsack.prices import Prices
from rfprune.knapsack.problem import Floats, Ints

__all__ = ["Base", "Block", "Core", "Kind", "blocks", "chosen", "kinds", "take"]

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
    """Some rows of the pool, those of least margin; the others stay as they are in the base.

    Attributes:
        rows: (n,) the rows.
        covers: no row outside the core is open.
    """

    rows: Ints
    covers: bool


@dataclass(frozen=True)
class Kind:
    """Rows of the core with one vector of costs, the most valuable first, and their options.

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
    """Return the core of the rows with a margin up to `distance`, at most about `most` of them."""
    size = abs(margin)
    rows = np.flatnonzero(size <= distance)
    if len(rows) <= most:
        return Core(rows, True)
    limit = np.partition(size[rows], most)[most]
    return Core(rows[size[rows] <= limit], False)


def kinds(pool: Pool, base: Base, core: Core, prices: Prices, distance: float, width: int) -> list[Kind]:
    """Return the kinds of a core with their options.

    Args:
        pool: all rows.
        base: the base at the prices.
        core: which rows.
        prices: the minimum of the dual; its mixture says around which number the options lie.
        distance: options that lose more than this cannot matter.
        width: at most this many numbers on each side of the mixture.
    """
    by_value = core.rows[np.argsort(-pool.value[core.rows], kind="stable")]
    cost = pool.cost[:, by_value]
    order, start = equal_columns(cost)
    rows, cost = by_value[order], cost[:, order]
    share = prices.shares(pool.value[rows], cost) * pool.count[rows]
    ends = np.append(start[1:], len(rows))
    return [
        _kind(pool, base, rows[a:b], float(share[a:b].sum()), (distance, width))
        for a, b in zip(start, ends, strict=True)
    ]


def _kind(pool: Pool, base: Base, rows: Ints, mixed: float, limits: tuple[float, int]) -> Kind:
    distance, width = limits
    count = pool.count[rows]
    groups = np.append(0.0, np.cumsum(count))
    worth = np.append(0.0, np.cumsum(count * pool.value[rows]))
    middle, usual = round(mixed), float(base.taken[rows].sum())
    number = np.arange(max(0, middle - width), min(int(groups[-1]), middle + width) + 1)
    below = np.minimum(np.searchsorted(groups, number, side="right") - 1, len(rows) - 1)
    total = worth[below] + (number - groups[below]) * pool.value[rows][below]
    gain = total - worth[np.searchsorted(groups, usual)]
    cost = pool.cost[:, rows[0]]
    each = base.margin[rows]
    lost = np.append(0.0, np.cumsum(count * each))
    reached = lost[below] + (number - groups[below]) * each[below]
    loss = lost[np.searchsorted(groups, usual)] - reached
    fits = loss <= distance
    cut = bool((number[0] > 0 and fits[0]) or (number[-1] < groups[-1] and fits[-1]))
    if not fits.any():
        fits = loss == loss.min()
        cut = True
    number, gain, loss = number[fits], gain[fits], loss[fits]
    return Kind(rows, number, gain, cost[:, None] * (number - usual), loss, cut)


def blocks(found: list[Kind], distance: float, resources: int) -> list[Block]:
    """Combine kinds, those whose options lose most first, into blocks of about `_BLOCK` options."""
    result: list[Block] = []
    current: Block | None = None
    for place in sorted(range(len(found)), key=lambda i: (len(found[i].gain), -found[i].loss.max())):
        kind = found[place]
        option = np.arange(len(kind.gain))[None]
        single = Block(kind.gain, kind.shift, kind.loss, option, (place,))
        if current is not None and len(current.gain) * len(kind.gain) > _BLOCK:
            result.append(current)
            current = None
        current = single if current is None else _product(current, single, distance)
    if current is not None:
        result.append(current)
    return result


def _product(first: Block, second: Block, distance: float) -> Block:
    a, b = (i.ravel() for i in np.indices((len(first.gain), len(second.gain))))
    loss = first.loss[a] + second.loss[b]
    within = loss <= distance
    a, b = a[within], b[within]
    return Block(
        gain=first.gain[a] + second.gain[b],
        shift=first.shift[:, a] + second.shift[:, b],
        loss=loss[within],
        option=np.concatenate([first.option[:, a], second.option[:, b]]),
        members=first.members + second.members,
    )


def chosen(pool: Pool, kind: Kind, option: int) -> Floats:
    """Return (n,) how many groups of each row of the kind are kept under an option."""
    count = pool.count[kind.rows]
    before = np.cumsum(count) - count
    return np.clip(kind.number[option] - before, 0, count)


