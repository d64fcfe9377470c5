"""``rfprune clean``: free what a sweep no longer needs, after saying what that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import RunsOption, SweepArgument
from rfprune.core.registry import nearest
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from rfprune.results.retention import Keep, Surplus

__all__ = ["clean"]


def clean(
    sweep: SweepArgument,
    keep: Annotated[
        str,
        typer.Option(
            metavar="front|last|all",
            help="Checkpoints that stay: the front's; the last of every trial as well; all (then "
            "only scratch folders go).",
        ),
    ] = "front",
    yes: Annotated[bool, typer.Option("--yes", help="Free it; otherwise it is asked.")] = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Free checkpoints that are not on the front, and scratch folders of finished trials.

    What would be freed is said first. Checkpoints on the front always stay, and so do the records
    of all steps: the front, its tables and MLflow are the same afterwards.

    Example: rfprune clean digits --keep last
    """
    from rfprune.cli.common import open_sweep, say, stdout
    from rfprune.results.retention import find_surplus, remove
    from rfprune.study.study import lock

    kept = _keep(keep)
    folder = open_sweep(sweep, runs)
    with lock(folder):
        surplus = find_surplus(folder, kept)
        if not surplus.paths:
            say(f"Nothing to free: '{folder.path.name}' holds only what --keep {keep} keeps.")
            return
        say(f"This would free {_told(surplus)}.")
        if not yes and not (stdout().is_terminal and typer.confirm("Free it?")):
            say(f"Nothing was freed. To free it: {_command(folder.path, keep)}")
            return
        remove(surplus.paths)
    say(f"Freed {surplus.n_bytes / 1e6:.1f} MB.")


def _keep(text: str) -> Keep:
    allowed: tuple[Keep, ...] = ("front", "last", "all")
    for keep in allowed:
        if text == keep:
            return keep
    raise SpecError(f"--keep: '{text}'.{nearest(text, allowed)} Allowed: {', '.join(allowed)}.")


def _told(surplus: Surplus) -> str:
    n_checkpoints, n_scratch = len(surplus.checkpoints), len(surplus.scratch)
    parts = []
    if n_checkpoints:
        parts.append(f"{n_checkpoints} checkpoints that are not on the front")
    if n_scratch:
        parts.append(f"{n_scratch} scratch folders")
    return f"{surplus.n_bytes / 1e6:.1f} MB in {surplus.n_trials} trials: {' and '.join(parts)}"


def _command(folder: Path, keep: str) -> str:
    from rfprune.cli.common import runs_option

    kept = "" if keep == "front" else f" --keep {keep}"
    return f"rfprune clean {folder.name}{kept} --yes{runs_option(folder.parent)}"
