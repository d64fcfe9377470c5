"""The pruning loop: budgets, schedules, steps. Knows no files and no hls4ml."""

from rfprune.pruning.budget import (
    budget_notes,
    check_reachable,
    final_fractions,
    least_use,
    step_budget,
)
from rfprune.pruning.loop import State, Step, dense_step, steps
from rfprune.pruning.schedule import Schedule
from rfprune.pruning.session import Session

__all__ = [
    "Schedule",
    "Session",
    "State",
    "Step",
    "budget_notes",
    "check_reachable",
    "dense_step",
    "final_fractions",
    "least_use",
    "step_budget",
    "steps",
]
