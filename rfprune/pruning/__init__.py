"""The pruning loop: schedules, budgets, scores, regularizers, steps. Knows no files and no target.

The loop works on a `Session`; what can be pruned is a `Prunable` of the target.
"""

from rfprune.pruning.budget import final_amounts, step_budget
from rfprune.pruning.loop import State, Step, dense_step, steps
from rfprune.pruning.prunable import GroupedWeight, Masks, Prunable, Trained, Values
from rfprune.pruning.schedule import Schedule
from rfprune.pruning.session import Evaluation, Purpose, Session, Snapshot

__all__ = [
    "Evaluation",
    "GroupedWeight",
    "Masks",
    "Prunable",
    "Purpose",
    "Schedule",
    "Session",
    "Snapshot",
    "State",
    "Step",
    "Trained",
    "Values",
    "dense_step",
    "final_amounts",
    "step_budget",
    "steps",
]
