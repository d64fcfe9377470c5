"""Estimating what is already in a folder: a trial at one of its steps, or an exported network."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from torch import nn

from rfprune.errors import RunsError
from rfprune.estimate import NEEDS_PROJECT, Estimate, estimate
from rfprune.estimate.network import design_of
from rfprune.export.loading import load
from rfprune.hardware.parts import Part
from rfprune.hls import convert
from rfprune.models import load_checkpoint
from rfprune.network import Plan, fold_batch_norm, plan, trace
from rfprune.runs import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.spec.files import parse_spec
from rfprune.trial import restore

__all__ = ["estimate_folder", "estimate_network"]


def estimate_folder(
    folder: Path, by: str, step: int | None, run_code: bool = False
) -> tuple[Estimate, Part]:
    """Return the estimate of a trial or an exported network, and its part.

    Args:
        folder: a trial's run folder, or a folder made by ``rfprune export``.
        by: name of the estimator.
        step: of a trial; its last accepted one if None.
        run_code: let an exported network be built by the function that its file names.

    Raises:
        RunsError: the folder is neither of the two.
    """
    if (folder / "steps.jsonl").exists():
        planned, model = _of_trial(TrialFolder(folder), step)
    elif (folder / "model.pt").exists() and (folder / "spec.json").exists():
        planned, model = _of_export(folder, run_code)
    else:
        raise RunsError(
            f"{folder}: is neither a trial nor an exported network. Allowed: a folder like "
            "runs/digits/trials/0007, or one made by 'rfprune export'."
        )
    return estimate_network(planned, model, by), planned.part


def estimate_network(planned: Plan, model: nn.Module, by: str) -> Estimate:
    """Return the estimate of a network; converts it for estimators that need a project."""
    design = design_of(planned, fold_batch_norm(model))
    if by not in NEEDS_PROJECT:
        return estimate(design, by)
    with tempfile.TemporaryDirectory() as scratch:
        project = convert(model, planned, Path(scratch) / "hls").write()
        return estimate(design, by, project)


def _of_trial(trial: TrialFolder, step: int | None) -> tuple[Plan, nn.Module]:
    accepted = [record.step for record in trial.steps() if record.accepted]
    if not accepted:
        raise RunsError(f"{trial.path}: has no accepted step yet.")
    if trial.spec().edge is not None:
        raise RunsError(
            f"{trial.path}: is a trial for an edge device, and estimates are for FPGAs; its costs "
            "are in steps.jsonl and steps/*.json."
        )
    prepared, model = restore(trial, accepted[-1] if step is None else step)
    return prepared.plan, model


def _of_export(folder: Path, run_code: bool) -> tuple[Plan, nn.Module]:
    path = folder / "spec.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunsError(f"{path}: cannot be read ({error}).") from error
    spec = parse_spec(TrialSpec, values, str(path))
    if spec.edge is not None:
        raise RunsError(
            f"{folder}: is a network for an edge device, and estimates are for FPGAs; its costs "
            "are in metrics.json and estimate.json."
        )
    model = load(folder, run_code=run_code)
    shape = load_checkpoint(folder / "model.pt").input_shape
    return plan(trace(model, shape), spec.hardware), model
