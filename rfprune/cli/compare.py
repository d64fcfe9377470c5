"""``rfprune compare``: the fronts of two or more sweeps beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rfprune.cli.common import JsonOption, RunsOption
from rfprune.errors import SpecError

__all__ = ["compare"]


SweepsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SWEEP SWEEP", help="Two sweeps or more; one with --by.", show_default=False
    ),
]
HtmlOption = Annotated[
    Path | None, typer.Option(help="Write the comparison as a page.", show_default=False)
]
PngOption = Annotated[
    Path | None, typer.Option(help="Write the fronts as a picture.", show_default=False)
]
TestOption = Annotated[
    str | None,
    typer.Option(
        metavar="METRIC",
        help="Test whether groups of trials differ in a metric, in place of fronts.",
        show_default=False,
    ),
]
ByOption = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="With --test: the groups are the values of a searched key, e.g. prune.method.",
        show_default=False,
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        metavar="GROUP",
        help="With --test: compare this group with all others; all pairs if not given.",
        show_default=False,
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EXPR",
        help="With --test: what the step of a trial has to meet, e.g. 'dsp<=60'; repeatable.",
        show_default=False,
    ),
]
PairedOption = Annotated[
    bool | None,
    typer.Option(
        "--paired/--unpaired",
        help="With --test: whether trials of equal seed and settings are pairs; found out if "
        "not given.",
        show_default=False,
    ),
]


def compare(
    sweeps: SweepsArgument,
    test: TestOption = None,
    by: ByOption = None,
    against: AgainstOption = None,
    where: WhereOption = None,
    paired: PairedOption = None,
    as_json: JsonOption = False,
    html: HtmlOption = None,
    png: PngOption = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Compare the fronts of sweeps: hypervolumes with a common reference, and who has what.

    Objectives that all of them have are compared. Points that another sweep beats are marked.
    With --test, trials are: differences with intervals, p-values corrected by Holm, effect sizes,
    and what so many trials can show. A trial stands for its last accepted step, or with --where
    for the one of the best validation score that meets the conditions.

    Example: rfprune compare digits digits-pynq-z2 --html compared.html
    Example: rfprune compare akperl_small --test accuracy --by prune.method --against uniform
    """
    if test is not None:
        if html is not None or png is not None:
            raise SpecError("--html and --png show fronts; leave them out with --test.")
        asked = {"metric": test, "by": by, "against": against, "where": where or ()}
        _test(sweeps, runs, as_json, {**asked, "paired": paired})
        return
    if by is not None or against is not None or where or paired is not None:
        raise SpecError("--by, --against, --where and --paired belong to --test METRIC.")
    from rfprune.cli.common import open_sweep, print_json, say, stdout
    from rfprune.results import compare as compared
    from rfprune.results.comparison_text import (
        comparison_html,
        comparison_json,
        comparison_png,
        comparison_summary,
        comparison_table,
        sweeps_table,
    )

    found = compared(*(open_sweep(name, runs) for name in sweeps))
    if html is not None:
        _write(html, comparison_html(found), "html")
    if png is not None:
        _write(png, comparison_png(found), "png")
    if as_json:
        print_json(comparison_json(found))
        return
    console = stdout()
    console.print(comparison_table(found, console.width), sweeps_table(found, console.width))
    for line in comparison_summary(found):
        say(line, console)
    for path in (html, png):
        if path is not None:
            say(f"Written: {path}", console)


def _test(names: list[str], runs: Path, as_json: bool, asked: dict[str, Any]) -> None:
    from rfprune.cli.common import open_sweep, print_json, say, stdout
    from rfprune.results.significance import compare_trials
    from rfprune.results.significance_text import (
        differences_table,
        groups_table,
        significance_json,
        significance_summary,
    )

    found = compare_trials(*(open_sweep(name, runs) for name in names), **asked)
    if as_json:
        print_json(significance_json(found))
        return
    console = stdout()
    console.print(groups_table(found, console.width), differences_table(found, console.width))
    for line in significance_summary(found):
        say(line, console)


def _write(path: Path, content: bytes | str, kind: str) -> None:
    from rfprune.core.files import write_atomic
    from rfprune.errors import RunsError

    if path.is_dir():
        raise RunsError(f"--{kind} {path}: is a folder. Allowed: a file.")
    try:
        write_atomic(path, content)
    except OSError as error:
        raise RunsError(f"--{kind} {path}: cannot be written ({error.strerror}).") from None
