"""``rfprune estimate``: resources and latency of a design file, a trial or a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from rfprune.cli.common import JsonOption
from rfprune.errors import SpecError

__all__ = ["estimate"]

N = TypeVar("N", int, float)
Target = Annotated[
    Path,
    typer.Argument(
        metavar="TARGET",
        help="A design file, the folder of a trial or one of its .pt files, or an exported folder; "
        "with --by yosys or nextpnr also one in which a vendor's HLS has run.",
        show_default=False,
    ),
]
ReuseFactors = Annotated[
    str | None,
    typer.Option("--reuse-factor", metavar="1,2,4", help="What if: of every layer."),
]
Clocks = Annotated[
    str | None, typer.Option("--clock", metavar="2,5", help="What if: clock periods in ns.")
]
Parts = Annotated[
    str | None, typer.Option("--part", metavar="A,B", help="What if: parts or boards.")
]
Plot = Annotated[Path | None, typer.Option("--png", help="What if: write a plot with error bars.")]


def estimate(
    target: Target,
    by: Annotated[str, typer.Option(help="Estimator; see 'rfprune list estimators'.")] = "analytic",
    step: Annotated[
        int | None, typer.Option(help="Step of a trial; default: the last accepted one.")
    ] = None,
    run_code: Annotated[
        bool, typer.Option("--run-code", help="Run functions that the folder names.")
    ] = False,
    reuse_factor: ReuseFactors = None,
    clock: Clocks = None,
    part: Parts = None,
    png: Plot = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate DSP, BRAM, LUT, FF, latency and initiation interval, without a vendor tool.

    Every figure of the analytic estimator has an interval that holds nine of ten designs of other
    people. With lists of reuse factors, clocks or parts it prints one row for each combination.
    --by yosys synthesises RTL, --by nextpnr places and routes it on an ECP5: that of an export of
    graphs of adders, or of a vendor's HLS (syn/verilog). What was measured before comes from the
    cache.

    Example: rfprune estimate design.yml --reuse-factor 1,4,16 --clock 2.5,5 --png what_if.png
    """
    from rfprune.api.estimating import check_by, estimate_target
    from rfprune.cli.common import naming, print_json, stderr, stdout
    from rfprune.core.own_code import allowing_code
    from rfprune.core.progress import saying
    from rfprune.fpga.estimators.estimate_table import table

    lists = {"--reuse-factor": reuse_factor, "--clock": clock, "--part": part}
    if png is not None or any(text is not None for text in lists.values()):
        _what_if(target, by, step, run_code, lists, png, as_json)
        return
    check_by(by)
    with (
        naming(str(target), "design"),
        allowing_code(run_code),
        # Tools that place and route take minutes.
        stderr().status("estimating") as status,
        saying(lambda text: status.update(f"{text} ...")),
    ):
        found, device = estimate_target(target, by, step, run_code)
    if as_json:
        print_json(found.to_json(device))
    else:
        console = stdout()
        console.print(table(found, device, console.width))


def _what_if(
    target: Path,
    by: str,
    step: int | None,
    run_code: bool,
    lists: dict[str, str | None],
    png: Path | None,
    as_json: bool,
) -> None:
    from rfprune.api.estimating import design_of_target
    from rfprune.cli.common import check_writable, naming, print_json, stdout
    from rfprune.core.own_code import allowing_code
    from rfprune.fpga.estimators.what_if import draw, what_if, what_if_table

    if by != "analytic":
        raise SpecError(f"--by {by}: lists are for the analytic estimator. Allowed: no --by.")
    if png is not None:
        check_writable(png)
    parts = [name for name in (lists["--part"] or "").split(",") if name.strip()]
    factors = _numbers("--reuse-factor", lists["--reuse-factor"], int)
    clocks = _numbers("--clock", lists["--clock"], float)
    with naming(str(target), "design"), allowing_code(run_code):
        design = design_of_target(target, step, run_code)
    points = what_if(design, factors, clocks, [name.strip() for name in parts])
    if png is not None:
        draw(points, png)
    if as_json:
        print_json([point.to_json() for point in points])
    else:
        console = stdout()
        console.print(what_if_table(points, console.width))


def _numbers(option: str, text: str | None, kind: type[N]) -> list[N]:
    """Return the positive numbers of a list like ``1,2,4``."""
    numbers = []
    for word in (text or "").split(","):
        if not word.strip():
            continue
        try:
            number = kind(word)
        except ValueError:
            number = kind(0)
        if not 0 < number < float("inf"):
            what = "whole numbers of 1 and more" if kind is int else "numbers above 0"
            raise SpecError(f"{option}: '{word.strip()}'. Allowed: {what}, separated by commas.")
        numbers.append(number)
    return numbers
