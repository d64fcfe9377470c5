"""``rfprune pareto``: the front of a sweep, as a table, JSON, CSV, picture or page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import JsonOption, RunsOption, SweepArgument

if TYPE_CHECKING:
    from rich.console import Console

    from rfprune.results import Front, SweepFolder

__all__ = ["pareto"]


def pareto(
    sweep: SweepArgument,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Write the front as an interactive page.", show_default=False),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write the front as a picture.", show_default=False)
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the front as a table.", show_default=False)
    ] = None,
    importance: Annotated[
        bool,
        typer.Option("--importance", help="Also show which parameters the objectives depended on."),
    ] = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Show the Pareto front of a sweep, finished or running.

    Example: rfprune pareto digits --html front.html
    """
    from rfprune.cli.common import note, open_sweep, print_json, say, stderr, stdout
    from rfprune.results import budget_table, front_json, front_table, read_front
    from rfprune.tracking import run_ids

    folder = open_sweep(sweep, runs)
    front, ids = read_front(folder), run_ids(folder)
    for number, reason in front.view.damaged.items():
        note(f"trial {number} is left out: {reason}", stderr())
    written = _write(front, ids, {"html": html, "png": png, "csv": csv})
    # With --json stdout holds one object alone, so that files written beside it are not announced.
    if as_json:
        print_json(front_json(front, ids))
        return
    console = stdout()
    if front.points:
        console.print(front_table(front, console.width), budget_table(front, console.width))
    else:
        say(f"Sweep '{front.view.name}' has no front yet: no pruning step is finished.", console)
    if importance:
        _show_importance(folder, console)
    for path in written:
        say(f"Written: {path}", console)


def _show_importance(folder: SweepFolder, console: Console) -> None:
    from rfprune.cli.common import say
    from rfprune.study import importance_table, importances
    from rfprune.study.importance import LEAST_TRIALS

    shares = importances(folder)
    if shares:
        console.print(importance_table(shares, console.width))
    else:
        say(
            f"No importances: they need at least {LEAST_TRIALS} complete trials and their study.",
            console,
        )


def _write(front: Front, ids: dict[int, str], paths: dict[str, Path | None]) -> list[Path]:
    """Write the front in each kind that is asked for; return the files.

    Raises:
        RunsError: a file cannot be written.
    """
    from rfprune.core.files import write_atomic
    from rfprune.errors import RunsError
    from rfprune.results import front_csv, front_html, front_png

    # As functions: matplotlib and the page's template are loaded only for what is asked for.
    makers: dict[str, Callable[[], bytes | str]] = {
        "html": lambda: front_html(front),
        "png": lambda: front_png(front),
        "csv": lambda: front_csv(front, ids),
    }
    asked = {kind: path for kind, path in paths.items() if path is not None}
    for kind, path in asked.items():
        if path.is_dir():
            raise RunsError(f"--{kind} {path}: is a folder. Allowed: a file.")
        try:
            write_atomic(path, makers[kind]())
        except OSError as error:
            raise RunsError(f"--{kind} {path}: cannot be written ({error.strerror}).") from None
    return list(asked.values())
