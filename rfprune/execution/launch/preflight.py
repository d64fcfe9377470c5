"""Checks a place before a sweep begins there: versions and packages, each fault as one sentence.

Runs on the cluster as ``python -m rfprune.execution.launch.preflight VERSION``, by the interpreter
that will run the sweep; needs nothing but the standard library.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import rfprune

__all__ = ["faults", "main"]

_OLDEST_PYTHON = (3, 11)
#: What a sweep imports; the distribution that brings it.
_PACKAGES = {
    "hls4ml": "hls4ml",
    "mlflow": "mlflow",
    "numpy": "numpy",
    "optuna": "optuna",
    "platformdirs": "platformdirs",
    "pulp": "pulp",
    "pydantic": "pydantic",
    "ray": "ray[default,tune]",
    "rich": "rich",
    "torch": "torch",
    "typer": "typer",
    "yaml": "pyyaml",
}


def faults(sent_by: str) -> list[str]:
    """Return what keeps a sweep from running with this interpreter, a sentence each.

    Args:
        sent_by: version of rfprune that sent the job.
    """
    found = []
    if sys.version_info < _OLDEST_PYTHON:
        here = ".".join(map(str, sys.version_info[:3]))
        found.append(f"Python {here} is too old: rfprune needs 3.11 or later.")
    if rfprune.__version__ != sent_by:
        found.append(
            f"rfprune {rfprune.__version__} is installed here, and {sent_by} sent the job: install "
            f"{sent_by} here, or set 'code: sent' in the profile."
        )
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        found.append(f"packages are missing: install {' '.join(missing)}.")
    return found


def main() -> None:
    """Print versions, or the faults, and exit with status 0 or 1."""
    found = faults(sys.argv[1])
    for fault in found:
        print(f"rfprune: {sys.executable}: {fault}", file=sys.stderr)
    if found:
        sys.exit(1)
    names = ("ray", "torch", "optuna")
    shown = ", ".join(f"{name} {_version(name)}" for name in names)
    print(f"Python {sys.version.split()[0]}, rfprune {rfprune.__version__}, {shown}", flush=True)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(version unknown)"


if __name__ == "__main__":
    main()
