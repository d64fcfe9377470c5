"""``rfprune track``: write a sweep's run folders to MLflow again."""

from __future__ import annotations

from pathlib import Path

from rfprune.cli.common import RunsOption, SweepArgument

__all__ = ["track"]


def track(sweep: SweepArgument, runs: RunsOption = Path("runs")) -> None:
    """Write a sweep to MLflow again; what is there already is not written twice.

    Example: rfprune track digits
    """
    from rfprune.cli.common import open_sweep, stdout
    from rfprune.tracking import load_config, project

    folder, config = open_sweep(sweep, runs), load_config()
    written = project(folder, config)
    stdout().print(f"{len(written)} trials are in MLflow at {config.tracking_uri}.")
