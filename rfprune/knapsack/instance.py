"""What a selection problem consists of, checked once at the border.

Everything behind this module can rely on finite, non-negative float64 arrays of matching shapes.
The module knows nothing of how the problem is solved, and nothing of networks: a group is a
number, a layer is a label.

**Rounding.** Where a resource is counted in integers every sum is exact. Elsewhere the order of
summation decides the last bits; `Instance.grain` is the width of the zone around the budget in
which only one sum counts, ``(cost * keep[:, None]).sum(0)`` in float64, since it is the one that
the promise "always within the budget" can be checked with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rfprune.errors import BudgetError, DataError

__all__ = [
    "EXACT",
    "Bools",
    "Floats",
    "Instance",
    "Ints",
    "check_numbers",
    "floats",
    "integers",
    "read",
    "read_floors",
    "read_numbers",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NO_INTS = np.zeros(0, dtype=np.int64)
#: Integers up to here are exact in float64.
EXACT = 2.0**53


@dataclass(frozen=True)
class Instance:
    """One selection problem in the caller's units: G groups, R resources, L layers.

    Attributes:
        value: (G,) worth of keeping each group.
        cost: (G, R) what each group holds of each resource.
        budget: (R,) what may be held in all, inf = as much as you like.
        layer: (G,) label of each group's layer; empty where there are no floors.
        floor: (L,) fewest groups to keep in each layer; empty where there are no floors.
        columns: (R, G) the costs again, one contiguous row per resource.
        exact: (R,) whether sums of the resource are free of rounding.
        grain: (R,) width of the zone of rounding around the budget, 0 where `exact`.
        integral: all values are integers whose sums are free of rounding.
    """

    value: Floats
    cost: Floats
    budget: Floats
    layer: Ints
    floor: Ints
    columns: Floats
    exact: Bools
    grain: Floats
    integral: bool

    @property
    def size(self) -> int:
        """G, the number of groups."""
        return len(self.value)

    def within(self, keep: Bools) -> Bools:
        """Tell for each resource (R,) whether the kept groups are within its budget."""
        use = self.columns @ keep.astype(np.float64)
        inside = use <= self.budget
        # The caller's own sum is slow (no matrix product): it is asked only where the last bits
        # decide.
        if (abs(use - self.budget) <= self.grain)[~self.exact].any():
            plain = (self.cost * keep[:, None]).sum(axis=0)
            inside = np.where(self.exact, inside, plain <= self.budget)
        return inside

    def room(self, keep: Bools) -> Floats:
        """Return (R,) what the kept groups leave of each budget; whole numbers where `exact`."""
        # Of whole costs a fraction of a unit can never be used; rounding down makes rooms exact.
        budget = np.where(self.exact, np.floor(self.budget), self.budget)
        return np.asarray(budget - self.columns @ keep.astype(np.float64))


def read(value: Any, cost: Any, budget: Any, layer: Any = None, floor: Any = None) -> Instance:
    """Turn the caller's arrays into a checked `Instance`.

    Args:
        value: (G,) finite, >= 0.
        cost: (G, R) finite, >= 0; (G,) is read as one resource.
        budget: (R,) >= 0, inf allowed; a number is read as one resource.
        layer: (G,) integers in [0, L), or None for no floors.
        floor: (L,) integers >= 0, or None for no floors.

    Raises:
        DataError: an array is misshapen or holds a value that is not allowed, with its index.
        BudgetError: a budget is negative or not a number.
    """
    values, costs, budgets = read_numbers(value, cost, budget, "groups", "G")
    labels, floors = read_floors(layer, floor, len(values))
    # One row per resource: everything behind this point walks over groups, resource by resource.
    columns = np.ascontiguousarray(costs.T)
    exact = np.asarray(columns.sum(axis=1) < EXACT) & (np.rint(columns) == columns).all(axis=1)
    # Sums of n numbers in two orders differ by less than n eps of their size (Higham, Accuracy and
    # Stability of Numerical Algorithms, 2002, section 4.2); the rest of the width is margin.
    width = 4 * (len(values) + 2) * np.finfo(np.float64).eps
    grain = np.where(exact | np.isinf(budgets), 0.0, width * np.where(exact, 0.0, budgets))
    integral = bool(values.sum() < EXACT and (np.rint(values) == values).all())
    return Instance(values, costs, budgets, labels, floors, columns, exact, grain, integral)


def read_numbers(
    value: Any, cost: Any, budget: Any, nouns: str, size: str
) -> tuple[Floats, Floats, Floats]:
    """Return values (N,), costs (N, R) and budgets (R,) of the caller's, checked.

    Args:
        value: finite, >= 0.
        cost: finite, >= 0; (N,) is read as one resource.
        budget: >= 0, inf allowed; a number is read as one resource.
        nouns: what there are N of, for messages: groups, entries.
        size: what N is called in the caller's documentation.

    Raises:
        DataError: an array is misshapen or holds a value that is not allowed, with its index.
        BudgetError: a budget is negative or not a number.
    """
    values, costs = floats("value", value), floats("cost", cost)
    budgets = np.atleast_1d(floats("budget", budget))
    if costs.ndim == 1 and values.ndim == 1 and len(costs) == len(values):
        # Of no groups the number of resources can only be told from the budgets.
        costs = costs.reshape(len(values), 1 if len(values) else len(budgets))
    if values.ndim != 1:
        raise DataError(
            f"value has shape {values.shape}; allowed is ({size},), "
            f"one number for each of the {nouns}."
        )
    if budgets.ndim != 1 or costs.shape != (len(values), len(budgets)):
        raise DataError(
            f"cost has shape {costs.shape} and budget {budgets.shape}; "
            f"with {len(values)} {nouns} allowed are ({len(values)}, R) and (R,)."
        )
    check_numbers("value", values, nouns)
    check_numbers("cost", costs, nouns)
    bad = np.flatnonzero(~(budgets >= 0))
    if len(bad):
        raise BudgetError(
            f"budget[{bad[0]}] is {budgets[bad[0]]}; allowed are numbers >= 0, inf = no limit."
        )
    return values, costs, budgets


def floats(name: str, array: Any) -> Floats:
    """Return the caller's array in float64, or refuse it by its name."""
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not an array of numbers: {error}.") from error


def check_numbers(name: str, array: Floats, rows: str = "groups") -> None:
    """Refuse NaN, infinite and negative numbers and sums beyond float64; name the first.

    Args:
        name: of the array.
        array: (N, ...) numbers.
        rows: what one of the N is called.
    """
    if not array.size:
        return
    if not (array.min() >= 0 and array.max() < np.inf):  # a NaN makes both comparisons false
        # Looked for only now: min and max pass over the numbers without a mask of their size.
        bad = np.flatnonzero(~((array >= 0) & (array < np.inf)))
        more = f" ({len(bad)} such entries)" if len(bad) > 1 else ""
        raise DataError(
            f"{name}{_at(bad[0], array)} is {array.flat[bad[0]]}{more}; "
            f"allowed are finite numbers >= 0."
        )
    limit = np.finfo(np.float64).max / (4 * len(array))
    if array.max() > limit:
        raise DataError(
            f"{name}{_at(array.argmax(), array)} is {array.max()}; with {len(array)} {rows} "
            f"allowed are numbers up to {limit:.3g}, as their sum could overflow."
        )


def _at(flat: Any, array: npt.NDArray[Any]) -> str:
    """Return the place of a flat index as ``[i]`` or ``[i, r]``."""
    return "[" + ", ".join(str(int(i)) for i in np.unravel_index(flat, array.shape)) + "]"


def read_floors(layer: Any, floor: Any, size: int) -> tuple[Ints, Ints]:
    """Return (G,) labels of layers and (L,) floors; both empty where there are none."""
    if layer is None and floor is None:
        return _NO_INTS, _NO_INTS
    if layer is None or floor is None:
        missing = "layer" if layer is None else "floor"
        raise DataError(f"{missing} is missing; layer (G,) and floor (L,) are given together.")
    labels, floors = integers("layer", layer), integers("floor", floor)
    if labels.shape != (size,):
        raise DataError(f"layer has shape {labels.shape}; allowed is ({size},), one per group.")
    if floors.ndim != 1:
        raise DataError(f"floor has shape {floors.shape}; allowed is (L,), one per layer.")
    if size and labels.max() >= len(floors):
        bad = int(labels.argmax())
        raise DataError(
            f"layer[{bad}] is {labels[bad]}; allowed are 0 to {len(floors) - 1}, "
            f"as floor has {len(floors)} entries."
        )
    return labels, floors


def integers(name: str, array: Any) -> Ints:
    """Return the caller's array of integers >= 0, or refuse it by name and place."""
    numbers = floats(name, array)
    bad = np.flatnonzero(~((np.rint(numbers) == numbers) & (numbers >= 0) & (numbers < EXACT)))
    if len(bad):
        raise DataError(
            f"{name}{_at(bad[0], numbers)} is {numbers.flat[bad[0]]}; allowed are integers >= 0."
        )
    return numbers.astype(np.int64)
