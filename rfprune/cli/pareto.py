"""``rfprune pareto``: the front of a sweep, as a table, JSON, CSV, picture or page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfprune.cli.common import JsonOption, RunsOption, SweepArgument

__all__ = ["pareto"]


def pareto(
    sweep: SweepArgument,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(help="Write an interactive page.", show_default=False)
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture.", show_default=False)] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a table.", show_default=False)] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Show the Pareto front of a sweep, finished or running.

    Example: rfprune pareto digits --html front.html
    """
    from rfprune.cli.common import open_sweep, print_json, stderr, stdout
    from rfprune.front import (
        budget_table,
        front_csv,
        front_html,
        front_json,
        front_png,
        front_table,
        read_front,
    )
    from rfprune.runs.files import write_atomic
    from rfprune.tracking import run_ids

    folder = open_sweep(sweep, runs)
    front, ids = read_front(folder), run_ids(folder)
    for number, reason in front.view.damaged.items():
        stderr().print(f"[yellow]Note:[/] trial {number} is left out: {reason}")
    if html is not None:
        write_atomic(html, front_html(front))
    if csv is not None:
        write_atomic(csv, front_csv(front, ids))
    if png is not None:
        write_atomic(png, front_png(front))
    if as_json:
        print_json(front_json(front, ids))
        return
    console = stdout()
    if not front.points:
        console.print(f"Sweep '{front.view.name}' has no front yet: no pruning step is finished.")
        return
    console.print(front_table(front))
    console.print(budget_table(front))
    for path in (html, png, csv):
        if path is not None:
            console.print(f"Written: {path}")
