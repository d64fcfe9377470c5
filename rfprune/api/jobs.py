"""Sweeps that run elsewhere: in the background, on a Ray cluster, Slurm or Kubernetes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.api.finding import read_sweep_file

if TYPE_CHECKING:
    from rfprune.execution.launch import Job, Submission

__all__ = ["job", "submission", "submit"]


def submit(
    sweep: str | Path,
    on: str | Path,
    *,
    trials: int | None = None,
    set: Mapping[str, Any] | None = None,
    address: str | None = None,
    runs: str | Path = "runs",
    dry_run: bool = False,
) -> str:
    """Send a sweep to a cluster; return the job, as `job` and the commands name it.

    As ``rfprune submit`` does. What travels are files; a sweep of objects is begun by
    `rfprune.sweep` first, and then sent by its name::

        print(rfprune.submit("mine", on="local", trials=2, dry_run=True))
        name = rfprune.submit("mine", on="local", trials=2)
        rfprune.job(name).status().state

    Args:
        sweep: a file, the name of a run or a shipped sweep.
        on: profile: a name of ``rfprune.names("profiles")``, or a file.
        trials: number of complete trials wanted in total; that of the sweep if None.
        set: values by their dotted paths, laid over those of the sweep.
        address: dashboard of the Ray cluster, or kubectl's context; the profile's if None.
        runs: folder of the runs that `sweep` may name.
        dry_run: send nothing; return exactly what would be sent, as text.

    Raises:
        InputError: sweep or profile are wrong.
        ClusterError: the cluster cannot be reached, or refuses the job.
    """
    from rfprune.execution.launch import render, send

    values = {**(set or {}), **({} if trials is None else {"trials": trials})}
    overrides = [f"{path}={json.dumps(value)}" for path, value in values.items()]
    asked = submission(sweep, on, overrides, address, runs)
    return render(asked) if dry_run else send(asked)


def submission(
    sweep: str | Path,
    on: str | Path,
    overrides: list[str] | None = None,
    address: str | None = None,
    runs: str | Path = "runs",
) -> Submission:
    """Return what `submit` sends, checked; `overrides` are texts ``KEY=VALUE``."""
    from rfprune.execution.launch import Submission

    target = read_sweep_file(str(sweep), Path(runs), overrides)
    return Submission(
        sweep=target.spec,
        source=target.source,
        base_dir=target.base_dir,
        profile=str(on),
        address=address,
    )


def job(name: str, address: str | None = None) -> Job:
    """Return a job that was sent, here or elsewhere: ``status()``, ``logs()``, ``cancel()``.

    Example::

        job = rfprune.job(name)  # as `submit` returned it, e.g. "ray:rfprune-digits-1a2b3c"
        for text in job.logs(follow=True):
            print(text, end="")

    Args:
        name: as `submit` returned it.
        address: of the cluster; as it was sent, or the environment's, if None.

    Raises:
        UnknownNameError: it is no job.
    """
    from rfprune.execution.launch import find_job

    return find_job(name, address)
