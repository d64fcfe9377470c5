"""`solve_menu`: from the caller's arrays to a certified choice from every menu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from rfprune.errors import BudgetError, DataError, SolverError
from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.menus.dual import minimise
from rfprune.knapsack.menus.every_choice import MOST_CHOICES, enumerate_choices
from rfprune.knapsack.menus.instance import MenuInstance, read_menus
from rfprune.knapsack.menus.open_menus import MenuFloor, open_menus
from rfprune.knapsack.menus.precedence import choose_connected, read_neurons
from rfprune.knapsack.menus.refine import refine_menus
from rfprune.knapsack.prices import ROUNDING
from rfprune.knapsack.refine import Limits
from rfprune.knapsack.selection import MenuSelection
from rfprune.knapsack.solve import GAP, PROVE_UP_TO, solve

__all__ = ["solve_menu"]


def solve_menu(
    value: Any,
    cost: Any,
    budget: Any,
    start: Any,
    *,
    layer: Any = None,
    floor: Any = None,
    kept: Any = None,
    reads: Any = None,
    writes: Any = None,
    max_gap: float | None = None,
    max_nodes: int = 50_000,
) -> MenuSelection:
    """Take one entry of every menu, of the greatest total value within all budgets at once.

    ::

        maximise  sum_g value_{e_g}   subject to   sum_g cost_{e_g, r} <= budget_r for every r,
                                                   e_g an entry of menu g,
                                                   (groups of layer l with a kept entry) >= floor_l

    Args:
        value: (E,) what each entry is worth, finite and >= 0, in any unit.
        cost: (E, R) what each entry holds of each resource, finite and >= 0; (E,) means R = 1.
        budget: (R,) what may be held in all, >= 0; inf = no limit.
        start: (G + 1,) the entries of group g are ``start[g]`` to ``start[g + 1] - 1``, at least
            one.
        layer: (G,) layer of each group, 0 to L - 1; only with `floor`.
        floor: (L,) fewest groups of each layer that take an entry that counts as kept.
        kept: (E,) booleans, which entries count as kept; those that hold anything unless given.
        reads: (G,) the neuron that each group reads, -1 for none; with it or `writes` neurons may
            be removed, as `rfprune.knapsack.menus.precedence` says. Not together with `floor`.
        writes: (G,) the neuron that each group writes to, -1 for none.
        max_gap: stop at this relative gap; 0 asks for the optimum. Unless given, 0 up to 2000
            groups and 1e-6 above.
        max_nodes: most nodes of one run of CBC on what is open after the search of this package;
            0 = no CBC.

    Returns:
        The entry of each group, always within the budgets and the floors, and a bound on what could
        be. Equal input gives equal output.

    Raises:
        DataError: an array is misshapen or holds a value that is not allowed, with its index.
        BudgetError: a budget is negative or NaN, or cannot be met by any choice.
        SolverError: budgets that a choice may or may not meet could be neither met nor refuted.
    """
    _check_limits(max_gap, max_nodes)
    instance = read_menus(value, cost, budget, start, layer, floor, kept)
    if max_gap is None:
        max_gap = 0.0 if instance.size <= PROVE_UP_TO else GAP
    limits = Limits(max_gap, max_nodes)
    if reads is None and writes is None:
        _check_reach(instance)
        return _with_floors(instance, limits)
    if instance.needs:
        raise DataError("floor and reads or writes are both given; allowed is one of them.")
    neurons = read_neurons(reads, writes, instance)
    return choose_connected(instance, neurons, max_gap, _plainly(limits))


def _check_limits(max_gap: float | None, max_nodes: int) -> None:
    if max_gap is not None and not 0 <= max_gap < 1:
        raise DataError(f"max_gap is {max_gap}; allowed are 0 <= max_gap < 1.")
    if max_nodes < 0:
        raise DataError(f"max_nodes is {max_nodes}; allowed are integers >= 0.")


def _plainly(limits: Limits) -> Callable[[Floats, Floats, Floats, Ints], MenuSelection]:
    """Return what solves menus without neurons within the same limits."""

    def solve_plainly(value: Floats, cost: Floats, budget: Floats, start: Ints) -> MenuSelection:
        instance = read_menus(value, cost, budget, start, None, None, None)
        _check_reach(instance)
        return _with_floors(instance, limits)

    return solve_plainly


def _with_floors(instance: MenuInstance, limits: Limits) -> MenuSelection:
    """Solve, and again with the floors that the choice breaks."""
    # The simpler problem: there groups of equal cost are one integer.
    if not instance.needs:
        two = _keep_or_drop(instance, limits)
        if two is not None:
            return two
    # A floor is one more resource; it is added only where the choice breaks it.
    needs: list[MenuFloor] = []
    found = _solve(instance, needs, limits)
    while new := [n for n in instance.needs if n not in needs and _breaks(found.choice, n)]:
        needs += new
        found = _solve(instance, needs, limits)
    return found


def _breaks(choice: Ints, need: MenuFloor) -> bool:
    return bool(need.entries[choice].sum() < need.fewest)


def _check_reach(instance: MenuInstance) -> None:
    """Refuse budgets below the least that the groups hold whatever is chosen."""
    if not instance.size:
        return
    least = np.minimum.reduceat(instance.columns, instance.start[:-1], axis=1).sum(axis=1)
    over = np.flatnonzero(least > instance.budget + instance.grain)
    if len(over):
        resource = int(over[0])
        raise BudgetError(
            f"budget[{resource}] is {instance.budget[resource]:g}, but the cheapest entries hold "
            f"{least[resource]:g} of resource {resource}; allow at least {least[resource]:g}."
        )


def _keep_or_drop(instance: MenuInstance, limits: Limits) -> MenuSelection | None:
    """Return what `solve` finds where every menu is to keep or to drop; else None."""
    sizes = np.diff(instance.start)
    if not instance.size or sizes.max() > 2:
        return None
    free = np.asarray(~instance.columns.any(axis=0))
    first, last = instance.start[:-1], instance.start[1:] - 1
    if not (free[first] | free[last]).all():
        return None
    # Of two entries that hold nothing, the more valuable one is the one to keep.
    swap = free[last] & (~free[first] | (instance.value[last] < instance.value[first]))
    drop, keep = np.where(swap, last, first), np.where(swap, first, last)
    base = instance.value[drop]
    found = solve(
        # An entry that holds something and is worth less than dropping is never taken.
        np.maximum(instance.value[keep] - base, 0),
        instance.cost if len(keep) == len(free) else instance.cost[keep],
        instance.budget,
        max_gap=limits.gap,
        max_nodes=limits.nodes,
    )
    choice = np.where(found.keep, keep, drop)
    sure = float(base.sum())
    return MenuSelection(
        choice=choice,
        objective=found.objective + sure,
        # One more sum, one more rounding; only where there is something to add.
        bound=(found.bound + sure) * (1 + ROUNDING * bool(sure)),
        prices=found.prices,
        status=found.status,
    )


def _solve(instance: MenuInstance, needs: list[MenuFloor], limits: Limits) -> MenuSelection:
    """Solve with these floors met."""
    menus, scale = open_menus(
        instance.value, instance.columns, instance.start, instance.budget, instance.grain, needs
    )
    if not menus.sizes.all():
        _refuse(needs, True)
    best = minimise(menus)
    # Places among the open entries are turned back into the caller's before they are summed.
    known, entries = refine_menus(
        menus, best, limits, lambda entry: _holds(instance, scale.entry[entry], needs)
    )
    prices = np.zeros(len(instance.budget))
    real = scale.resource >= 0
    # Units are powers of two up to 2^1000, whose quotient may leave float64.
    with np.errstate(over="ignore", under="ignore"):
        prices[scale.resource[real]] = best.price[real] * (scale.value / scale.cost[real])
    proven = known.proven
    choice = None if entries is None else scale.entry[entries]
    # So few choices are cheaper to enumerate than to argue about rounding.
    if not proven and np.log(np.maximum(menus.sizes, 1)).sum() <= np.log(MOST_CHOICES):
        choice = enumerate_choices(instance, needs)
        proven = True
    if choice is None:
        _refuse(needs, proven or known.bound == -np.inf)
    if not _holds(instance, choice, needs):
        raise SolverError(
            "the choice exceeds a budget or breaks a floor; this is a defect of rfprune, please "
            "report it with the input."
        )
    objective = float(instance.value[choice].sum())
    bound = objective if proven else known.bound * scale.value
    if instance.integral:
        bound = objective if proven else float(np.floor(bound * (1 + ROUNDING)))
    else:
        bound *= 1 + ROUNDING
    return MenuSelection(
        choice=choice,
        objective=objective,
        bound=max(bound, objective),
        prices=prices,
        status="optimal" if proven or bound <= objective else "gap",
    )


def _holds(instance: MenuInstance, choice: Ints, needs: list[MenuFloor]) -> bool:
    return instance.within(choice) and not any(_breaks(choice, need) for need in needs)


def _refuse(needs: list[MenuFloor], proven: bool) -> NoReturn:
    floors = f" and the floors ({', '.join(str(need.fewest) for need in needs)})" if needs else ""
    if proven:
        raise BudgetError(
            f"no choice meets all budgets{floors} at once, although each by itself allows one. "
            f"Raise a budget{' or lower a floor' if needs else ''}."
        )
    raise SolverError(
        f"found no choice within all budgets{floors}, and no proof that there is none. Raise "
        f"max_nodes or a budget."
    )
