"""The entries that are open, in scaled units, and which of them are best at given prices.

Entries that no budget can hold beside the least of all other groups leave at sight, and so do
resources that all groups together cannot exhaust. A floor is one more resource: entries that count
as kept cost -1 and the room is minus the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rfprune.knapsack.instance import Bools, Floats, Ints
from rfprune.knapsack.prices import ROUNDING
from rfprune.knapsack.reduction import common_step, power_of_two

#: A common step of the values is looked for among so many entries; it helps to prove an optimum.
_MOST_WITH_STEP = 1 << 17

__all__ = ["Best", "MenuFloor", "Menus", "Scale", "open_menus"]


@dataclass(frozen=True, eq=False)
class MenuFloor:
    """Of these entries (E,), all of them booleans, at least `fewest` must be taken."""

    entries: Bools
    fewest: int


@dataclass(frozen=True)
class Scale:
    """From the units of `Menus` to the caller's.

    Attributes:
        value: the caller's value that is one here.
        cost: (R,) the caller's cost that is one here.
        resource: (R,) index of the caller's resource, -1 for a floor.
        entry: (E,) index of the caller's entry.
    """

    value: float
    cost: Floats
    resource: Ints
    entry: Ints


@dataclass(frozen=True)
class Best:
    """The selection that is best at some prices, whether or not it is within the budgets.

    Attributes:
        price: (R,) the prices.
        entry: (G,) the entry of each menu.
        loss: (E,) what taking another entry of the menu loses at these prices; 0 for the best.
        value: what the selection is worth.
        left: (R,) what it leaves of the room; negative where it holds too much.
        bound: no selection within the budgets is worth more.
    """

    price: Floats
    entry: Ints
    loss: Floats
    value: float
    left: Floats
    bound: float

    def others(self, most: float) -> Ints:
        """Return (n,) the entries beside the best ones that lose no more than `most`."""
        # An entry that is as good as the best loses nothing, but is a different one.
        near = self.loss <= most
        near[self.entry] = False
        return np.flatnonzero(near)


@dataclass(frozen=True)
class Menus:
    """G menus with E open entries, R resources that can run out.

    Attributes:
        value: (E,) worth of each entry.
        cost: (R, E) what it holds.
        start: (G + 1,) where each menu begins, and E.
        room: (R,) what all together may hold; negative for a floor.
        grain: (R,) width of the zone of rounding around `room`.
        base: what is worth something beside these menus.
        weight: (G,) for how many menus each stands; None = one.
        step: totals of value are multiples of it; 0 = not known.
    """

    value: Floats
    cost: Floats
    start: Ints
    room: Floats
    grain: Floats
    base: float = 0.0
    weight: Floats | None = None
    step: float = 0.0

    @property
    def size(self) -> int:
        """G, the number of menus."""
        return len(self.start) - 1

    @cached_property
    def sizes(self) -> Ints:
        """(G,) entries of each menu."""
        return np.diff(self.start)

    @cached_property
    def group(self) -> Ints:
        """(E,) the menu of each entry."""
        return np.repeat(np.arange(self.size), self.sizes)

    @cached_property
    def total(self) -> float:
        """The values of two selections differ by no more."""
        if not self.size:
            return 0.0
        # Of each menu only one entry counts, so that the spread within it bounds the difference.
        spread = np.maximum.reduceat(self.value, self.start[:-1])
        spread -= np.minimum.reduceat(self.value, self.start[:-1])
        return float((spread if self.weight is None else spread * self.weight).sum())

    @cached_property
    def first(self) -> tuple[Floats, float]:
        """What the selection holds (R,) that is cheapest in shares of the room, and its worth."""
        unit = np.maximum(abs(self.room), np.finfo(np.float64).tiny)
        entry = self.least((self.cost / unit[:, None]).sum(axis=0))
        return self._sum(self.cost[:, entry]), float(self._sum(self.value[entry]))

    def least(self, number: Floats) -> Ints:
        """Return (G,) the entry of each menu whose number of (E,) is least; of equals the first."""
        if not self.size:
            return np.zeros(0, dtype=np.int64)
        reached = number == np.repeat(np.minimum.reduceat(number, self.start[:-1]), self.sizes)
        place = np.flatnonzero(reached)
        # Ties: the first of each menu, so that equal input gives equal output.
        if len(place) > self.size:
            group = self.group[place]
            place = place[np.append(True, group[1:] != group[:-1])]
        return place

    def _sum(self, each: Floats) -> Floats:
        """Return the sum over the last axis, one number per menu."""
        return np.asarray(each.sum(axis=-1) if self.weight is None else each @ self.weight)

    def at(self, price: Floats) -> tuple[float, Floats]:
        """Return the Lagrangian bound at prices (R,), and what its selection leaves of the room."""
        reduced = price @ self.cost - self.value
        entry = self.least(reduced)
        left = self.room - self._sum(self.cost[:, entry])
        return self.base + float(price @ self.room) - float(self._sum(reduced[entry])), left

    def best(self, price: Floats) -> Best:
        """Return the best selection at prices (R,), and a bound with its rounding added."""
        # In place from here on: with millions of entries each copy shows.
        loss = price @ self.cost
        loss -= self.value
        entry = self.least(loss)
        reduced = loss[entry]
        loss -= np.repeat(reduced, self.sizes)
        # As in `minimise`: the bound has to hold for what only the caller's sum lets in.
        room = self.room + self.grain
        use, gained = self._sum(self.cost[:, entry]), float(self._sum(reduced))
        bound = self.base + float(price @ room) - gained
        turnover = float(price @ (abs(room) + 2 * abs(use))) + abs(gained)
        value = self.base + float(self._sum(self.value[entry]))
        bound += ROUNDING * (abs(bound) + turnover)
        return Best(price, entry, loss, value, self.room - use, bound)


def open_menus(
    value: Floats,
    columns: Floats,
    start: Ints,
    budget: Floats,
    grain: Floats,
    needs: Sequence[MenuFloor],
) -> tuple[Menus, Scale]:
    """Return what is open of a problem; all arrays as in `MenuInstance`.

    A menu of which no entry can be held is left without any: then there is no selection.
    """
    able = np.ones(len(value), dtype=np.bool_)
    scarce = []
    sizes = np.diff(start)
    for index, (column, most) in enumerate(zip(columns, budget + grain, strict=True)):
        if np.isinf(most) or not len(value):
            continue
        least = np.minimum.reduceat(column, start[:-1])
        rest = most - least.sum()
        highest = np.maximum.reduceat(column, start[:-1])
        # A resource that the most expensive entries together leave within its budget limits
        # nothing.
        if highest.sum() > most - grain[index]:
            scarce.append(index)
        # Looked at entry by entry only where some entry cannot fit beside the least of all others.
        if (highest - least).max() > rest:
            able &= column - np.repeat(least, sizes) <= rest
    entry = np.arange(len(value))
    if not able.all():
        entry = np.flatnonzero(able)
        # A menu can run empty: what is least in one resource may be too much in another.
        sizes = np.add.reduceat(able.astype(np.int64), start[:-1])
        value, start = value[entry], np.append(0, np.cumsum(sizes))
    floors = -np.array([need.entries for need in needs], dtype=np.float64)
    # Copies show with a million menus.
    cost = columns if len(scarce) == len(columns) else columns[scarce]
    if len(needs):
        cost = np.concatenate([cost, floors])
    if len(entry) < len(able):
        cost = cost[:, entry]
    resource = np.array([*scarce, *(-1 for _ in needs)], dtype=np.int64)
    room = np.append(budget[scarce], [-float(need.fewest) for need in needs])
    zone = np.append(grain[scarce], np.zeros(len(needs)))
    highest = abs(cost).max(axis=1, initial=0.0)
    cost_unit = power_of_two(np.where(room == 0, highest, abs(room)))
    value_unit = float(power_of_two(value.max(initial=0.0)))
    scale = Scale(value_unit, cost_unit, resource, entry)
    # Powers of two cost no bit.
    menus = Menus(
        value=value / value_unit,
        cost=cost / cost_unit[:, None],
        start=start,
        room=room / cost_unit,
        grain=zone / cost_unit,
        step=common_step(value) / value_unit if len(value) <= _MOST_WITH_STEP else 0.0,
    )
    return menus, scale
