"""The files that come with rfprune: sweeps, cluster definitions, tracking defaults."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped"]


def shipped(name: str) -> Path:
    """Return the path of ``sweeps``, ``cluster`` or ``mlflow.yml``.

    An installed wheel carries them inside the package, a source checkout at its top level.
    """
    package = Path(__file__).parents[1]
    installed = package / "_shipped" / name
    return installed if installed.exists() else package.parent / name
