"""``rfprune clean``: free what a sweep no longer needs, after saying what that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import RunsOption, SweepArgument

if TYPE_CHECKING:
    from rfprune.results.retention import Surplus

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
    from rfprune.api.upkeep import clean as free
    from rfprune.cli.common import runs_option, say, stdout

    freed = False

    def agreed(surplus: Surplus) -> bool:
        nonlocal freed
        say(f"This would free {_told(surplus)}.")
        freed = yes or (stdout().is_terminal and typer.confirm("Free it?"))
        return freed

    surplus = free(sweep, keep=keep, agreed=agreed, runs=runs)
    option = "" if keep == "front" else f" --keep {keep}"
    if not surplus.paths:
        say(f"Nothing to free: '{sweep}' holds only what --keep {keep} keeps.")
    elif freed:
        say(f"Freed {surplus.n_bytes / 1e6:.1f} MB.")
    else:
        say(
            f"Nothing was freed. To free it: rfprune clean {sweep}{option} --yes{runs_option(runs)}"
        )


def _told(surplus: Surplus) -> str:
    n_checkpoints, n_scratch = len(surplus.checkpoints), len(surplus.scratch)
    parts = []
    if n_checkpoints:
        parts.append(f"{n_checkpoints} checkpoints that are not on the front")
    if n_scratch:
        parts.append(f"{n_scratch} scratch folders")
    return f"{surplus.n_bytes / 1e6:.1f} MB in {surplus.n_trials} trials: {' and '.join(parts)}"
