"""The kinds of clusters by name: which module renders, sends and finds their jobs."""

from __future__ import annotations

import importlib
from types import ModuleType

from rfprune.errors import UnknownNameError
from rfprune.launch.jobs import Job, read_note
from rfprune.launch.plan import Submission, make_plan
from rfprune.registry import nearest

__all__ = ["find_job", "render", "send"]

_MODULES = {
    "local": "rfprune.launch.local",
    "ray": "rfprune.launch.ray_jobs",
    "slurm": "rfprune.launch.slurm",
    "kubernetes": "rfprune.launch.kubernetes",
}


def render(submission: Submission) -> str:
    """Return exactly what `send` would send, as text; only the digits in the name differ.

    Raises:
        InputError: the sweep or the profile is wrong.
    """
    plan = make_plan(submission)
    return str(_module(plan.profile.kind).render(plan))


def send(submission: Submission) -> str:
    """Send a sweep and return the job's handle, e.g. ``ray:rfprune-digits-1a2b3c``.

    Raises:
        InputError: the sweep or the profile is wrong.
        ClusterError: the cluster cannot be reached or refuses the job.
        MissingExtraError: a program that talks to the cluster is not installed.
    """
    plan = make_plan(submission)
    return str(_module(plan.profile.kind).send(plan))


def find_job(handle: str, address: str | None = None) -> Job:
    """Return the job of a handle that `send` returned, here or elsewhere.

    Args:
        handle: ``kind:name``.
        address: of the cluster; as it was sent, or the environment's, if None.

    Raises:
        UnknownNameError: it is no handle.
    """
    kind, colon, name = handle.partition(":")
    if not colon or not name or kind not in _MODULES:
        raise UnknownNameError(
            f"'{handle}' is no job. Allowed: KIND:NAME as 'rfprune submit' printed it, with one of "
            f"{', '.join(_MODULES)}.{nearest(kind, _MODULES)}"
        )
    job: Job = _module(kind).find(read_note(handle), address)
    return job


def _module(kind: str) -> ModuleType:
    return importlib.import_module(_MODULES[kind])
