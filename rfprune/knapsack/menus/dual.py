"""Prices of a problem of menus: those at which the bound is least.

With very many menus the prices are found on a sample first. Menus whose best entry is the same for
all prices in a box around these are summed up once, of the others only the entries that are best
somewhere in it stay, and column generation (`rfprune.knapsack.prices`) runs on the few that are
left. Whether the box was large enough is seen from the result.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rfprune.knapsack.instance import Floats
from rfprune.knapsack.menus.open_menus import Best, Menus
from rfprune.knapsack.prices import CLOSE, generate

__all__ = ["minimise"]

#: Menus in the sample.
_SAMPLE = 8192
#: Share of the sample that the box leaves open.
_UNDECIDED = 0.02
#: By how much the box grows before the next attempt.
_WIDENINGS = (1, 4, 4)


def minimise(menus: Menus) -> Best:
    """Return the selection that is best at the prices with the least bound."""
    # In the zone of rounding only the caller's own sum decides: the bound must allow for it.
    whole = replace(menus, room=menus.room + menus.grain)
    if menus.size <= 2 * _SAMPLE:
        return menus.best(generate(whole)[0].price)
    sample = _sampled(whole)
    price = generate(sample)[0].price
    # At these prices it is seen by how much the sample errs; without that error, of first order in
    # one over the root of its size, it says the prices again.
    error = whole.at(price)[1] - sample.at(price)[1]
    sample = replace(sample, room=sample.room + error)
    price = generate(sample)[0].price
    half = _box(sample, price)
    best: Best | None = None
    for wider in _WIDENINGS:
        found, mixed = generate(_narrowed(whole, price, half))
        now = menus.best(found.price)
        if best is None or now.bound < best.bound:
            # The least bound seen counts, whichever box it came from.
            best = now
        if now.bound - mixed <= CLOSE * abs(now.bound):
            return best
        # Around better prices the same box may do.
        price, half = best.price, half * wider
    # No box was large enough: all menus at once, which is slower and cannot miss.
    last = menus.best(generate(whole)[0].price)
    return last if best is None or last.bound < best.bound else best


def _sampled(whole: Menus) -> Menus:
    """Return menus that stand for all, picked by their number and by what they can hold."""
    # Menus that may hold much of a scarce resource decide its price, however few they are.
    held = np.maximum.reduceat(abs(whole.cost), whole.start[:-1], axis=1)
    total = np.maximum(held.sum(axis=1), np.finfo(np.float64).tiny)
    chance = 1 / whole.size + (held.T / total).sum(axis=1)
    ends = np.cumsum(chance)
    step = ends[-1] / _SAMPLE
    # Evenly spaced and not drawn: equal input gives equal output.
    pick = np.searchsorted(ends, (np.arange(_SAMPLE) + 0.5) * step)
    sizes = whole.sizes[pick]
    start = np.append(0, np.cumsum(sizes))
    entry = np.arange(start[-1]) + np.repeat(whole.start[pick] - start[:-1], sizes)
    return Menus(
        value=whole.value[entry],
        cost=whole.cost[:, entry],
        start=start,
        room=whole.room,
        grain=whole.grain,
        weight=step / chance[pick],
    )


def _box(sample: Menus, price: Floats) -> Floats:
    """Return (R,) half widths within which `_UNDECIDED` of a sample change their entry."""
    # A price of 0 has no width of its own; it gets a tenth of the price at which the room would be
    # worth all groups together.
    least = 0.1 * sample.total / np.maximum(abs(sample.room), 1e-300)
    wide = np.maximum(price, least)
    best = sample.best(price)
    apart = abs(sample.cost - np.repeat(sample.cost[:, best.entry], sample.sizes, axis=1))
    swing = np.maximum(wide @ apart, 1e-300)
    ratio = best.loss / swing
    # The best entry is not a change.
    ratio[best.entry] = np.inf
    first = np.minimum.reduceat(ratio, sample.start[:-1])
    return np.asarray(wide * max(float(np.quantile(first, _UNDECIDED)), 1e-6))


def _narrowed(whole: Menus, price: Floats, half: Floats) -> Menus:
    """Sum up the menus whose entry is the same for all prices within `half` of `price`."""
    # What an entry loses at these prices, less the most that prices in the box can give back.
    best = whole.best(price)
    margin = best.loss
    for column, width in zip(whole.cost, half, strict=True):
        apart = column - np.repeat(column[best.entry], whole.sizes)
        margin -= width * np.abs(apart, out=apart)
    inside = margin <= 0
    # Rounding must not lose the best entry itself.
    inside[best.entry] = True
    number = np.add.reduceat(inside.view(np.int8), whole.start[:-1], dtype=np.int64)
    # Only the best entry is left: the menu is summed up.
    decided = number == 1
    inside[best.entry[decided]] = False
    sure, entry = best.entry[decided], np.flatnonzero(inside)
    return Menus(
        value=whole.value[entry],
        cost=whole.cost[:, entry],
        start=np.append(0, np.cumsum(number[~decided])),
        room=whole.room - whole.cost[:, sure].sum(axis=1),
        grain=whole.grain,
        base=whole.base + float(whole.value[sure].sum()),
    )
