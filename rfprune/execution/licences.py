"""Licences of vendor tools as a resource of the Ray cluster: so many runs at once as there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["holding"]


def holding(resource: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns that runs as a Ray task holding one unit of a resource.

    Args:
        resource: as a node of the cluster offers it.
        function: runs on that node, which must see the files that the arguments name.
        arguments: of the function.

    Raises:
        Exception: whatever `function` raises.
    """
    import ray

    # No CPU: the trial that waits for the task has one, and all others may be taken by trials.
    task = ray.remote(num_cpus=0, resources={resource: 1}, max_retries=1)(function)
    try:
        return ray.get(task.remote(*arguments))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
