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


WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="EXPR",
        help="Condition that the point must meet, e.g. 'dsp<=60'; repeatable.",
    ),
]
RowsOption = Annotated[
    int | None,
    typer.Option(
        "--rows",
        min=0,
        help="Test rows for the C++ simulation, 0 to leave it out; 1000 if not given, 100 with "
        "convolutions.",
    ),
]


def export(
    sweep: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP", help="A sweep, or the folder of one trial.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make; new or empty.", show_default=False)],
    where: WhereOption = None,
    maximize: Annotated[
        str | None,
        typer.Option("--max", metavar="METRIC", help="Take the point with the largest METRIC."),
    ] = None,
    minimize: Annotated[
        str | None,
        typer.Option("--min", metavar="METRIC", help="Take the point with the smallest METRIC."),
    ] = None,
    rows: RowsOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Export although the C++ disagrees with torch.")
    ] = False,
    register: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also register the network in MLflow under this name."),
    ] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Write the best model that meets the conditions: weights, masks, HLS project, proof, report.

    Without --max or --min it is the knee of a sweep's front, and the last accepted step of a single
    trial. Test accuracy never selects: where 'accuracy' is named, val_accuracy decides.

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
    front, usual = _front(sweep, runs)
    choice = choose(front, conditions, ranking or usual)
    say(choice.explanation)
    trial = front.view.folder.trial(choice.candidate.trial)
    picture = front_png(front, choice.candidate)
    exported = _write(
        Request(trial, choice.candidate.step, out, choice.explanation, picture, rows, force)
    )
    _report(exported)
    if register is not None and config is not None:
        # The network has just been built by the function that its sweep file names.
        version = register_model(exported.out, register, config, run_code=True)
        alias = config.registry.alias
        say(f"Registered as '{register}' version {version}, alias {alias}. To load it:")
        say(f"  mlflow.pyfunc.load_model('models:/{register}@{alias}')")


def _write(request: Request) -> Exported | EdgeExported:
    """Export, and say what takes so long."""
    from rfprune.cli.common import stderr
    from rfprune.export import export, export_edge

    write = export if request.trial.spec().edge is None else export_edge

    with stderr().status("exporting") as status:
        return write(request, say=lambda text: status.update(f"{text} ..."))


def _front(name: str, runs: Path) -> tuple[Front, Ranking]:
    """Return the front of a sweep, or of one trial's steps, and what decides if nobody says."""
    from rfprune.cli.common import open_sweep
    from rfprune.front import Ranking, build_front, read_front, read_single
    from rfprune.runs import TrialFolder

    path = Path(name)
    singles = [home / "trials" / "0000" for home in (path, runs / name) if _is_single(home)]
    for folder in (path, *singles):
        if (folder / "steps.jsonl").exists():
            return build_front(read_single(TrialFolder(folder))), Ranking("last")
    return read_front(open_sweep(name, runs)), Ranking()


def _is_single(home: Path) -> bool:
    """Return whether a run folder is that of ``rfprune prune``."""
    return (home / "trial.json").exists()


def _condition(text: str) -> Condition:
    from rfprune.spec import parse_condition

    try:
        return parse_condition(text)
    except ValueError as error:
        raise SpecError(f"--where: {error}.") from None


def _ranking(maximize: str | None, minimize: str | None) -> Ranking | None:
    from rfprune.front import Ranking

    if maximize and minimize:
        raise SpecError("--max and --min exclude each other; give one.")
    if maximize:
        return Ranking("max", maximize)
    return Ranking("min", minimize) if minimize else None


def _report(exported: Exported | EdgeExported) -> None:
    from rfprune.cli.common import say

    for fact in exported.facts():
        say(fact)
    say(f"Written: {exported.out} (begin with {exported.out / 'report.html'})")
