"""``rfprune estimate``: resources and latency of a design file, a trial or a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import JsonOption
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from rfprune.estimate import Estimate
    from rfprune.hardware.parts import Part

__all__ = ["estimate"]


def estimate(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET",
            help="A design file, the folder of a trial or one of its .pt files, or an exported "
            "folder.",
            show_default=False,
        ),
    ],
    by: Annotated[str, typer.Option(help="Estimator; see 'rfprune list estimators'.")] = "analytic",
    step: Annotated[
        int | None, typer.Option(help="Step of a trial; its last accepted one if not given.")
    ] = None,
    run_code: Annotated[
        bool, typer.Option("--run-code", help="Run the function that builds an exported network.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Estimate DSP, BRAM, LUT, FF, latency and initiation interval, without a vendor tool.

    Example: rfprune estimate design.yml --json
    """
    from rfprune.cli.common import naming, print_json, stdout
    from rfprune.estimate import ESTIMATORS
    from rfprune.estimate.table import table
    from rfprune.registry import importable

    with importable():
        ESTIMATORS.load(by)
    with naming(str(target), "design"):
        found, part = _estimate(target, by, step, run_code)
    if as_json:
        print_json(found.to_json(part))
    else:
        console = stdout()
        console.print(table(found, part, console.width))


def _estimate(target: Path, by: str, step: int | None, run_code: bool) -> tuple[Estimate, Part]:
    from rfprune.estimate import estimate as run
    from rfprune.estimate.design import parse_design
    from rfprune.spec.files import read_yaml

    target, step = _folder_of(target, step)
    if target.is_dir():
        from rfprune.export.estimating import estimate_folder

        return estimate_folder(target, by, step, run_code)
    if target.suffix not in (".yml", ".yaml", ".json"):
        fault = "is nothing that can be estimated" if target.exists() else "no such file or folder"
        raise SpecError(
            f"{target}: {fault}. Allowed: a design file (.yml, .yaml, .json), the folder of a "
            "trial, or a folder made by 'rfprune export'."
        )
    if step is not None:
        raise SpecError(f"--step {step}: {target} is a design file, which has no steps.")
    values = read_yaml(target)
    if "model" in values:
        raise SpecError(
            f"{target}: is a sweep or trial file (it names a model). What its dense network costs "
            f"tells 'rfprune check {target}'; an estimate needs a design file or a folder."
        )
    design = parse_design(values, str(target))
    return run(design, by), design.device


def _folder_of(target: Path, step: int | None) -> tuple[Path, int | None]:
    """Return the folder that says what hardware a saved network is for, and the network's step."""
    if target.suffix != ".pt":
        return target, step
    if target.parent.name == "steps" and target.stem.isdigit():
        return target.parent.parent, int(target.stem)
    return (target.parent if target.name == "model.pt" else target), step
