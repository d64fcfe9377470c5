"""``rfprune track``: write a sweep's run folders to MLflow again."""

from __future__ import annotations

from pathlib import Path

from rfprune.cli.common import RunsOption, SweepArgument

__all__ = ["track"]


def track(sweep: SweepArgument, runs: RunsOption = Path("runs")) -> None:
    """Write a sweep to MLflow again; runs that are there already are not written twice.

    Example: rfprune track digits
    """
    from rfprune.api.upkeep import track as write
    from rfprune.cli.common import say
    from rfprune.tracking import load_config
    from rfprune.tracking.client import shown_uri

    written = write(sweep, runs=runs)
    say(f"{len(written)} trials are in MLflow at {shown_uri(load_config().tracking_uri)}.")
