"""``rfprune sweep``: run a sweep, or go on with one that was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import RunsOption, SetOption, SweepArgument

if TYPE_CHECKING:
    from rfprune.cli.common import Target
    from rfprune.search.drive import SweepOutcome

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
        typer.Option(help="Ray cluster to run on; this machine if not given.", show_default=False),
    ] = None,
    track: Annotated[bool, typer.Option(help="Write to MLflow, as mlflow.yml says.")] = True,
) -> None:
    """Run a sweep, or go on with one that was cut off.

    Every accepted pruning step of every trial is a candidate for the front. Stop it at any time
    with Ctrl-C: what is finished is kept, and the same command goes on from there.

    Example: rfprune sweep sweeps/digits.yml --trials 50
    """
    from rfprune.cli.common import read_sweep_file, stderr
    from rfprune.search.study import set_aside

    if trials is not None:
        overrides = [*(overrides or []), f"trials={trials}"]
    name = _source_of(sweep, runs) if fresh else sweep
    target = read_sweep_file(name, runs, overrides)
    if fresh and (aside := set_aside(target.spec, target.folder)):
        stderr().print(f"The earlier run is kept in {aside}.")
    outcome = _run(target, address, track)
    _finish(target, outcome, sweep)


def _source_of(name: str, runs: Path) -> str:
    """Return the file of a shipped sweep rather than its earlier run, for a fresh start."""
    from rfprune.cli.common import shipped

    builtin = shipped("sweeps") / f"{name}.yml"
    recorded = runs / name / "sweep.json"
    return str(
        builtin
        if builtin.exists() and not Path(name).is_file()
        else recorded
        if recorded.exists()
        else name
    )


def _run(target: Target, address: str | None, track: bool) -> SweepOutcome:
    from rfprune.cli.common import stderr
    from rfprune.cli.tracking import Tracking
    from rfprune.search.drive import run_sweep
    from rfprune.search.outlook import outlook
    from rfprune.search.progress import Display, SweepEvent

    console = stderr()
    with console.status("Checking the sweep ..."):
        known = outlook(target.spec, target.base_dir)
    for note in known.notes:
        console.print(f"[yellow]Note:[/] {note}")
    console.print(
        f"Sweep '{target.spec.name}': {target.spec.trials} trials into {target.folder.path}. "
        f"Sampler: {known.sampler}"
    )
    finished = sum(1 for t in target.folder.trials() if (t.path / "result.json").exists())
    with (
        Tracking(target.folder, active=track) as tracking,
        Display(target.spec, done=finished, console=console) as display,
    ):

        def listen(event: SweepEvent) -> None:
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


def _finish(target: Target, outcome: SweepOutcome, name: str) -> None:
    """Print the front and the next commands, and exit with the status that fits."""
    from rfprune.cli.common import stderr, stdout
    from rfprune.front import budget_table, front_table, read_front

    console = stdout()
    front = read_front(target.folder)
    if front.points:
        console.print(front_table(front))
        console.print(budget_table(front))
    counts = outcome.counts
    console.print(
        f"{counts.complete} of {outcome.wanted} trials complete, {counts.failed} failed, "
        f"{outcome.seconds:.0f} s."
    )
    if outcome.interrupted:
        stderr().print(f"Interrupted. To go on: rfprune sweep {name}")
        raise typer.Exit(130)
    if front.points:
        console.print(_next(target, front.points[0].metrics.get("dsp")))
    if outcome.gave_up:
        stderr().print(f"rfprune: the sweep ended early: {outcome.gave_up}")
    if not outcome.reached:
        raise typer.Exit(1)


def _next(target: Target, dsp: float | None) -> str:
    name, runs = target.spec.name, target.folder.path.parent
    where = "" if runs == Path("runs") else f" --runs {runs}"
    best = f"--where 'dsp<={max(1, round((dsp or 100) / 2))}' --max accuracy"
    return (
        "\nNext:\n"
        f"  rfprune pareto {name}{where} --html front.html     the front as a page\n"
        f"  rfprune export {name}{where} {best} --out export/{name}\n"
        "  rfprune ui                                  compare the trials in MLflow\n"
        f"  rfprune sweep {name}{where} --trials {2 * target.spec.trials}    go on with more trials"
    )
