"""``rfprune export``: the best model that meets the conditions, as a folder of its own."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import OutOption, RunCodeOption, RunsOption
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from rfprune.exporting import Exported, Request
    from rfprune.results import Front, Ranking
    from rfprune.spec import Condition

__all__ = ["export"]


WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="EXPR",
        help="Condition that the point must meet, e.g. 'dsp<=60'; may be repeated.",
    ),
]
RowsOption = Annotated[
    int | None,
    typer.Option(
        "--rows",
        min=0,
        help="Test rows for the C++ simulation; 0 skips it; default: 1000, or 100 for networks "
        "with convolutions.",
    ),
]
MaxOption = Annotated[
    str | None,
    typer.Option("--max", metavar="METRIC", help="Take the point with the largest METRIC."),
]
MinOption = Annotated[
    str | None,
    typer.Option("--min", metavar="METRIC", help="Take the point with the smallest METRIC."),
]
KneeOption = Annotated[
    bool, typer.Option("--knee", help="Take the compromise between all objectives.")
]
TrialOption = Annotated[
    int | None,
    typer.Option("--trial", min=0, metavar="N", help="Take the best step of this trial."),
]
StepOption = Annotated[
    int | None,
    typer.Option("--step", min=0, metavar="N", help="Take this pruning step; 0 is dense."),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Export even if the C++ disagrees with torch.")
]
RegisterOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Also register the network in MLflow under this name."),
]
FoldOption = Annotated[
    bool,
    typer.Option(
        "--fold-scaling",
        help="Put the scaling of the inputs into the first layer: then the C++ too takes raw rows.",
    ),
]
LargerOption = Annotated[
    bool,
    typer.Option("--allow-larger", help="Also take networks that do not fit the part."),
]


def export(
    sweep: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP", help="A sweep, or the folder of one trial.", show_default=False
        ),
    ],
    out: OutOption,
    where: WhereOption = None,
    maximize: MaxOption = None,
    minimize: MinOption = None,
    knee: KneeOption = False,
    trial: TrialOption = None,
    step: StepOption = None,
    allow_larger: LargerOption = False,
    rows: RowsOption = None,
    force: ForceOption = False,
    fold_scaling: FoldOption = False,
    register: RegisterOption = None,
    run_code: RunCodeOption = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Write the best model that meets the conditions: weights, masks, HLS project, proof, report.

    Without --max, --min or --knee this is the pruned network of the best score that fits the part,
    or the last accepted step of a single trial. Test rows are never used to select: where a metric
    M is named, val_M decides.

    What is exported takes raw rows; the C++ takes them scaled, unless --fold-scaling is given.

    Example: rfprune export digits --where 'dsp<=60' --max accuracy --out best
    """
    from rfprune.cli.common import say
    from rfprune.core.own_code import allowing_code
    from rfprune.exporting import Request
    from rfprune.results import choose, front_png
    from rfprune.tracking import check_model_name, load_config, register_model

    ranking = _ranking(maximize, minimize, knee)
    if register is not None:
        check_model_name(register)  # now: the export takes minutes
    config = None if register is None else load_config()
    front, usual = _front(sweep, runs)
    picked = [f"{name}=={n}" for name, n in (("trial", trial), ("step", step)) if n is not None]
    conditions = [_condition(text, front.view.quantities) for text in [*(where or []), *picked]]
    choice = choose(front, conditions, ranking or usual, allow_larger=allow_larger)
    say(choice.explanation)
    chosen, why = choice.candidate, choice.explanation
    folder, picture = front.view.folder.trial(chosen.trial), front_png(front, chosen)
    with allowing_code(run_code):
        request = Request(folder, chosen.step, out, why, picture, rows, force, fold_scaling)
        exported = _write(request)
    _report(exported)
    if register is not None and config is not None:
        # The network has just been built by the function that its sweep file names.
        version = register_model(exported.out, register, config, run_code=True)
        alias = config.registry.alias
        say(f"Registered as '{register}' version {version}, alias {alias}. To load it:")
        say(f"  mlflow.pyfunc.load_model('models:/{register}@{alias}')")


def _write(request: Request) -> Exported:
    """Export, with a line that says what is being done: the C++ takes up to minutes to compile."""
    from rfprune.cli.common import stderr
    from rfprune.exporting import export

    with stderr().status("exporting") as status:
        return export(request, say=lambda text: status.update(f"{text} ..."))


def _front(name: str, runs: Path) -> tuple[Front, Ranking]:
    """Return the front of a sweep, or of one trial's steps, and what decides if nobody says."""
    from rfprune.cli.common import open_sweep
    from rfprune.results import Ranking, TrialFolder, build_front, read_front, read_single

    path = Path(name)
    # `rfprune prune` leaves a run folder with one trial, and trial.json in place of sweep.json.
    homes = [home for home in (path, runs / name) if (home / "trial.json").exists()]
    for folder in (path, *(home / "trials" / "0000" for home in homes)):
        if (folder / "steps.jsonl").exists():
            return build_front(read_single(TrialFolder(folder))), Ranking("last")
    return read_front(open_sweep(name, runs)), Ranking()


def _condition(text: str, known: Collection[str]) -> Condition:
    from rfprune.spec import parse_condition

    try:
        return parse_condition(text, known)
    except ValueError as error:
        raise SpecError(f"--where: {error}.") from None


def _ranking(maximize: str | None, minimize: str | None, knee: bool) -> Ranking | None:
    from rfprune.results import Ranking

    given = {"--max": maximize, "--min": minimize, "--knee": knee}
    asked = [name for name, value in given.items() if value]
    if len(asked) > 1:
        raise SpecError(f"{' and '.join(asked)} cannot be combined; give one of them.")
    if knee:
        return Ranking("knee")
    if maximize:
        return Ranking("max", maximize)
    return Ranking("min", minimize) if minimize else None


def _report(exported: Exported) -> None:
    from rfprune.cli.common import say

    for fact in exported.facts:
        say(fact)
    say(f"Written: {exported.out} (begin with {exported.out / 'report.html'})")
