"""``rfprune prune``: one trial without a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import JsonOption, RunsOption, SetOption

if TYPE_CHECKING:
    from rich.table import Table

    from rfprune.runs import StepRecord, TrialFolder

__all__ = ["prune"]


def prune(
    trial: Annotated[Path, typer.Argument(help="A trial file.", show_default=False)],
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
    from rfprune.cli.common import print_json, stdout
    from rfprune.runs import TrialFolder
    from rfprune.runs.files import write_json
    from rfprune.spec import TrialSpec
    from rfprune.spec.files import apply_override, parse_spec, read_yaml
    from rfprune.trial import prepare, run_trial

    values = read_yaml(trial)
    for text in overrides or []:
        apply_override(values, text, TrialSpec)
    spec = parse_spec(TrialSpec, values, str(trial))
    home = runs / trial.stem
    folder = TrialFolder(home / "trials" / "0000")
    if fresh:
        _set_aside(home)
    _refuse_other_spec(folder, spec)
    prepare(spec, trial.parent.resolve())
    write_json(home / "trial.json", {"base_dir": str(trial.parent.resolve())})
    result = run_trial(
        spec,
        folder,
        dense_dir=home / "dense",
        base_dir=trial.parent.resolve(),
        on_step=None if as_json else _say_step,
    )
    steps = folder.steps()
    if as_json:
        print_json({**result.as_json(), "steps": [step.model_dump(mode="json") for step in steps]})
        return
    console = stdout()
    console.print(_table(steps))
    console.print(f"Pruning ended: {result.stopped}. Folder: {folder.path}")
    for note in result.notes:
        console.print(f"[yellow]Note:[/] {note}")
    console.print(f"\nNext: rfprune export {folder.path} --out export/{trial.stem}")


def _set_aside(home: Path) -> None:
    from rfprune.cli.common import stderr
    from rfprune.search.study import free_name

    if home.exists():
        aside = home.rename(free_name(home))
        stderr().print(f"The earlier run is kept in {aside}.")


def _refuse_other_spec(folder: TrialFolder, spec: object) -> None:
    """Raise if the folder belongs to another trial: its steps would be mixed with these."""
    from rfprune.errors import RunsError

    if (folder.path / "spec.json").exists() and folder.spec() != spec:
        raise RunsError(
            f"{folder.path}: holds a trial with other settings. Use --fresh (the old run is moved "
            "aside), another --runs folder, or another file name."
        )


def _say_step(step: StepRecord) -> None:
    from rfprune.cli.common import stderr

    dsp = "unknown" if step.dsp is None else f"{step.dsp:g}"
    verdict = "accepted" if step.accepted else "rejected"
    stderr().print(
        f"step {step.step}: {verdict}, val_accuracy {step.val_accuracy:.4f}, dsp {dsp} "
        f"({step.seconds:.1f} s)"
    )


def _table(steps: list[StepRecord]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    names = ("val_accuracy", "accuracy", "dsp", "bram18", "lut", "ff", "latency_cycles", "sparsity")
    for name in ("step", *names, "accepted"):
        table.add_column(name, justify="right")
    for step in steps:
        metrics = step.metrics()
        shown = [_number(name, metrics[name]) for name in names]
        table.add_row(str(step.step), *shown, "yes" if step.accepted else "no")
    return table


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4f}" if "accuracy" in name or name == "sparsity" else f"{value:g}"
