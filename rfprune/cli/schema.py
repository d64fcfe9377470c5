"""``rfprune schema``: the JSON schema of a file format, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from rfprune.core.registry import nearest
from rfprune.errors import UnknownNameError

__all__ = ["schema"]


def schema(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="One of sweep, trial, design.")
    ] = "sweep",
) -> None:
    """Print the JSON schema of a file format, for completion and checks in editors.

    Example: rfprune schema sweep > sweep.schema.json
    """
    from rfprune.cli.common import print_json

    print_json(schema_of(kind))


def schema_of(kind: str) -> dict[str, object]:
    """Return the JSON schema of a file format.

    Raises:
        UnknownNameError: no such format.
    """
    from pydantic import BaseModel

    from rfprune.fpga.estimators.design import Design
    from rfprune.spec import SweepSpec, TrialSpec

    models: dict[str, type[BaseModel]] = {"sweep": SweepSpec, "trial": TrialSpec, "design": Design}
    if kind not in models:
        raise UnknownNameError(
            f"unknown file format '{kind}'.{nearest(kind, models)} Known: {', '.join(models)}."
        )
    found = models[kind].model_json_schema()
    if kind == "sweep":
        # A sweep without a name has that of its file.
        found["required"].remove("name")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
