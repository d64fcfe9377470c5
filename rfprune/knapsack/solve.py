"""`solve`: from the caller's arrays to a certified selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from rfprune.errors import BudgetError, DataError, SolverError
from rfprune.knapsack.core_problem import Base
from rfprune.knapsack.enumeration import MOST_GROUPS, enumerate_all
from rfprune.knapsack.floors import settle
from rfprune.knapsack.instance import Bools, Floats, Instance, read
from rfprune.knapsack.prices import ROUNDING, minimise
from rfprune.knapsack.reduction import Need, Pool, reduce
from rfprune.knapsack.refine import Limits, refine
from rfprune.knapsack.selection import Selection

__all__ = ["GAP", "PROVE_UP_TO", "solve"]

#: Up to this many groups the search continues to the proof; above, to a gap of 1e-6.
PROVE_UP_TO = 2000
GAP = 1e-6
_DEFECT = "this is a defect of rfprune, please report it with the input."


def solve(
    value: Any,
    cost: Any,
    budget: Any,
    *,
    layer: Any = None,
    floor: Any = None,
    max_gap: float | None = None,
    max_nodes: int = 50_000,
) -> Selection:
    """Keep the groups of the greatest total value within all budgets at once.

    ::

        maximise  sum_g value_g x_g   subject to   sum_g cost_gr x_g <= budget_r for every r,
                                                   sum_{g in layer l} x_g >= floor_l for every l,
                                                   x_g in {0, 1}

    Example::

        found = rfprune.solve(value=[3.0, 2.0, 1.0], cost=[[2, 1], [1, 1], [1, 0]], budget=[3, 1])
        found.keep, found.objective, found.bound, found.prices

    Args:
        value: (G,) what keeping each group is worth, finite and >= 0, in any unit.
        cost: (G, R) what each group holds of each resource, finite and >= 0; (G,) means R = 1.
        budget: (R,) what may be held in all, >= 0; inf = no limit.
        layer: (G,) layer of each group, 0 to L - 1; only with `floor`.
        floor: (L,) fewest groups to keep of each layer, >= 0.
        max_gap: stop at this relative gap; 0 asks for the optimum. Unless given, 0 up to 2000
            groups and 1e-6 above.
        max_nodes: most nodes of one run of CBC on what is open after the search of this package;
            0 = no CBC.

    Returns:
        What is kept, always within the budgets and the floors, and a bound on what could be. Equal
        input gives equal output. Groups without value are dropped unless a floor needs them.

    Raises:
        DataError: an array is misshapen or holds a value that is not allowed, with its index.
        BudgetError: a budget is negative or NaN, or the floors exceed a layer or a budget.
        SolverError: floors on groups of unlike cost could be neither met nor refuted.
    """
    if max_gap is not None and not 0 <= max_gap < 1:
        raise DataError(f"max_gap is {max_gap}; allowed are 0 <= max_gap < 1.")
    if max_nodes < 0:
        raise DataError(f"max_nodes is {max_nodes}; allowed are integers >= 0.")
    instance = read(value, cost, budget, layer, floor)
    if max_gap is None:
        max_gap = 0.0 if instance.size <= PROVE_UP_TO else GAP
    limits = Limits(max_gap, max_nodes)
    floors = settle(instance)
    needs: list[Need] = []
    found = _solve(instance, floors.forced, needs, limits)
    # A floor on groups of unlike cost is one more resource; it is added only where it is not met.
    # Ends after at most as many rounds as there are floors: each adds one that was broken.
    while new := [need for need in floors.needs if need not in needs and _breaks(found, need)]:
        needs += new
        found = _solve(instance, floors.forced, needs, limits)
    if any(_breaks(found, need) for need in needs):
        raise SolverError(f"the selection breaks a floor; {_DEFECT}")
    return _certified(instance, found)


@dataclass(frozen=True)
class _Found:
    """A selection, its bound and the prices, in the caller's units."""

    keep: Bools
    bound: float
    price: Floats
    proven: bool


def _breaks(found: _Found, need: Need) -> bool:
    return bool(found.keep[need.groups].sum() < need.fewest)


def _solve(instance: Instance, forced: Bools, needs: list[Need], limits: Limits) -> _Found:
    """Solve with these groups kept and these floors met."""
    pool, kept = reduce(instance, forced, needs)
    # A floor that all open groups together cannot meet.
    if ((pool.cost @ pool.count > pool.room) & (pool.resource < 0)).any():
        _refuse(needs, True)
    sure = float(instance.value[kept].sum())
    if not pool.size:
        price = _with_empty_rooms(instance, forced, np.zeros(len(instance.budget)))
        return _Found(kept, sure, price, True)

    # From rows of the pool to the caller's groups; only these can be checked.
    def keep_of(chosen: Floats) -> Bools:
        keep = kept.copy()
        keep[pool.groups(chosen)] = True
        return keep

    prices = minimise(pool)
    base = Base.at(pool, prices.price)
    best = refine(pool, prices, base, limits, lambda c: bool(instance.within(keep_of(c)).all()))
    price = _with_empty_rooms(instance, forced, _unscaled(pool, prices.price, len(instance.budget)))
    # So few groups are cheaper to enumerate than to argue about rounding.
    if not best.proven and len(pool.order) <= MOST_GROUPS:
        every = enumerate_all(instance, kept, pool.order, needs)
        if every is None:
            _refuse(needs, True)
        # The bound is not looked at where the optimum is proven.
        return _Found(every, 0.0, price, True)
    if best.gain == -np.inf:
        _refuse(needs, best.bound == -np.inf)
    keep = _filled(instance, keep_of(best.chosen(base)))
    return _Found(keep, sure + best.bound * pool.value_unit, price, best.proven)


def _refuse(needs: list[Need], proven: bool) -> NoReturn:
    layers = ", ".join(f"{need.fewest} of {len(need.groups)} groups" for need in needs)
    if proven:
        raise BudgetError(
            f"no selection meets the floors ({layers}) within all budgets at once, although each "
            f"budget by itself allows it. Lower a floor or raise a budget."
        )
    raise SolverError(
        f"found no selection that meets the floors ({layers}) within the budgets, and no proof "
        f"that there is none. Raise max_nodes, lower a floor or raise a budget."
    )


def _unscaled(pool: Pool, price: Floats, resources: int) -> Floats:
    """Return (R,) prices in the caller's units; 0 for resources that do not run out."""
    result = np.zeros(resources)
    real = pool.resource >= 0
    with np.errstate(over="ignore", under="ignore"):
        # Units are powers of two up to 2^1000, whose quotient may leave float64.
        result[pool.resource[real]] = price[real] * (pool.value_unit / pool.cost_unit[real])
    return result


def _with_empty_rooms(instance: Instance, forced: Bools, price: Floats) -> Floats:
    """Price the resources of which nothing is left: what the first unit of one would bring.

    Groups that need them were dropped at sight, so that the relaxation knows no price for them.
    """
    for resource in np.flatnonzero(instance.room(forced) <= 0):
        cost = instance.columns[resource]
        wanting = np.flatnonzero((cost > 0) & (instance.value > 0) & ~forced)
        # A resource with no room has no row of value in the pool, hence no price of its own.
        if price[resource] == 0 and len(wanting):
            margin = instance.value[wanting] - price @ instance.columns[:, wanting]
            with np.errstate(over="ignore"):
                best = float((margin / cost[wanting]).max())
            price[resource] = min(max(0.0, best), float(np.finfo(np.float64).max))
    return price


def _filled(instance: Instance, keep: Bools) -> Bools:
    """Add groups of value while one fits: what rounding, scaling or a limit left on the way."""
    while True:
        # Short by the grain, as always: one more group must not need the exact sum.
        room = instance.room(keep) - instance.grain
        able = ~keep & (instance.value > 0)
        for column, most in zip(instance.columns, room, strict=True):
            able &= column <= most
        if not able.any():
            return keep
        keep[int(np.where(able, instance.value, 0.0).argmax())] = True


def _certified(instance: Instance, found: _Found) -> Selection:
    if not instance.within(found.keep).all():
        over = int(np.flatnonzero(~instance.within(found.keep))[0])
        raise SolverError(
            f"the selection exceeds budget[{over}] = {instance.budget[over]}; {_DEFECT}"
        )
    objective = float(instance.value[found.keep].sum())
    if instance.integral:
        # Values are whole, and so is what any selection is worth.
        bound = objective if found.proven else float(np.floor(found.bound * (1 + ROUNDING)))
    else:
        bound = (objective if found.proven else found.bound) * (1 + ROUNDING)
    return Selection(
        keep=found.keep,
        objective=objective,
        bound=max(bound, objective),
        prices=found.price,
        status="optimal" if found.proven or bound <= objective else "gap",
    )
