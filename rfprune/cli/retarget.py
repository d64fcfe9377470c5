"""``rfprune retarget``: the networks of a sweep on other hardware, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import RunCodeOption, RunsOption, SetOption, SweepArgument

if TYPE_CHECKING:
    from rfprune.results import SweepFolder
    from rfprune.study.retarget import Retargeted

__all__ = ["retarget"]

_SHOWN = 10


def retarget(
    sweep: SweepArgument,
    overrides: SetOption = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of the new sweep; default: SWEEP-PART.", show_default=False
        ),
    ] = None,
    track: Annotated[
        bool, typer.Option(help="Write the trials to MLflow, as mlflow.yml says.")
    ] = True,
    run_code: RunCodeOption = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Make a new sweep of a sweep's networks on another part, without training.

    Every network whose mask takes away whole groups on the new hardware is measured in its types
    and estimated again; what cannot be carried over is listed with its reason. --set takes
    hardware, estimator, objectives and whatever else does not decide the networks. The new sweep
    can be shown, exported and continued like any other.

    Example: rfprune retarget digits --set hardware.part=pynq-z2
    """
    from rfprune.cli.common import commands, open_sweep, runs_option, say, stderr, stdout, writing
    from rfprune.core.own_code import allowing_code
    from rfprune.results import budget_table, front_table, read_front
    from rfprune.study.retarget import retarget as work

    source = open_sweep(sweep, runs)
    console = stderr()
    with (
        allowing_code(run_code),
        writing(runs),
        console.status("Checking the sweep ...") as status,
    ):

        def show(done: int, of: int) -> None:
            status.update(f"Measuring trial {done} of {of} ...")

        found = work(source, overrides or [], runs, name, show)
    front = read_front(found.folder)
    stdout().print(front_table(front, stdout().width), budget_table(front, stdout().width))
    _say_what_came(found)
    if track:
        _track(found.folder)
    named = f"{found.folder.path.name}{runs_option(found.folder.path.parent)}"
    commands(
        [
            f"rfprune pareto {named} --html front.html",
            f"rfprune sweep {named} --trials {2 * front.view.folder.spec().trials}",
        ]
    )
    say(f"Written: {found.folder.path}")


def _say_what_came(found: Retargeted) -> None:
    """Say how much was carried over, and what was not, with reasons."""
    from rfprune.cli.common import note, say, stderr
    from rfprune.study.retarget import LEFT_OUT

    say(
        f"{found.n_networks} networks of {len(found.trials)} trials measured again without "
        f"training, {found.seconds:.0f} s."
    )
    reasons = found.reasons()
    for line in reasons[:_SHOWN]:
        note(f"left out: {line}.", stderr())
    if len(reasons) > _SHOWN:
        say(
            f"And {len(reasons) - _SHOWN} more, all of them in {found.folder.path / LEFT_OUT}.",
            stderr(),
        )


def _track(folder: SweepFolder) -> None:
    """Write the sweep to MLflow; where that fails, say how to do it later."""
    from rfprune.cli.common import note, runs_option, stderr
    from rfprune.errors import WorkError
    from rfprune.tracking import load_config, project

    config = load_config()
    if not config.enabled:
        return
    try:
        with stderr().status("Writing to MLflow ..."):
            project(folder, config)
    except WorkError as error:
        named = f"{folder.path.name}{runs_option(folder.path.parent)}"
        note(
            f"the sweep is not in MLflow yet ({error}). To write it: rfprune track {named}",
            stderr(),
        )
