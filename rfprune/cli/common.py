"""What several verbs share: options, where files and runs are, the consoles."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from glob import escape as glob_escape
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfprune.core.shipped import shipped

if TYPE_CHECKING:
    from rich.console import Console

    from rfprune.api.finding import (
        SweepFile,
        check_writable,
        naming,
        open_sweep,
        read_sweep_file,
        writing,
    )
    from rfprune.core.paths import runs_option

__all__ = [
    "JsonOption",
    "OutOption",
    "RunCodeOption",
    "RunsOption",
    "SetOption",
    "SweepArgument",
    "SweepFile",
    "check_writable",
    "commands",
    "naming",
    "note",
    "open_sweep",
    "print_json",
    "read_sweep_file",
    "runs_option",
    "say",
    "stderr",
    "stdout",
    "writing",
]


def _sweeps(incomplete: str) -> list[str]:
    """Return what a shell offers for a sweep: files and folders here, runs, and shipped sweeps."""
    files = [
        path
        for path in glob(f"{glob_escape(incomplete)}*")
        if path.endswith((".yml", ".yaml")) or os.path.isdir(path)
    ]
    runs = [path.parent.name for path in Path("runs").glob("*/sweep.json")]
    names = [*runs, *(path.stem for path in shipped("sweeps").glob("*.yml"))]
    return sorted({*files, *(name for name in names if name.startswith(incomplete))})


SweepArgument = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep file, or the name of a sweep that has run or is shipped.",
        show_default=False,
        autocompletion=_sweeps,
    ),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds all runs.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the file, e.g. train.epochs=5; repeatable.",
    ),
]
OutOption = Annotated[
    Path, typer.Option(help="Folder to create; must be new or empty.", show_default=False)
]
RunCodeOption = Annotated[
    bool,
    typer.Option(
        "--run-code",
        help="Import functions that the run folder names although they were not run here.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def stdout() -> Console:
    """Return the console for results."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def stderr() -> Console:
    """Return the console for progress and notes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str, console: Console | None = None) -> None:
    """Print prose: wrapped between words on a terminal, one line per line elsewhere."""
    console = console or stdout()
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def note(text: str, console: Console | None = None) -> None:
    """Print something that the user should know, but need not act on."""
    from rich.text import Text

    console = console or stdout()
    line = Text.assemble(("Note: ", "yellow"), text)
    console.print(line, soft_wrap=not console.is_terminal)


def commands(lines: Sequence[str]) -> None:
    """Print the next commands to type, each on one line, to be copied as a whole."""
    stdout().print(
        "\nNext:", *(f"  {line}" for line in lines), sep="\n", markup=False, soft_wrap=True
    )


def print_json(value: Any) -> None:
    """Print one JSON object on stdout, without colours or wrapping."""
    import json

    # NaN is not JSON; other programs could not read it.
    typer.echo(json.dumps(value, indent=1, allow_nan=False))


#: Loaded when a command runs: its help must cost nothing.
_LATE = {
    **dict.fromkeys(("SweepFile", "check_writable", "naming", "open_sweep"), "rfprune.api.finding"),
    **dict.fromkeys(("read_sweep_file", "writing"), "rfprune.api.finding"),
    "runs_option": "rfprune.core.paths",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'rfprune.cli.common' has no attribute '{name}'")
