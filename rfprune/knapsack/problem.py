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

__all__ = ["Bools", "Floats", "Instance", "Ints", "read"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NO_INTS = np.zeros(0, dtype=np.int64)
#: Integers up to here are exact in float64.
_EXACT = 2.0**53


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
        if (abs(use - self.budget) <= self.grain)[~self.exact].any():
            plain = (self.cost * keep[:, None]).sum(axis=0)
            inside = np.where(self.exact, inside, plain <= self.budget)
        return inside

    def room(self, keep: Bools) -> Floats:
        """Return (R,) what the kept groups leave of each budget; whole numbers where `exact`."""
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
    values, costs = _floats("value", value), _floats("cost", cost)
    budgets = np.atleast_1d(_floats("budget", budget))
    if costs.ndim == 1 and values.ndim == 1 and len(costs) == len(values):
        costs = costs.reshape(len(values), 1 if len(values) else len(budgets))
    if values.ndim != 1:
        raise DataError(f"value has shape {values.shape}; allowed is (G,), one number per group.")
    if budgets.ndim != 1 or costs.shape != (len(values), len(budgets)):
        raise DataError(
            f"cost has shape {costs.shape} and budget {budgets.shape}; "
            f"with {len(values)} groups allowed are ({len(values)}, R) and (R,)."
        )
    _check_numbers("value", values)
    _check_numbers("cost", costs)
    _check_budget(budgets)
    labels, floors = _read_floors(layer, floor, len(values))
    columns = np.ascontiguousarray(costs.T)
    exact = np.asarray(columns.sum(axis=1) < _EXACT) & (np.rint(columns) == columns).all(axis=1)
    width = 4 * (len(values) + 2) * np.finfo(np.float64).eps
    grain = np.where(exact | np.isinf(budgets), 0.0, width * np.where(exact, 0.0, budgets))
    integral = bool(values.sum() < _EXACT and (np.rint(values) == values).all())
    return Instance(values, costs, budgets, labels, floors, columns, exact, grain, integral)


def _floats(name: str, array: Any) -> Floats:
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not an array of numbers: {error}.") from error


def _check_numbers(name: str, array: Floats) -> None:
    """Refuse NaN, infinite and negative numbers and sums beyond float64; name the first."""
    if not array.size:
        return
    if not (array.min() >= 0 and array.max() < np.inf):  # a NaN makes both comparisons false
        bad = np.flatnonzero(~((array >= 0) & (array < np.inf)))
        more = f" ({len(bad)} such entries)" if len(bad) > 1 else ""
        raise DataError(
            f"{name}{_at(bad[0], array)} is {array.flat[bad[0]]}{more}; "
            f"allowed are finite numbers >= 0."
        )
    limit = np.finfo(np.float64).max / (4 * len(array))
    if array.max() > limit:
        raise DataError(
            f"{name}{_at(array.argmax(), array)} is {array.max()}; with {len(array)} groups "
            f"allowed are numbers up to {limit:.3g}, as their sum could overflow."
        )


def _at(flat: Any, array: npt.NDArray[Any]) -> str:
    """Return the place of a flat index as ``[i]`` or ``[i, r]``."""
    return "[" + ", ".join(str(int(i)) for i in np.unravel_index(flat, array.shape)) + "]"


def _check_budget(budget: Floats) -> None:
    bad = np.flatnonzero(~(budget >= 0))
    if len(bad):
        raise BudgetError(
            f"budget[{bad[0]}] is {budget[bad[0]]}; allowed are numbers >= 0, inf = no limit."
        )


def _read_floors(layer: Any, floor: Any, size: int) -> tuple[Ints, Ints]:
    if layer is None and floor is None:
        return _NO_INTS, _NO_INTS
    if layer is None or floor is None:
        missing = "layer" if layer is None else "floor"
        raise DataError(f"{missing} is missing; layer (G,) and floor (L,) are given together.")
    labels, floors = _integers("layer", layer), _integers("floor", floor)
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


def _integers(name: str, array: Any) -> Ints:
    numbers = _floats(name, array)
    bad = np.flatnonzero(~((np.rint(numbers) == numbers) & (numbers >= 0) & (numbers < _EXACT)))
    if len(bad):
        raise DataError(
            f"{name}{_at(bad[0], numbers)} is {numbers.flat[bad[0]]}; allowed are integers >= 0."
        )
    return numbers.astype(np.int64)
