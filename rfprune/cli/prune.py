"""``rfprune prune``: one trial without a search."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import JsonOption, RunsOption, SetOption

if TYPE_CHECKING:
    from rich.table import Table

    from rfprune.runs import StepRecord, TrialFolder, TrialResult
    from rfprune.spec import TrialSpec

__all__ = ["prune"]

_SHOWN = (
    "val_accuracy",
    "dsp",
    "latency_cycles",
    "accuracy",
    "bram18",
    "lut",
    "ff",
    "ii_cycles",
    "sparsity",
)
_SHOWN_ON_EDGE = (
    "val_accuracy",
    "energy_mj",
    "inference_ms",
    "accuracy",
    "power_mw",
    "macs",
    "parameters",
    "kernel_sparsity",
    "sparsity",
)


def prune(
    trial: Annotated[
        Path, typer.Argument(metavar="TRIAL.yml", help="A trial file.", show_default=False)
    ],
    overrides: SetOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew; the old run is moved aside, not deleted.")
    ] = False,
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Prune one network, without a search.

    A trial that was cut off goes on from its last accepted step.

    Example: rfprune prune jets.yml --set prune.budget.dsp=0.2
    """
    from rfprune.cli.common import check_writable, naming, print_json, writing
    from rfprune.errors import SpecError
    from rfprune.runs import TrialFolder
    from rfprune.spec import TrialSpec
    from rfprune.spec.files import apply_override, parse_spec, read_yaml
    from rfprune.trial import prepare_any, run_trial

    values, base_dir = read_yaml(trial), trial.parent.resolve()
    if "search" in values:
        raise SpecError(f"{trial}: is a sweep file, with a search. Use: rfprune sweep {trial}")
    for text in overrides or []:
        apply_override(values, text, TrialSpec)
    spec = parse_spec(TrialSpec, values, str(trial))
    home = runs / trial.stem
    folder = TrialFolder(home / "trials" / "0000")
    check_writable(home)
    if not fresh:
        _refuse_other_spec(home, folder, spec)
    with naming(str(trial), trial.stem):
        prepare_any(spec, base_dir)
    _make_home(home, base_dir, fresh)
    with writing(home):
        result = run_trial(
            spec,
            folder,
            dense_dir=home / "dense",
            base_dir=base_dir,
            on_step=None if as_json else _say_step,
        )
    if as_json:
        steps = [step.model_dump(mode="json") for step in folder.steps()]
        print_json({**result.as_json(), "steps": steps})
    else:
        _report(folder, result)


def _report(folder: TrialFolder, result: TrialResult) -> None:
    from rfprune.cli.common import commands, note, say, stdout

    console = stdout()
    console.print(_table(folder.steps(), console.width))
    say(f"Pruning ended: {result.stopped}. Folder: {folder.path}", console)
    for text in result.notes:
        note(text, console)
    path, out = shlex.quote(str(folder.path)), shlex.quote(f"export/{folder.home.name}")
    further = [] if folder.spec().edge is not None else [f"rfprune estimate {path}"]
    commands([f"rfprune export {path} --out {out}", *further])


def _make_home(home: Path, base_dir: Path, fresh: bool) -> None:
    """Make the trial's folder; a fresh start moves the earlier one aside.

    Raises:
        RunsError: it cannot be written.
    """
    from rfprune.cli.common import say, stderr
    from rfprune.errors import RunsError
    from rfprune.runs.files import write_json
    from rfprune.search.study import free_name

    try:
        if fresh and home.exists():
            aside = home.rename(free_name(home))
            say(f"The earlier run is kept in {aside}.", stderr())
        write_json(home / "trial.json", {"base_dir": str(base_dir)})
    except OSError as error:
        raise RunsError(f"{home}: cannot be written ({error.strerror}).") from None


def _refuse_other_spec(home: Path, folder: TrialFolder, spec: TrialSpec) -> None:
    """Raise if the folder belongs to something else: its steps would be mixed with these."""
    from rfprune.errors import RunsError
    from rfprune.spec.files import changes

    way_out = (
        "Use --fresh (the old run is moved aside), another --runs folder, or another file name."
    )
    if (home / "sweep.json").exists():
        raise RunsError(f"{home}: holds a sweep of the same name. {way_out}")
    if not (folder.path / "spec.json").exists():
        return
    changed = changes(folder.spec().canonical(), spec.canonical())
    if changed:
        raise RunsError(
            f"{folder.path}: holds a trial with other settings: {'; '.join(changed)}. {way_out}"
        )


def _say_step(step: StepRecord) -> None:
    from rfprune.cli.common import say, stderr
    from rfprune.front.labels import number

    cost = "dsp" if step.energy_mj is None else "energy_mj"
    amount = number(cost, step.metrics()[cost])
    verdict = "accepted" if step.accepted else "rejected"
    say(
        f"step {step.step}: {verdict}, val_accuracy {step.val_accuracy:.4f}, {cost} {amount} "
        f"({step.seconds:.1f} s)",
        stderr(),
    )


def _table(steps: list[StepRecord], width: int) -> Table:
    from rfprune.front.labels import number
    from rfprune.tables import Column, make_table

    columns = [
        Column("step", [str(step.step) for step in steps], needed=True),
        Column("accepted", ["yes" if step.accepted else "no" for step in steps], needed=True),
    ]
    on_edge = any(step.energy_mj is not None for step in steps)
    for name in _SHOWN_ON_EDGE if on_edge else _SHOWN:
        cells = [number(name, step.metrics()[name]) for step in steps]
        columns.append(Column(name, cells))
    return make_table(columns, width)
