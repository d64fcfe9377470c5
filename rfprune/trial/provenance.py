"""What is needed to repeat a trial: versions, machine, data, commit, seeds."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rfprune.results import Provenance

__all__ = ["provenance", "version_of"]

#: What can change a result from one version to the next.
_PACKAGES = ("torch", "hls4ml", "ray", "optuna", "mlflow", "pulp", "numpy")


def provenance(seed: int, threads: int, data_sha256: str | None, base_dir: Path) -> Provenance:
    """Return the provenance of a trial that runs here and now."""
    return Provenance(
        rfprune=version_of("rfprune") or "source",
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := version_of(name))},
        machine=f"{platform.machine()} {platform.system()} {os.cpu_count()} cpus",
        git_commit=_git_commit(base_dir),
        data_sha256=data_sha256,
        seed=seed,
        threads=threads,
    )


# A worker runs many trials: what cannot change within a process is looked up once.
@lru_cache(maxsize=64)
def version_of(name: str) -> str | None:
    """Return the version of an installed package, None without one."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=8)
def _git_commit(folder: Path) -> str | None:
    """Return the commit of the folder's repository, with ``+`` if files differ from it."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head.strip() + ("+" if dirty.strip() else "")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    ).stdout
