"""Floors: the fewest groups of each layer that must be kept.

All groups of a layer usually cost the same. The floor's groups are then the most valuable ones of
the layer, whatever else is kept, and are kept before anything is decided. In a layer whose groups
cost unlike amounts that would be wrong; its floor becomes a constraint, but only if a selection
without it breaks it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfprune.errors import BudgetError
from rfprune.knapsack.instance import Bools, Floats, Instance
from rfprune.knapsack.reduction import Need

__all__ = ["Floors", "settle"]


@dataclass(frozen=True)
class Floors:
    """What the floors ask for.

    Attributes:
        forced: (G,) groups that are kept because of a floor.
        needs: floors on groups of unlike cost, each to be met by a choice.
    """

    forced: Bools
    needs: tuple[Need, ...]


def settle(instance: Instance) -> Floors:
    """Return the groups that the floors keep, and the floors that leave a choice.

    Raises:
        BudgetError: a floor exceeds its layer, or the floors exceed a budget.
    """
    forced = np.zeros(instance.size, dtype=np.bool_)
    needs: list[Need] = []
    least = np.zeros((len(instance.floor), len(instance.budget)))
    for layer in np.flatnonzero(instance.floor):
        groups, fewest = np.flatnonzero(instance.layer == layer), int(instance.floor[layer])
        if len(groups) < fewest:
            raise BudgetError(
                f"the floor of layer {layer} is {fewest}, but the layer has {len(groups)} groups; "
                f"allowed are 0 to {len(groups)}."
            )
        cost = instance.columns[:, groups]
        # A bound for each resource by itself: the cheapest groups of one need not be those of
        # another.
        least[layer] = np.partition(cost, fewest - 1, axis=1)[:, :fewest].sum(axis=1)
        if (cost == cost[:, :1]).all():
            # The most valuable ones, and of equals the first: equal input gives equal output.
            value = instance.value[groups]
            limit = np.partition(value, len(value) - fewest)[len(value) - fewest]
            forced[groups[value > limit]] = True
            equal = groups[value == limit]
            forced[equal[: fewest - int((value > limit).sum())]] = True
        else:
            # Which of unlike groups meet a floor best depends on the prices, which nobody knows
            # yet.
            needs.append(Need(groups, fewest))
    _check_reach(instance, least)
    return Floors(forced, tuple(needs))


def _check_reach(instance: Instance, least: Floats) -> None:
    """Refuse floors that need more of a resource than there is, however they are met.

    Args:
        instance: the problem.
        least: (L, R) the least that each layer's floor can hold of each resource.
    """
    needed = least.sum(axis=0)
    over = np.flatnonzero(needed > instance.budget + instance.grain)
    if len(over):
        resource = int(over[0])
        layer = int(least[:, resource].argmax())
        raise BudgetError(
            f"the floors hold {needed[resource]:g} of resource {resource}, its budget is "
            f"{instance.budget[resource]:g}; the most is held by layer {layer}, "
            f"{least[layer, resource]:g} for its floor of {instance.floor[layer]} groups. "
            f"Lower floors, or allow at least {needed[resource]:g}."
        )
