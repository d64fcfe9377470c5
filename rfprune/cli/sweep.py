"""``rfprune sweep``: run a sweep, or go on with one that was cut off."""

from __future__ import annotations

import functools
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import RunsOption, SetOption, SweepArgument

if TYPE_CHECKING:
    from rfprune.cli.common import Target
    from rfprune.front import Front
    from rfprune.search import Counts
    from rfprune.search.drive import SweepOutcome
    from rfprune.search.outlook import Outlook

__all__ = ["sweep"]


def sweep(
    sweep: SweepArgument,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Complete trials wanted in all.", show_default=False)
    ] = None,
    overrides: SetOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew; the old run is moved aside, not deleted.")
    ] = False,
    runs: RunsOption = Path("runs"),
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Running Ray cluster to work on; without it Ray starts on this machine.",
            show_default=False,
        ),
    ] = None,
    track: Annotated[
        bool, typer.Option(help="Write the trials to MLflow, as mlflow.yml says.")
    ] = True,
    attach: Annotated[
        bool,
        typer.Option("--attach", help="Show a sweep that runs in another shell; changes nothing."),
    ] = False,
) -> None:
    """Run a sweep, or go on with one that was cut off.

    Every accepted pruning step of every trial is a candidate for the front. Stop it at any time
    with Ctrl-C: what is finished is kept, and the same command goes on from there.

    Example: rfprune sweep sweeps/digits.yml --trials 50
    """
    from rfprune.cli.common import check_writable, read_sweep_file, writing

    if attach:
        _watch(sweep, runs)
        return
    if trials is not None:
        overrides = [*(overrides or []), f"trials={trials}"]
    target = read_sweep_file(sweep, runs, overrides)
    check_writable(target.folder.path)
    known = _look_ahead(target)
    if fresh:
        _begin_anew(target)
    with writing(target.folder.path):
        outcome = _run(target, known, address, track)
    _finish(target, outcome)


def _watch(name: str, runs: Path) -> None:
    """Show a sweep's progress until its driver ends."""
    from rfprune.cli.common import open_sweep, runs_option, say, stderr
    from rfprune.search.attach import attach
    from rfprune.search.progress import Display

    folder = open_sweep(name, runs)
    spec = folder.spec()
    done = sum(1 for trial in folder.trials() if (trial.path / "result.json").exists())
    with Display(spec, done=done, console=stderr()) as display:
        counts = attach(folder, display)
    say(f"{counts.complete} of {spec.trials} trials complete, {counts.failed} failed.")
    if counts.complete < spec.trials:
        named = f"{folder.path.name}{runs_option(folder.path.parent)}"
        say(f"The sweep does not run any more. To go on: rfprune sweep {named}", stderr())


def _look_ahead(target: Target) -> Outlook:
    """Check everything that can be known before anything is written."""
    from rfprune.cli.common import naming, stderr
    from rfprune.search.outlook import outlook

    with stderr().status("Checking the sweep ..."), naming(target.source, target.spec.name):
        return outlook(target.spec, target.base_dir)


def _begin_anew(target: Target) -> None:
    from rfprune.cli.common import say, stderr
    from rfprune.search.study import set_aside

    aside = set_aside(target.spec, target.folder)
    if aside is not None:
        say(f"The earlier run is kept in {aside}.", stderr())


def _run(target: Target, known: Outlook, address: str | None, track: bool) -> SweepOutcome:
    from rfprune.cli.common import stderr
    from rfprune.cli.tracking import Tracking
    from rfprune.search.drive import run_sweep
    from rfprune.search.progress import Display, SweepEvent

    # Told with the first event: until then the sweep may still be refused, in one sentence.
    begin = functools.cache(lambda: _introduce(target, known))
    finished = sum(1 for t in target.folder.trials() if (t.path / "result.json").exists())
    with (
        Tracking(target.folder, active=track) as tracking,
        Display(target.spec, done=finished, console=stderr()) as display,
    ):

        def listen(event: SweepEvent) -> None:
            begin()
            display(event)
            tracking(event)

        return run_sweep(
            target.spec,
            target.folder,
            known.sizes,
            base_dir=target.base_dir,
            progress=listen,
            address=address,
            reference_point=known.reference_point,
        )


def _introduce(target: Target, known: Outlook) -> None:
    from rfprune.cli.common import note, say, stderr

    console = stderr()
    for text in known.notes:
        note(text, console)
    say(
        f"Sweep '{target.spec.name}': {target.spec.trials} trials into {target.folder.path}. "
        f"Sampler: {known.sampler}.",
        console,
    )


def _finish(target: Target, outcome: SweepOutcome) -> None:
    """Print the front and the next commands, and exit with the status that fits."""
    from rfprune.cli.common import commands, say, stderr, stdout
    from rfprune.front import budget_table, front_table, read_front
    from rfprune.search import importance_table, importances

    console = stdout()
    front = read_front(target.folder)
    if front.points:
        console.print(front_table(front, console.width), budget_table(front, console.width))
    if shares := importances(target.folder):
        console.print(importance_table(shares, console.width))
    counts = outcome.counts
    say(
        f"{counts.complete} of {outcome.wanted} trials complete, {_others(counts)}"
        f"{outcome.seconds:.0f} s.",
        console,
    )
    if outcome.interrupted:
        say(f"Interrupted. To go on: rfprune sweep {_named(target)}", stderr())
        sys.exit(130)
    if front.points:
        commands(_next(target, front))
    if outcome.gave_up:
        say(f"rfprune: the sweep ended early: {outcome.gave_up}", stderr())
    elif outcome.exhausted and counts.done < outcome.wanted:
        say("Every point of the search space has been tried.", console)
    if not outcome.reached:
        raise typer.Exit(1)


def _others(counts: Counts) -> str:
    """Return the trials that are not complete, by what became of them."""
    kinds = {
        "dominated by others": counts.dominated,
        "with a budget out of reach": counts.unreachable,
        "cut off": counts.cut_off,
        "failed": counts.failed,
    }
    return "".join(f"{n} {kind}, " for kind, n in kinds.items() if n or kind == "failed")


def _named(target: Target) -> str:
    """Return the sweep as it is typed after a command."""
    from rfprune.cli.common import runs_option

    return f"{target.spec.name}{runs_option(target.folder.path.parent)}"


def _above(value: float) -> str:
    """Return a short number that is not below `value`: whole, or of three digits if it is small."""
    if value >= 10 or value <= 0:
        return str(math.ceil(value))
    digit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / digit) * digit:.3g}"


def _next(target: Target, front: Front) -> list[str]:
    from rfprune.front.front import main_cost

    name, where = target.spec.name, _named(target)
    cost = main_cost(front)
    known = sorted(value for p in front.points if (value := p.metrics.get(cost)) is not None)
    # Within the middle one of the front's costs there is always a point.
    limit = f" --where '{cost}<={_above(known[(len(known) - 1) // 2])}'" if known else ""
    return [
        f"rfprune pareto {where} --html front.html",
        f"rfprune export {where}{limit} --max accuracy --out export/{name}",
        "rfprune ui",
        f"rfprune sweep {where} --trials {2 * target.spec.trials}",
    ]
