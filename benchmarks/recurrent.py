"""``python -m benchmarks.recurrent``: GRU and LSTM on spoken digits, pruned by DSP groups.

What is trained, pruned and compared: ``pages/recurrent.md``.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.report import Study, listed, read_cases, render, sentence, settings, table
from rfprune.data import Dataset, load
from rfprune.errors import DataError
from rfprune.fpga.estimators import Estimate, estimate
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.hls import compiled, convert, outputs_of_cpp
from rfprune.fpga.layers import Plan, fold_batch_norm
from rfprune.fpga.proof.hls import prove_paths
from rfprune.fpga.target import FpgaDeployment
from rfprune.pruning import Session, dense_step, steps
from rfprune.spec import TrialSpec
from rfprune.trial import prepare
from rfprune.trial.dense import dense_network
from rfprune.trial.proof import Asked

_CASES = read_cases("", "recurrent")
CASES: dict[str, dict[str, Any]] = {
    f"{case['kind']} {case['units']}": case for case in _CASES["cases"]
}


class Words(nn.Module):
    """A recurrent layer over the steps of a recording, and a Linear behind their mean."""

    def __init__(self, n_inputs: int, n_outputs: int, kind: str, units: int) -> None:
        super().__init__()
        self.cells = getattr(nn, kind)(n_inputs, units, batch_first=True)
        self.output = nn.Linear(units, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, classes) of (N, steps, features)."""
        steps, _ = self.cells(x)
        logits: Tensor = self.output(steps.mean(1))
        return logits


def spoken_digits() -> dict[str, np.ndarray[Any, Any]]:
    """Return the recordings as 49 steps of 10 features, scaled by feature; the official split.

    Raises:
        DataError: the file is not under ``$RFPRUNE_DATA``.
    """
    path = Path(os.environ.get("RFPRUNE_DATA", ".")) / "fsdd_mfcc" / "fsdd_mfcc.npz"
    if not path.is_file():
        raise DataError(f"{path}: does not exist. Set RFPRUNE_DATA to the folder that holds it.")
    with np.load(path) as found:
        x, y, held_out = found["x"].astype(np.float32), found["y"], found["is_test"]
    # One mean and deviation for each feature, over all steps of the training rows.
    mean, deviation = (f(x[~held_out], axis=(0, 1)) for f in (np.mean, np.std))
    x = (x - mean) / deviation
    return {
        "x_train": x[~held_out],
        "y_train": y[~held_out],
        "x_test": x[held_out],
        "y_test": y[held_out],
    }


def trial(case: dict[str, Any], seed: int) -> TrialSpec:
    """Return the trial that trains and prunes one network."""
    inputs, states = case["reuse factors"]
    layers = {
        "cells-weight_ih_l0": {"reuse_factor": inputs},
        "cells-weight_hh_l0": {"reuse_factor": states},
    }
    model = {"args": {"kind": case["kind"], "units": case["units"], "n_inputs": 10}}
    own = {"seed": seed, "model": model, "hardware": {"layers": layers}}
    return TrialSpec.model_validate(settings(_CASES["common"], own))


def _measured(plan: Plan, model: nn.Module) -> Estimate:
    return estimate(design_of(plan, fold_batch_norm(model, plan.network)))


def _walked(session: Session) -> tuple[dict[str, float], nn.Module, dict[str, float], nn.Module]:
    """Return scores and network of the dense step, and of the last step within the tolerance."""
    dense = dense_step(session)
    before = copy.deepcopy(session.model)
    chosen, model = dict(dense.metrics), before
    for step in steps(session, dense.state):
        if step.accepted:
            chosen, model = dict(step.metrics), copy.deepcopy(session.model)
    return dict(dense.metrics), before, chosen, model


def rows_of(name: str, seed: int) -> dict[str, Any]:
    """Return one row: a network before and after pruning, its scores, multipliers and C++."""
    spec = trial(CASES[name], seed)
    data = load(spec.data, Path.cwd())
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        prepared = prepare(spec, Path.cwd(), data)
        start = dense_network(spec, data, prepared.task, Path(scratch), Path.cwd())
        session = prepared.session(start, data)
        deployment = prepared.deployment
        assert isinstance(deployment, FpgaDeployment)
        scores, before, pruned, model = _walked(session)
        plan, groups = deployment.plan, deployment.prunable.groups
        live, dense = (sum(groups.live(each).values()) for each in (model, before))
        whole = [_measured(plan, each).total.dsp or 0 for each in (before, model)]
        return {
            "layer": name,
            "seed": seed,
            "reuse factors": "/".join(map(str, CASES[name]["reuse factors"])),
            "val, dense": f"{scores['val_accuracy']:.4f}",
            "val, pruned": f"{pruned['val_accuracy']:.4f}",
            "test, dense": f"{scores['accuracy']:.4f}",
            "test, pruned": f"{pruned['accuracy']:.4f}",
            "multipliers": f"{dense} -> {live}",
            "gone": f"{1 - live / dense:.1%}",
            "DSP, whole design": f"{whole[0]} -> {whole[1]}",
            "of it gone": f"{1 - whole[1] / whole[0]:.1%}",
            **_in_cpp(model, plan, data, Path(scratch) / "hls", groups.live(model)),
        }


def _in_cpp(
    model: nn.Module, plan: Plan, data: Dataset, folder: Path, live: dict[str, int]
) -> dict[str, Any]:
    """Return how the C++ of a network compares with torch, and whether its code counts alike."""
    x = data.x_test
    assert isinstance(x, Tensor)
    conversion = convert(model, plan, folder)
    conversion.write()
    counted = conversion.live_multipliers()
    with compiled(conversion) as simulation, torch.no_grad():
        (cpp,) = outputs_of_cpp(simulation, x.double())
        ours = deployed(model, plan)(x).numpy()
        proof = prove_paths(conversion, model, None, Asked(), simulation)
    return {
        "C++ on test rows": f"{int((cpp == ours).all(1).sum())} of {len(x)} bit-equal",
        "on corner vectors": "equal" if not proof.all_faults() else proof.all_faults()[0],
        "counted in the C++": "the same" if counted == live else str(counted),
    }


def page(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    rows = result["rows"]
    shown = ("layer", "reuse factors")
    scores = (*shown, "val, dense", "val, pruned", "test, dense", "test, pruned")
    costs = (*shown, "multipliers", "gone", "DSP, whole design", "of it gone")
    cpp = (*shown, "C++ on test rows", "on corner vectors", "counted in the C++")
    return render(
        "recurrent",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        scores=table(rows, scores),
        costs=table(rows, costs),
        cpp=table(rows, cpp),
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return one row per network."""
    return {"rows": [rows_of(name, options.seed) for name in options.layers]}


if __name__ == "__main__":
    Study(
        "recurrent",
        "GRU and LSTM on spoken digits",
        measure,
        page,
        packages=("rfprune", "numpy", "torch", "hls4ml"),
        options={
            "--layers": (listed(CASES), ",".join(CASES), "with commas"),
            "--seed": (int, 0, "of networks and trainings"),
        },
    ).run()
