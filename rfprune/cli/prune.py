"""``rfprune prune``: one trial without a search."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import JsonOption, RunsOption, SetOption
from rfprune.core.quantities import COMMON

if TYPE_CHECKING:
    from rich.table import Table

    from rfprune.results import StepRecord, TrialFolder, TrialResult
    from rfprune.spec import TrialSpec

__all__ = ["prune"]


def prune(
    trial: Annotated[
        Path, typer.Argument(metavar="TRIAL.yml", help="A trial file.", show_default=False)
    ],
    overrides: SetOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; the old run is moved aside, not deleted.")
    ] = False,
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Prune one network, without a search.

    A trial that was cut off resumes from its last accepted step.

    Example: rfprune prune jets.yml --set prune.budget.dsp=0.2
    """
    from rfprune.api.given import Given
    from rfprune.api.running import Teller, run_trial_file
    from rfprune.cli.common import print_json, say, stderr
    from rfprune.errors import SpecError
    from rfprune.spec import TrialSpec
    from rfprune.spec.yaml_files import apply_override, parse_spec, read_yaml

    values, base_dir = read_yaml(trial), trial.parent.resolve()
    if "search" in values:
        raise SpecError(f"{trial}: is a sweep file, with a search. Use: rfprune sweep {trial}")
    for text in overrides or []:
        apply_override(values, text, TrialSpec)
    spec = parse_spec(TrialSpec, values, str(trial))
    folder, result = run_trial_file(
        spec,
        runs / trial.stem,
        Given(values, base_dir),
        str(trial),
        fresh=fresh,
        teller=Teller(say=lambda text: say(text, stderr())),
        on_step=None if as_json else _step_teller(spec),
    )
    if as_json:
        steps = [step.model_dump(mode="json") for step in folder.steps()]
        print_json({**result.as_json(), "steps": steps})
    else:
        _report(folder, result)


def _report(folder: TrialFolder, result: TrialResult) -> None:
    from rfprune.cli.common import commands, note, say, stdout

    console = stdout()
    spec = folder.spec()
    console.print(_table(spec, folder.steps(), console.width))
    say(f"Pruning ended: {result.stopped}. Folder: {folder.path}", console)
    for text in result.notes:
        note(text, console)
    path, out = shlex.quote(str(folder.path)), shlex.quote(f"export/{folder.home.name}")
    # Estimates of resources are for what has them.
    further = [f"rfprune estimate {path}"] if "lut" in spec.target.resources else []
    commands([f"rfprune export {path} --out {out}", *further])


def _step_teller(spec: TrialSpec) -> Callable[[StepRecord], None]:
    """Return what says one line per step."""
    from rfprune.cli.common import say, stderr
    from rfprune.results.labels import number

    quantities, score, cost = spec.quantities(), spec.task.score_name, spec.target.cost

    def tell(step: StepRecord) -> None:
        values = step.metrics()
        # A score of the user's own has no entry: its direction does not matter for a number.
        shown = number(quantities.get(score, COMMON[0]), values[score])
        amount = number(quantities[cost], values[cost])
        verdict = "accepted" if step.accepted else "rejected"
        say(
            f"step {step.step}: {verdict}, {score} {shown}, {cost} {amount} ({step.seconds:.1f} s)",
            stderr(),
        )

    return tell


def _table(spec: TrialSpec, steps: list[StepRecord], width: int) -> Table:
    from rfprune.core.tables import Column, make_table
    from rfprune.results.labels import number

    quantities, score = spec.quantities(), spec.task.score_name
    columns = [
        Column("step", [str(step.step) for step in steps], needed=True),
        Column("accepted", ["yes" if step.accepted else "no" for step in steps], needed=True),
    ]
    first, *others = spec.target.shown
    metrics = [q.name for q in spec.task.quantities()]
    for name in dict.fromkeys([score, first, *metrics, *others]):
        quantity = quantities.get(name, COMMON[0])
        cells = [number(quantity, step.metrics().get(name)) for step in steps]
        columns.append(Column(name, cells))
    return make_table(columns, width)
