"""``rfprune schema``: the JSON schema of a file format, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from rfprune.api.listing import SCHEMAS

__all__ = ["schema"]


def schema(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=f"One of {', '.join(SCHEMAS)}.")
    ] = "sweep",
) -> None:
    """Print the JSON schema of a file format, for completion and checks in editors.

    Example: rfprune schema sweep > sweep.schema.json
    """
    from rfprune.api.listing import schema as schema_of
    from rfprune.cli.common import print_json

    print_json(schema_of(kind))
