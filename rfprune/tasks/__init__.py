"""What a training is for: loss, metrics, and which way the score is better.

`make_task` turns the ``task:`` section of a file into a `Task`. Importing this package does not
load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rfprune.tasks.named_tasks import TASKS
from rfprune.tasks.spec import MetricSpec, TaskSpec

if TYPE_CHECKING:
    from rfprune.tasks.task import Task, make_task

__all__ = ["TASKS", "MetricSpec", "Task", "TaskSpec", "make_task"]


def __getattr__(name: str) -> Any:
    # Files are checked with `rfprune.tasks.spec` long before anything needs torch.
    if name in ("Task", "make_task"):
        from rfprune.tasks import task

        return getattr(task, name)
    raise AttributeError(f"module 'rfprune.tasks' has no attribute '{name}'")
