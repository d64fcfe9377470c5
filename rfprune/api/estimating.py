"""Resources and latency of a network: a module, a design file, the folder of a trial, an export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.api.finding import naming
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from torch import nn

    from rfprune.core.named import InputShape
    from rfprune.fpga.estimators import Estimate
    from rfprune.fpga.estimators.design import Design
    from rfprune.hardware.parts import Part
    from rfprune.spec import HardwareSpec

__all__ = ["check_by", "design_of_target", "estimate", "estimate_target"]


def estimate(
    design: nn.Module | str | Path | Design,
    input_shape: InputShape | None = None,
    *,
    hardware: Mapping[str, Any] | HardwareSpec | None = None,
    by: str = "analytic",
    step: int | None = None,
    run_code: bool = False,
) -> Estimate:
    """Estimate resources (counts), latency and initiation interval (cycles), with intervals.

    Zero weights cost nothing where hls4ml removes them. Example::

        found = rfprune.estimate(net, (8,), hardware={"part": "pynq-z2", "reuse_factor": 4})
        found.total.dsp, found.latency_cycles

    Args:
        design: a torch module, a design file, the folder of a trial or an export, or a `Design`.
        input_shape: of one sample of a module, without the batch axis; by name for several inputs.
        hardware: for a module: as the section ``hardware`` of a sweep file.
        by: name of the estimator; see `rfprune list estimators`.
        step: of a trial's folder; the last accepted one if not given.
        run_code: import functions that a folder from elsewhere names.

    Raises:
        NetworkError: a module that hls4ml cannot take.
        SpecError: a file or section that breaks its schema.
        RunsError: a folder that is neither a trial nor an export.
    """
    from rfprune.core.own_code import allowing_code
    from rfprune.fpga.estimators import estimate as run
    from rfprune.fpga.estimators.design import Design

    check_by(by)
    if isinstance(design, Design):
        return run(design, by)
    if isinstance(design, str | Path):
        with naming(str(design), "design"), allowing_code(run_code):
            return estimate_target(Path(design), by, step, run_code)[0]
    if input_shape is None:
        raise SpecError("estimate: a module needs input_shape, the shape of one sample.")
    return _of_module(design, input_shape, hardware, by)


def _of_module(
    model: nn.Module,
    input_shape: InputShape,
    hardware: Mapping[str, Any] | HardwareSpec | None,
    by: str,
) -> Estimate:
    from rfprune.core.named import plain_shape
    from rfprune.fpga.estimating import estimate_network
    from rfprune.fpga.layers import plan, trace
    from rfprune.spec import HardwareSpec
    from rfprune.spec.yaml_files import parse_spec

    if not isinstance(hardware, HardwareSpec):
        hardware = parse_spec(HardwareSpec, dict(hardware or {}), "estimate: hardware")
    try:
        shape = plain_shape(input_shape)
    except (TypeError, ValueError):
        raise SpecError(
            f"estimate: input_shape is {input_shape!r}; a tuple of whole numbers is allowed, e.g. "
            "(8,), or one by name for each of several inputs."
        ) from None
    planned = plan(trace(model, shape), hardware)
    was_training = model.training
    try:
        return estimate_network(planned, model.eval(), by)
    finally:
        model.train(was_training)


def check_by(by: str) -> None:
    """Raise where the estimator `by` is not known, or cannot run here whatever it is asked.

    It may be a function in a module of the user's, beside where it is called. One that measures RTL
    says itself which tool is missing for the target.
    """
    from rfprune.core.registry import importable
    from rfprune.fpga.estimators import check_estimator, measures_rtl

    with importable():
        if not measures_rtl(by):
            check_estimator(by)


def design_of_target(target: Path, step: int | None, run_code: bool) -> Design:
    """Return the design of a file or folder."""
    from rfprune.fpga.estimators.design import parse_design
    from rfprune.spec.yaml_files import read_yaml

    target, step = _folder_of(target, step)
    if target.is_dir():
        from rfprune.fpga.estimating import design_of_folder

        return design_of_folder(target, step, run_code)
    _refuse_others(target, step)
    values = read_yaml(target)
    if "model" in values:
        raise SpecError(
            f"{target}: is a sweep or trial file (it names a model). 'rfprune check {target}' "
            "shows what its dense network costs; an estimate needs a design file or a folder."
        )
    return parse_design(values, str(target))


def _folder_of(target: Path, step: int | None) -> tuple[Path, int | None]:
    """Return the folder that a .pt file stands for: only the folder says for which hardware."""
    if target.suffix == ".pt":
        if target.parent.name == "steps" and target.stem.isdigit():
            return target.parent.parent, int(target.stem)
        if target.name == "model.pt":
            return target.parent, step
    return target, step


def _refuse_others(target: Path, step: int | None) -> None:
    if target.suffix not in (".yml", ".yaml", ".json"):
        fault = "cannot be estimated" if target.exists() else "no such file or folder"
        raise SpecError(
            f"{target}: {fault}. Allowed: a design file (.yml, .yaml, .json), the folder of a "
            "trial, or a folder made by 'rfprune export'."
        )
    if step is not None:
        raise SpecError(f"--step {step}: {target} is a design file, which has no steps.")


def estimate_target(
    target: Path, by: str, step: int | None, run_code: bool
) -> tuple[Estimate, Part]:
    """Return the estimate of a design file, a folder or a .pt file in one, and its part.

    Raises:
        SpecError: it is none of these.
        RunsError: the folder is neither a trial nor an export.
    """
    from rfprune.fpga.estimators import estimate as run

    folder, chosen = _folder_of(target, step)
    if folder.is_dir():
        from rfprune.fpga.estimating import estimate_folder

        return estimate_folder(folder, by, chosen, run_code)
    design = design_of_target(target, step, run_code)
    return run(design, by), design.device
