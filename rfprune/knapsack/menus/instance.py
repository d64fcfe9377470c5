"""What a problem of menus consists of, checked once at the border.

Axes: G groups, E entries of all menus together, R resources, L layers. The entries of group g are
``start[g]`` to ``start[g + 1] - 1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rfprune.errors import BudgetError, DataError
from rfprune.knapsack.instance import (
    EXACT,
    Bools,
    Floats,
    Ints,
    integers,
    read_floors,
    read_numbers,
)
from rfprune.knapsack.menus.open_menus import MenuFloor

__all__ = ["MenuInstance", "read_menus"]


@dataclass(frozen=True)
class MenuInstance:
    """One problem in the caller's units.

    Attributes:
        value: (E,) worth of each entry.
        cost: (E, R) what each entry holds of each resource.
        budget: (R,) what may be held in all, inf = as much as you like.
        start: (G + 1,) where each menu begins, and E.
        columns: (R, E) the costs again, one contiguous row per resource.
        exact: (R,) whether sums of the resource are free of rounding.
        grain: (R,) width of the zone of rounding around the budget, 0 where `exact`.
        integral: all values are integers whose sums are free of rounding.
        needs: floors: so many groups of a layer must take an entry that counts as kept.
    """

    value: Floats
    cost: Floats
    budget: Floats
    start: Ints
    columns: Floats
    exact: Bools
    grain: Floats
    integral: bool
    needs: tuple[MenuFloor, ...]

    @property
    def size(self) -> int:
        """G, the number of groups."""
        return len(self.start) - 1

    def within(self, choice: Ints) -> bool:
        """Tell whether a choice (G,) is within the budgets, by the plain sum of its costs."""
        # No grain here: this sum is the promise that is made to the caller.
        return bool((self.cost[choice].sum(axis=0) <= self.budget).all())


def read_menus(
    value: Any, cost: Any, budget: Any, start: Any, layer: Any, floor: Any, kept: Any
) -> MenuInstance:
    """Turn the caller's arrays into a checked `MenuInstance`; arguments of `solve_menu`.

    Raises:
        DataError: an array is misshapen or holds a value that is not allowed, with its index.
        BudgetError: a budget is negative or not a number, or a floor exceeds its layer.
    """
    values, costs, budgets = read_numbers(value, cost, budget, "entries", "E")
    starts = _read_start(start, len(values))
    columns = np.ascontiguousarray(costs.T)
    # The largest entry of every group bounds every sum over groups.
    groups = len(starts) - 1
    most = columns.max(axis=1, initial=0.0) * groups
    # Whole costs whose sums stay exact need no zone of rounding.
    whole = [
        bool(size < EXACT and (np.rint(column) == column).all())
        for size, column in zip(most, columns, strict=True)
    ]
    exact = np.array(whole, dtype=np.bool_)
    # As in `rfprune.knapsack.instance`: the order of summation decides less than this.
    width = 4 * (groups + 2) * np.finfo(np.float64).eps
    finite = np.where(exact | np.isinf(budgets), 0.0, budgets)
    high = values.max(initial=0.0) * groups
    integral = bool(high < EXACT and (np.rint(values) == values).all())
    needs = _read_needs(layer, floor, kept, starts, columns)
    return MenuInstance(
        values, costs, budgets, starts, columns, exact, width * finite, integral, needs
    )


def _read_start(start: Any, entries: int) -> Ints:
    starts = integers("start", start)
    if starts.ndim != 1 or not len(starts):
        raise DataError(
            f"start has shape {starts.shape}; allowed is (G + 1,): where each menu begins, and the "
            f"number of entries."
        )
    if starts[0] != 0 or starts[-1] != entries:
        place, allowed = (0, 0) if starts[0] != 0 else (len(starts) - 1, entries)
        raise DataError(
            f"start[{place}] is {starts[place]}; allowed is {allowed}, as value has {entries} "
            f"entries, all of which belong to a menu."
        )
    bad = np.flatnonzero(np.diff(starts) < 1)
    if len(bad):
        raise DataError(
            f"start[{bad[0] + 1}] is {starts[bad[0] + 1]} after {starts[bad[0]]}; allowed is more, "
            f"as every menu has at least one entry."
        )
    return starts


def _read_needs(
    layer: Any, floor: Any, kept: Any, start: Ints, columns: Floats
) -> tuple[MenuFloor, ...]:
    labels, floors = read_floors(layer, floor, len(start) - 1)
    # Unless the caller says so, an entry that holds nothing stands for dropping the group.
    counts = columns.any(axis=0) if kept is None else np.asarray(kept)
    if counts.shape != (columns.shape[1],) or counts.dtype != np.bool_:
        raise DataError(
            f"kept has shape {counts.shape} and type {counts.dtype}; allowed are booleans of shape "
            f"({columns.shape[1]},), one per entry."
        )
    needs = []
    for label in np.flatnonzero(floors):
        able = np.logical_or.reduceat(counts, start[:-1]) & (labels == label)
        if able.sum() < floors[label]:
            raise BudgetError(
                f"the floor of layer {label} is {floors[label]}, but {able.sum()} of its groups "
                f"have an entry that counts as kept; allowed are 0 to {able.sum()}."
            )
        entries = np.repeat(labels == label, np.diff(start)) & counts
        needs.append(MenuFloor(entries, int(floors[label])))
    return tuple(needs)
