"""The pruning loop: budgets, schedules, steps. Knows no files and no hls4ml.

The loop works on a `Subject`: `Session` is that of an FPGA, `rfprune.edge` has that of an edge
device.
"""

from rfprune.pruning.budget import (
    budget_notes,
    check_reachable,
    dense_use,
    final_fractions,
    least_use,
    step_budget,
)
from rfprune.pruning.loop import State, Step, dense_step, steps
from rfprune.pruning.neurons import sort_neurons
from rfprune.pruning.schedule import Schedule
from rfprune.pruning.session import Session
from rfprune.pruning.subject import Purpose, Snapshot, Subject

__all__ = [
    "Purpose",
    "Schedule",
    "Session",
    "Snapshot",
    "State",
    "Step",
    "Subject",
    "budget_notes",
    "check_reachable",
    "dense_step",
    "dense_use",
    "final_fractions",
    "least_use",
    "sort_neurons",
    "step_budget",
    "steps",
]
