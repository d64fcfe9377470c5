"""``rfprune sweep``: run a sweep, or resume one that was cut off."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import RunsOption, SetOption, SweepArgument

if TYPE_CHECKING:
    from rfprune.api.finding import SweepFile
    from rfprune.api.running import Teller
    from rfprune.execution.drive import SweepOutcome
    from rfprune.results import Front
    from rfprune.study import StudyCounts

__all__ = ["sweep"]

_SHOWN = 5

AgainOption = Annotated[
    bool,
    typer.Option(
        "--again", help="Run complete trials again whose run folders are gone or damaged."
    ),
]
RebuildOption = Annotated[
    bool,
    typer.Option(
        "--rebuild-study",
        help="Make a lost or damaged study again from the run folders, then go on.",
    ),
]


def sweep(
    sweep: SweepArgument,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Total number of complete trials wanted.", show_default=False),
    ] = None,
    overrides: SetOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; the old run is moved aside, not deleted.")
    ] = False,
    again: AgainOption = False,
    rebuild_study: RebuildOption = False,
    runs: RunsOption = Path("runs"),
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ray cluster to run on; default: Ray is started on this machine.",
            show_default=False,
        ),
    ] = None,
    track: Annotated[
        bool, typer.Option(help="Write the trials to MLflow, as mlflow.yml says.")
    ] = True,
    attach: Annotated[
        bool,
        typer.Option(
            "--attach", help="Follow a sweep that runs in another shell, without changing it."
        ),
    ] = False,
) -> None:
    """Run a sweep, or resume one that was cut off.

    Every accepted pruning step of every trial is a candidate for the front. Stop it at any time
    with Ctrl-C: finished work is kept; run the same command to resume.

    Example: rfprune sweep sweeps/digits.yml --trials 50
    """
    from rfprune.api.running import SweepOptions, run_sweep_file
    from rfprune.cli.common import read_sweep_file

    if attach:
        _watch(sweep, runs)
        return
    if trials is not None:
        overrides = [*(overrides or []), f"trials={trials}"]
    chosen = read_sweep_file(sweep, runs, overrides)
    options = SweepOptions(fresh, again, rebuild_study, address, track)
    _finish(chosen, run_sweep_file(chosen, options, _teller()))


def _watch(name: str, runs: Path) -> None:
    """Show a sweep's progress until its driver ends."""
    from rfprune.api.progress import Display
    from rfprune.cli.common import open_sweep, runs_option, say, stderr
    from rfprune.study.attach import attach

    folder = open_sweep(name, runs)
    spec = folder.spec()
    with Display(spec, console=stderr()) as display:
        counts = attach(folder, display)
    say(f"{_summary(counts, spec.trials)}.")
    if counts.done < spec.trials:
        named = f"{folder.path.name}{runs_option(folder.path.parent)}"
        say(f"The sweep is no longer running. To resume: rfprune sweep {named}", stderr())


def _teller() -> Teller:
    from rfprune.api.running import Teller
    from rfprune.cli.common import note, say, stderr

    console = stderr()
    return Teller(
        say=lambda text: say(text, console),
        note=lambda text: note(text, console),
        console=console,
        busy=console.status,
    )


def _finish(chosen: SweepFile, outcome: SweepOutcome) -> None:
    """Print the front and the next commands, and exit with the status that fits."""
    from rfprune.cli.common import commands, say, stderr, stdout
    from rfprune.results import budget_table, front_table, read_front
    from rfprune.study import importance_table, importances

    console = stdout()
    front = read_front(chosen.folder)
    if front.points:
        console.print(front_table(front, console.width), budget_table(front, console.width))
    if shares := importances(chosen.folder):
        console.print(importance_table(shares, console.width))
    counts = outcome.counts
    say(f"{_summary(counts, outcome.wanted)}, {outcome.seconds:.0f} s.", console)
    if outcome.interrupted:
        say(f"Interrupted. To resume: rfprune sweep {_named(chosen)}", stderr())
        # As a shell reports a program that Ctrl-C ended.
        sys.exit(130)
    _say_how_it_ended(chosen, outcome)
    if front.points:
        commands(_next(chosen, front, more=not outcome.exhausted))
    if not outcome.reached:
        raise typer.Exit(1)


def _say_how_it_ended(chosen: SweepFile, outcome: SweepOutcome) -> None:
    from rfprune.cli.common import say, stderr, stdout

    console, counts = stdout(), outcome.counts
    if outcome.missing:
        _show_missing(chosen, outcome.missing)
    if outcome.gave_up:
        say(f"rfprune: the sweep ended early: {outcome.gave_up}", stderr())
    elif outcome.exhausted and counts.done < outcome.wanted:
        say("Every point of the search space has been tried.", console)
    elif outcome.stopped:
        say(f"The sweep has ended by {outcome.stopped}.", console)
    if outcome.one_more_hour:
        say(outcome.one_more_hour, console)


def _show_missing(chosen: SweepFile, missing: Mapping[int, str]) -> None:
    from rfprune.cli.common import say, stderr

    for number, why in list(missing.items())[:_SHOWN]:
        say(f"rfprune: trial {number} is complete in the study, but {why}.", stderr())
    if len(missing) > _SHOWN:
        say(f"rfprune: and so are {len(missing) - _SHOWN} more.", stderr())
    say(f"To run what is missing again: rfprune sweep {_named(chosen)} --again", stderr())


def _summary(counts: StudyCounts, wanted: int) -> str:
    """Return how many trials are complete, and of the others what became of them."""
    infeasible = f" ({counts.infeasible} infeasible)" if counts.infeasible else ""
    kinds = {
        "dominated by others": counts.dominated,
        "paused": counts.paused,
        "with an unreachable budget": counts.unreachable,
        "with contradictory values": counts.invalid,
        "passed over, as they would not have ended in time": counts.too_long,
        "cut off": counts.cut_off,
        "missing": counts.missing,
        "failed": counts.failed,
    }
    others = [f"{n} {kind}" for kind, n in kinds.items() if n or kind == "failed"]
    return ", ".join([f"{counts.complete} of {wanted} trials complete{infeasible}", *others])


def _named(chosen: SweepFile) -> str:
    """Return the sweep as it is typed after a command."""
    from rfprune.cli.common import runs_option

    return f"{chosen.spec.name}{runs_option(chosen.folder.path.parent)}"


def _above(value: float) -> str:
    """Return a short number that is not below `value`: whole, or of three digits if it is small."""
    if value >= 10 or value <= 0:
        return str(math.ceil(value))
    # Rounded up: within the suggested bound there has to be a point.
    digit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / digit) * digit:.3g}"


def _next(chosen: SweepFile, front: Front, more: bool) -> list[str]:
    from rfprune.results.front import main_cost

    name, where = chosen.spec.name, _named(chosen)
    cost = main_cost(front)
    known = sorted(value for p in front.points if (value := p.metrics.get(cost)) is not None)
    # Within the middle one of the front's costs there is always a point.
    # Test metrics never select, so their short names are safe to suggest.
    score = front.view.score
    way = front.view.quantities[score].direction
    limit = f" --where '{cost}<={_above(known[(len(known) - 1) // 2])}'" if known else ""
    found = [
        f"rfprune pareto {where} --html front.html",
        f"rfprune export {where}{limit} --{way} {score.removeprefix('val_')} --out export/{name}",
        "rfprune ui",
    ]
    if more:
        found.append(f"rfprune sweep {where} --trials {2 * chosen.spec.trials}")
    return found
