"""Hardware groups: which weights one multiplier, BRAM word or neuron holds, and what that costs."""

from rfprune.fpga.groups.count import live_multipliers, live_runs, used
from rfprune.fpga.groups.network_groups import Groups, LayerGroups, Masks, build_groups
from rfprune.fpga.groups.unit_costs import UnitCost, unit_cost

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
