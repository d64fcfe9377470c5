"""``rfprune federate``: what several devices have learned, as one state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["federate"]


def federate(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A folder made by rfprune adapt --onnx.", show_default=False
        ),
    ],
    states: Annotated[
        list[Path],
        typer.Argument(
            metavar="STATE", help="The file state.json of each device.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write.", show_default=False)],
    since: Annotated[
        Path | None,
        typer.Option(help="The merged state that all continued from.", show_default=False),
    ] = None,
) -> None:
    """Average what several devices have learned with one adaptive model.

    Devices share how far their table of levels was off, per condition and level, and how many
    batches say so: no rows, outputs or labels. Put the result in the place of each device's
    state.json.

    Example: rfprune federate adaptive a/state.json b/state.json --out state.json
    """
    from rfprune.api.federating import federate as merge
    from rfprune.cli.common import say

    merged = merge(folder, states, out, since=since)
    say(f"Written: {out} ({len(states)} devices, {merged['batches']} batches)")
