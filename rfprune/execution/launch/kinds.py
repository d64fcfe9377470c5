"""The kinds of clusters by name: which module renders, sends and finds their jobs."""

from __future__ import annotations

import importlib
from types import ModuleType

from rfprune.core.registry import nearest
from rfprune.errors import UnknownNameError
from rfprune.execution.launch.jobs import Job, Note, read_note
from rfprune.execution.launch.prepared_job import Submission, prepare_job

__all__ = ["find_job", "render", "send"]

_MODULES = {
    "local": "rfprune.execution.launch.local",
    "ray": "rfprune.execution.launch.ray_jobs",
    "slurm": "rfprune.execution.launch.slurm",
    "kubernetes": "rfprune.execution.launch.kubernetes",
}


def render(submission: Submission) -> str:
    """Return exactly what `send` would send, as text; only the digits in the name differ.

    Raises:
        InputError: the sweep or the profile is wrong.
    """
    prepared = prepare_job(submission)
    return str(_module(prepared.profile.kind).render(prepared))


def send(submission: Submission) -> str:
    """Send a sweep and return the job's handle, e.g. ``ray:rfprune-digits-1a2b3c``.

    Raises:
        InputError: the sweep or the profile is wrong.
        ClusterError: the cluster cannot be reached or refuses the job.
        MissingExtraError: a program that talks to the cluster is not installed.
    """
    prepared = prepare_job(submission)
    handle = str(_module(prepared.profile.kind).send(prepared))
    # Kept beside the handle, so that it can be told later what has left this machine.
    note = read_note(handle)
    Note(handle, {**note.facts, "sent": prepared.upload.listed()}).save()
    return handle


def find_job(handle: str, address: str | None = None) -> Job:
    """Return the job of a handle that `send` returned, here or elsewhere.

    Args:
        handle: ``kind:name``.
        address: of the cluster; as it was sent, or the environment's, if None.

    Raises:
        UnknownNameError: it is not a handle.
    """
    kind, colon, name = handle.partition(":")
    if not colon or not name or kind not in _MODULES:
        raise UnknownNameError(
            f"'{handle}' is not a job. Allowed: KIND:NAME as 'rfprune submit' printed it, with one "
            f"of {', '.join(_MODULES)}.{nearest(kind, _MODULES)}"
        )
    job: Job = _module(kind).find(read_note(handle), address)
    return job


def _module(kind: str) -> ModuleType:
    return importlib.import_module(_MODULES[kind])
