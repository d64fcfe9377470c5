"""Hardware groups: which weights one multiplier, BRAM word or neuron holds, and what that costs."""

from rfprune.groups.costs import UnitCost, unit_cost
from rfprune.groups.count import live_multipliers, live_runs, used
from rfprune.groups.groups import Groups, LayerGroups, Masks, build_groups

__all__ = [
    "Groups",
    "LayerGroups",
    "Masks",
    "UnitCost",
    "build_groups",
    "live_multipliers",
    "live_runs",
    "unit_cost",
    "used",
]
