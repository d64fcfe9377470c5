"""Estimating what is already in a folder: a trial at one of its steps, an export, RTL of HLS."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import nn

from rfprune.core.files import read_json
from rfprune.errors import RunsError
from rfprune.exporting.loading import load_layers
from rfprune.fpga.adders.deployment import AdderDeployment
from rfprune.fpga.estimators import (
    Estimate,
    estimate,
    measure_rtl,
    measures_rtl,
    needs_project,
)
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.estimators.ports import TOP
from rfprune.fpga.estimators.rtl import Rtl, find_hls_output
from rfprune.fpga.hls import convert
from rfprune.fpga.layers import Plan, fold_batch_norm, plan, trace
from rfprune.fpga.target import FPGA, FpgaDeployment
from rfprune.fpga.unrolled.deployment import UnrolledDeployment
from rfprune.fpga.values.deploying import deploy_values
from rfprune.hardware.parts import Part, find_part
from rfprune.models import load_checkpoint
from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.trial import restore

__all__ = ["design_of_folder", "estimate_folder", "estimate_network", "network_of"]

#: What is a graph of adders and not a list of layers.
Circuits = AdderDeployment | UnrolledDeployment


def estimate_folder(
    folder: Path, by: str, step: int | None, run_code: bool = False
) -> tuple[Estimate, Part]:
    """Return the estimate of a trial or an exported network, and its part.

    An estimator that measures RTL takes the RTL that the folder holds, if it holds any.

    Args:
        folder: a trial's run folder, a folder made by ``rfprune export``, or one in which a
            vendor's HLS has run where `by` measures RTL.
        by: name of the estimator.
        step: of a trial; its last accepted one if None.
        run_code: let an exported network be built by the function that its file names.

    Raises:
        RunsError: the folder is none of these.
    """
    measures = measures_rtl(by)
    rtl = _rtl_in(folder) if measures and step is None else None
    if rtl is not None:
        return measure_rtl(rtl, by), rtl.part
    if measures and not (_is_trial(folder) or _is_export(folder)):
        raise RunsError(
            f"{folder}: holds no RTL. Allowed with --by {by}: an export, a trial, or a folder in "
            "which Vivado HLS or Vitis HLS has written syn/verilog."
        )
    found, model = network_of(folder, step, run_code)
    if isinstance(found, Circuits):
        return found.estimate(model, by), found.part
    return estimate_network(found, model, by), found.part


def design_of_folder(folder: Path, step: int | None = None, run_code: bool = False) -> Design:
    """Return the design of a trial or an exported network; arguments and errors as above."""
    found, model = network_of(folder, step, run_code)
    if isinstance(found, Circuits):
        raise RunsError(
            f"{folder}: holds a graph of adders, which no design of layers describes; 'rfprune "
            "estimate --by adders' counts it."
        )
    return design_of(found, fold_batch_norm(model, found.network), str(folder))


def network_of(folder: Path, step: int | None, run_code: bool) -> tuple[Plan | Circuits, nn.Module]:
    """Return a trial's or an export's network, planned; arguments and errors as above."""
    if _is_trial(folder):
        return _of_trial(TrialFolder(folder), step)
    if _is_export(folder):
        if step is not None:
            raise RunsError(f"--step {step}: {folder} is an export, which holds one network.")
        return _of_export(folder, run_code)
    raise RunsError(
        f"{folder}: is neither a trial nor an exported network. Allowed: a folder like "
        "runs/digits/trials/0007, or one made by 'rfprune export'."
    )


def estimate_network(planned: Plan, model: nn.Module, by: str) -> Estimate:
    """Return the estimate of a network; converts it for estimators that need a project."""
    design = design_of(planned, fold_batch_norm(model, planned.network))
    if not needs_project(by):
        return estimate(design, by)
    with tempfile.TemporaryDirectory() as scratch:
        project = convert(model, planned, Path(scratch) / "hls").write()
        return estimate(design, by, project)


def _is_trial(folder: Path) -> bool:
    return (folder / "steps.jsonl").exists()


def _is_export(folder: Path) -> bool:
    return (folder / "model.pt").exists() and (folder / "spec.json").exists()


def _rtl_in(folder: Path) -> Rtl | None:
    """Return the RTL of a graph of adders in an export, or what a vendor's HLS wrote, or None."""
    sources = folder / "rtl" / "src"
    if not (_is_export(folder) and sources.is_dir()):
        return find_hls_output(folder)
    spec = parse_spec(TrialSpec, read_json(folder / "spec.json"), str(folder / "spec.json"))
    stated = read_json(folder / "estimate.json").get("total", {})
    return Rtl(
        folder=sources,
        top=TOP,
        part=find_part(spec.hardware.part),
        clock_ns=spec.hardware.clock_ns,
        writer="alkaid" if spec.hardware.backend == "alkaid" else "da4ml",
        adders=True,
        latency_cycles=stated.get("latency_cycles"),
        ii_cycles=stated.get("ii_cycles"),
    )


def _of_trial(trial: TrialFolder, step: int | None) -> tuple[Plan | Circuits, nn.Module]:
    accepted = [record.step for record in trial.steps() if record.accepted]
    if not accepted:
        raise RunsError(f"{trial.path}: has no accepted step yet.")
    # Before the network is restored, which may take long or need packages of the other target.
    _refuse_other_targets(trial.spec(), trial.path, "steps.jsonl and steps/*.json")
    restored = restore(trial, accepted[-1] if step is None else step)
    deployment = restored.prepared.deployment
    if isinstance(deployment, Circuits):
        return deployment, restored.model
    assert isinstance(deployment, FpgaDeployment)
    return deployment.plan, deployment.final(restored.model, restored.masks)


def _refuse_other_targets(spec: TrialSpec, place: Path, costs: str) -> None:
    if spec.target is not FPGA.facts:
        raise RunsError(
            f"{place}: is for {spec.target.title}, and estimates are for FPGAs; its costs are in "
            f"{costs}."
        )


def _of_export(folder: Path, run_code: bool) -> tuple[Plan | Circuits, nn.Module]:
    path = folder / "spec.json"
    spec = parse_spec(TrialSpec, read_json(path), str(path))
    _refuse_other_targets(spec, folder, "metrics.json and estimate.json")
    model = load_layers(folder, run_code=run_code)
    saved = load_checkpoint(folder / "model.pt")
    network = trace(model, saved.input_shape)
    if "values" in saved.extra:
        built = deploy_values(spec, network, model)
        built.prunable.take(saved.extra["values"])
        return (built if isinstance(built, Circuits) else built.plan), model
    if spec.hardware.backend == "alkaid":
        return UnrolledDeployment(spec, plan(network, spec.hardware), None), model
    return plan(network, spec.hardware), model
