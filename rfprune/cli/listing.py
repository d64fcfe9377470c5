"""``rfprune list``: what can be named in a file."""

from __future__ import annotations

from typing import Annotated

import typer

from rfprune.api.listing import NAMED
from rfprune.cli.common import JsonOption

__all__ = ["list_names"]


def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help=f"One of {', '.join(NAMED)}.",
            show_default=False,
            autocompletion=lambda: list(NAMED),
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """List what can be named in a file.

    Example: rfprune list parts
    """
    from rfprune.api.listing import names
    from rfprune.cli.common import print_json, stdout

    rows = names(kind)
    if as_json:
        print_json(rows)
        return
    width = max(map(len, rows), default=0)
    for name, summary in rows.items():
        # One line per name, whatever the terminal's width, for grep and the like.
        stdout().print(f"{name:{width}}  {summary}", markup=False, soft_wrap=True)
