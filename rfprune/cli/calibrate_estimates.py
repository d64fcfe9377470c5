"""``rfprune calibrate``: the user's own synthesis reports make later estimates better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfprune.cli.common import JsonOption

__all__ = ["calibrate"]


def calibrate(
    reports: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="REPORTS...",
            help="Folders with a design file (design.yml) or an exported network, and the reports "
            "of the tools below; or a folder of such folders.",
            show_default=False,
        ),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove what was learnt from your reports.")
    ] = False,
    run_code: Annotated[
        bool, typer.Option("--run-code", help="Run functions that the folder names.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Correct later estimates by your own reports of Vivado HLS, Vitis HLS and Vivado.

    Compares what the reports say with the estimate of the design beside them, and keeps the ratios
    in your own folder. Later estimates of the same family are corrected by their median, drawn
    towards 1 as long as there are few, and say so.

    Example: rfprune calibrate projects/
    """
    from rfprune.api.calibrating import calibrate as read
    from rfprune.cli.common import print_json, say
    from rfprune.fpga.estimators import calibration

    if forget:
        number = calibration.forget()
        say(f"{number} designs forgotten: {calibration.calibration_file()}.")
        return
    found = read(*(reports or []), run_code=run_code)
    if as_json:
        shown = {
            name: {q: {"factor": factor, "designs": n} for q, (factor, n) in own.items()}
            for name, own in found.corrections.items()
        }
        print_json({"file": str(found.file), "read": found.read, "corrections": shown})
        return
    say(f"{len(found.read)} designs read; kept in {found.file}.")
    for name, own in found.corrections.items():
        factors = ", ".join(f"{q} x {factor:.2f} ({n})" for q, (factor, n) in own.items())
        say(f"{name}: {factors}")
