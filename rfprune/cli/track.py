"""``rfprune track``: write a sweep's run folders to MLflow again."""

from __future__ import annotations

from pathlib import Path

from rfprune.cli.common import RunsOption, SweepArgument

__all__ = ["track"]


def track(sweep: SweepArgument, runs: RunsOption = Path("runs")) -> None:
    """Write a sweep to MLflow again; runs that are there already are not written twice.

    Example: rfprune track digits
    """
    from rfprune.cli.common import open_sweep, say
    from rfprune.tracking import load_config, project
    from rfprune.tracking.client import shown_uri

    folder, config = open_sweep(sweep, runs), load_config()
    written = project(folder, config)
    say(f"{len(written)} trials are in MLflow at {shown_uri(config.tracking_uri)}.")
