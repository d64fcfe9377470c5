"""``rfprune compare``: the fronts of two or more sweeps beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfprune.cli.common import JsonOption, RunsOption

__all__ = ["compare"]


def compare(
    sweeps: Annotated[
        list[str],
        typer.Argument(metavar="SWEEP SWEEP", help="Two sweeps or more.", show_default=False),
    ],
    as_json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the comparison as a page.", show_default=False)
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write the fronts as a picture.", show_default=False)
    ] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Compare the fronts of sweeps: hypervolumes with a common reference, and who has what.

    Objectives that all of them have are compared. Points that another sweep beats are marked.

    Example: rfprune compare digits digits-pynq-z2 --html compared.html
    """
    from rfprune.cli.common import open_sweep, print_json, say, stdout
    from rfprune.results import compare as compared
    from rfprune.results.comparison_text import (
        comparison_html,
        comparison_json,
        comparison_png,
        comparison_summary,
        comparison_table,
        sweeps_table,
    )

    found = compared(*(open_sweep(name, runs) for name in sweeps))
    if html is not None:
        _write(html, comparison_html(found), "html")
    if png is not None:
        _write(png, comparison_png(found), "png")
    if as_json:
        print_json(comparison_json(found))
        return
    console = stdout()
    console.print(comparison_table(found, console.width), sweeps_table(found, console.width))
    for line in comparison_summary(found):
        say(line, console)
    for path in (html, png):
        if path is not None:
            say(f"Written: {path}", console)


def _write(path: Path, content: bytes | str, kind: str) -> None:
    from rfprune.core.files import write_atomic
    from rfprune.errors import RunsError

    if path.is_dir():
        raise RunsError(f"--{kind} {path}: is a folder. Allowed: a file.")
    try:
        write_atomic(path, content)
    except OSError as error:
        raise RunsError(f"--{kind} {path}: cannot be written ({error.strerror}).") from None
