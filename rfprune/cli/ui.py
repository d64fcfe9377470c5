"""``rfprune ui``: the MLflow server as ``mlflow.yml`` says, opened at a sweep's trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfprune.cli.common import RunsOption

__all__ = ["ui"]


def ui(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SWEEP]...",
            help="A sweep that has run, or several to compare; default: the one begun last.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; default: as mlflow.yml says."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the address in a browser.")] = True,
    runs: RunsOption = Path("runs"),
) -> None:
    """Start the MLflow server as mlflow.yml says, and open it at the trials of a sweep.

    The page shows one row per trial, the best first, with the objectives and what was searched as
    columns; `on_front` says which trials are on the front. Its chart view begins with the
    objectives and what was searched. Of several sweeps the page compares the trials on their
    fronts. The address is printed.

    Example: rfprune ui digits --port 5001
    """
    import os
    import sys
    import webbrowser

    from rfprune.api.upkeep import ui as serve

    # Without a display, browsers of the terminal would take its place.
    seen = (
        sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    show = webbrowser.open if browser and seen else _nothing
    serve(*(sweeps or ()), port=port, show=show, runs=runs)


def _nothing(address: str) -> None:
    """Leave the address to whoever reads it."""
