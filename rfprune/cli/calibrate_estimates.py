"""``rfprune calibrate``: the user's own synthesis reports make later estimates better."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfprune.cli.common import JsonOption
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from rfprune.fpga.estimators.design import Design

__all__ = ["calibrate"]

_DESIGN_FILES = ("design.yml", "design.yaml", "design.json")


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
    from rfprune.cli.common import print_json, say
    from rfprune.core.own_code import allowing_code
    from rfprune.fpga.estimators import calibration

    if forget:
        number = calibration.forget()
        say(f"{number} designs forgotten: {calibration.calibration_file()}.")
        return
    with allowing_code(run_code):
        rows = [_row(folder, run_code) for folder in _folders(reports or [])]
    calibration.remember(rows)
    families = dict.fromkeys(row["family"] for row in rows)
    found = {name: calibration.corrections(calibration.kept(), name) for name in families}
    if as_json:
        shown = {
            name: {q: {"factor": factor, "designs": n} for q, (factor, n) in own.items()}
            for name, own in found.items()
        }
        path = str(calibration.calibration_file())
        print_json({"file": path, "read": rows, "corrections": shown})
        return
    say(f"{len(rows)} designs read; kept in {calibration.calibration_file()}.")
    for name, own in found.items():
        factors = ", ".join(f"{q} x {factor:.2f} ({n})" for q, (factor, n) in own.items())
        say(f"{name}: {factors}")


def _folders(given: list[Path]) -> Iterator[Path]:
    """Yield the folders that hold a design, each once.

    Raises:
        SpecError: nothing is given, no such folder, or one without a design.
    """
    if not given:
        raise SpecError(
            "calibrate: no reports are given. Allowed: folders that hold a design file "
            "(design.yml) or an exported network with the tools' reports below, or --forget."
        )
    seen: set[Path] = set()
    for path in given:
        if not path.is_dir():
            fault = "is a file" if path.exists() else "no such folder"
            raise SpecError(
                f"{path}: {fault}. Allowed: a folder with a design file (design.yml) or an "
                "exported network, and the tools' reports below."
            )
        named = [p.parent for name in (*_DESIGN_FILES, "spec.json") for p in path.rglob(name)]
        if not named:
            raise SpecError(
                f"{path}: holds no design. Allowed: a design file ({', '.join(_DESIGN_FILES)}) "
                "or an exported network beside the reports."
            )
        for folder in sorted(set(named)):
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield folder


def _row(folder: Path, run_code: bool) -> dict[str, Any]:
    """Return what is kept of one design and its reports."""
    from rfprune.fpga.estimators.analytic import estimate_many
    from rfprune.fpga.estimators.calibration import measured
    from rfprune.fpga.estimators.families import family
    from rfprune.fpga.estimators.layer_columns import tool_of

    design = _design(folder, run_code)
    said = measured(design, folder)
    table = estimate_many([design])
    values = {name: float(column[0]) for name, column in table.total.items()}
    values |= {
        "latency_cycles": float(table.latency_cycles[0]),
        "ii_cycles": float(table.ii_cycles[0]),
    }
    return {
        "design": design.name,
        "reports": str(folder.resolve()),
        "family": family(design),
        "tool": " ".join(map(str, tool_of(design))),
        "ratios": {q: [round(values[q], 3), value] for q, value in said.items()},
    }


def _design(folder: Path, run_code: bool) -> Design:
    from rfprune.fpga.estimating import design_of_folder
    from rfprune.fpga.estimators.design import parse_design
    from rfprune.spec.yaml_files import read_yaml

    for name in _DESIGN_FILES:
        path = folder / name
        if path.is_file():
            return parse_design(read_yaml(path), str(path))
    return design_of_folder(folder, None, run_code)
