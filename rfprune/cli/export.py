"""``rfprune export``: the best model that meets the conditions, as a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import RunsOption
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from rfprune.export import EdgeExported, Exported, Request
    from rfprune.front import Front, Ranking
    from rfprune.spec import Condition

__all__ = ["export"]


def export(
    sweep: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP", help="A sweep, or the folder of one trial.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help="Condition, e.g. 'dsp<=60'; repeatable."),
    ] = None,
    maximize: Annotated[
        str | None, typer.Option("--max", metavar="METRIC", help="Take the largest.")
    ] = None,
    minimize: Annotated[
        str | None, typer.Option("--min", metavar="METRIC", help="Take the smallest.")
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=0, help="Test rows for the C++ simulation; 0 leaves it out."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Export although the simulation disagrees.")
    ] = False,
    register: Annotated[
        str | None, typer.Option(metavar="NAME", help="Also register the model in MLflow.")
    ] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Write the best model that meets the conditions: weights, masks, HLS project, proof, report.

    Without --max or --min the knee of the front is taken. Test accuracy never selects: where
    'accuracy' is named, val_accuracy decides.

    Example: rfprune export digits --where 'dsp<=60' --max accuracy --out best
    """
    from rfprune.cli.common import say
    from rfprune.export import Request
    from rfprune.front import choose, front_png
    from rfprune.tracking import check_model_name, load_config, register_model

    ranking = _ranking(maximize, minimize)
    conditions = [_condition(text) for text in where or []]
    if register is not None:
        check_model_name(register)
    config = None if register is None else load_config()
    front = _front(sweep, runs)
    choice = choose(front, conditions, ranking)
    say(choice.explanation)
    trial = front.view.folder.trial(choice.candidate.trial)
    picture = front_png(front, choice.candidate)
    exported = _write(
        Request(trial, choice.candidate.step, out, choice.explanation, picture, rows, force)
    )
    _report(exported)
    if register is not None and config is not None:
        version = register_model(exported.out, register, config)
        say(f"Registered as '{register}' version {version}, alias {config.registry.alias}.")


def _write(request: Request) -> Exported | EdgeExported:
    """Export, and say what takes so long."""
    from rfprune.cli.common import stderr
    from rfprune.export import export, export_edge

    write = export if request.trial.spec().edge is None else export_edge

    with stderr().status("exporting") as status:
        return write(request, say=lambda text: status.update(f"{text} ..."))


def _front(name: str, runs: Path) -> Front:
    """Return the front of a sweep, or of one trial's steps."""
    from rfprune.cli.common import open_sweep
    from rfprune.front import build_front, read_front, read_single
    from rfprune.runs import TrialFolder

    path = Path(name)
    singles = [home / "trials" / "0000" for home in (path, runs / name) if _is_single(home)]
    for folder in (path, *singles):
        if (folder / "steps.jsonl").exists():
            return build_front(read_single(TrialFolder(folder)))
    return read_front(open_sweep(name, runs))


def _is_single(home: Path) -> bool:
    """Return whether a run folder is that of ``rfprune prune``."""
    return (home / "trial.json").exists()


def _condition(text: str) -> Condition:
    from rfprune.spec import parse_condition

    try:
        return parse_condition(text)
    except ValueError as error:
        raise SpecError(f"--where: {error}.") from None


def _ranking(maximize: str | None, minimize: str | None) -> Ranking:
    from rfprune.front import Ranking

    if maximize and minimize:
        raise SpecError("--max and --min exclude each other; give one.")
    if maximize:
        return Ranking("max", maximize)
    return Ranking("min", minimize) if minimize else Ranking()


def _report(exported: Exported | EdgeExported) -> None:
    from rfprune.cli.common import say

    for fact in exported.facts():
        say(fact)
    say(f"Written: {exported.out} (begin with {exported.out / 'report.html'})")
