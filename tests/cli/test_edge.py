"""Sweeps for an edge device on the command line: check, prune, and the whole chain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import rfprune

SWEEP: dict[str, Any] = {
    "name": "toy",
    "model": {"name": "edge_cnn", "args": {"channels": [6, 8]}},
    "data": {"name": "digits_images", "train_rows": 400, "test_rows": 100},
    "edge": {"device": "raspberry_pi_4", "agent_rows": 60, "conditions": {"noise": 0.2}},
    "train": {"epochs": 3, "batch_size": 64, "learning_rate": 0.01, "device": "cpu"},
    "prune": {
        "steps": 2,
        "epochs_per_step": 1,
        "tolerance": 1.0,
        "normalize": "layer_mean",
        "agent": {"episodes": 12, "warmup_episodes": 3, "gradient_steps": 1},
    },
    "search": {"prune.method": {"choices": ["akperl", "magnitude"]}},
    "sampler": {"name": "grid"},
    "trials": 2,
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "toy.yml"
    path.write_text(yaml.safe_dump({**SWEEP, **changes}, sort_keys=False))
    return path


def test_check_shows_kernels_and_costs(run, workplace: Path) -> None:
    ran = run("check", write(workplace))
    assert ran.code == 0, ran
    assert "residual1.conv1" in ran.out
    assert "yes, all of them" in ran.out
    assert "Dense network on raspberry_pi_4" in ran.out
    assert "energy_mj" in ran.out
    assert "dsp" not in ran.out
    found = run("check", write(workplace), "--json").json
    assert [row["name"] for row in found["kernels"]] == ["stem", "down1", "residual1.conv1"]
    assert "layers" not in found
    assert set(found["reference_point"]) == {"val_accuracy", "energy_mj"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"search": {"hardware.reuse_factor": {"low": 1, "high": 4}}},
            "search.hardware.reuse_factor: is for an FPGA, and the sweep is for an edge device",
        ),
        ({"search": {"prune.layers.stem.floor": {"low": 1, "high": 4}}}, "single layers cannot"),
        ({"search": {"prune.budget.dsp": {"low": 0.1, "high": 0.5}}}, "'dsp' is not a resource"),
        ({"search": {"prune.method": {"choices": ["akprl", "none"]}}}, "'akperl'"),
        ({"objectives": {"val_accuracy": "max", "dsp": "min"}}, "'dsp' is not measured"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    run, workplace: Path, changes: dict[str, Any], sentence: str
) -> None:
    ran = run("check", write(workplace, **changes))
    assert ran.code == 2, ran
    assert re.search(sentence, ran.err), ran.err
    assert ran.err.count("\n") == 1


def test_a_trial_is_pruned_and_shown_with_its_energy(run, workplace: Path) -> None:
    trial = {key: SWEEP[key] for key in ("model", "data", "edge", "train", "prune")}
    path = workplace / "one.yml"
    path.write_text(yaml.safe_dump({**trial, "prune": {**trial["prune"], "method": "knapsack"}}))
    ran = run("prune", path)
    assert ran.code == 0, ran
    assert "energy_mj" in ran.out
    assert "rfprune estimate" not in ran.out
    assert "accepted, val_accuracy" in ran.err
    refused = run("estimate", workplace / "runs" / "one" / "trials" / "0000")
    assert refused.code == 2
    assert "is for an edge device, and estimates are for FPGAs" in refused.err
    ran = run("export", workplace / "runs" / "one" / "trials" / "0000", "--out", "out")
    assert ran.code == 0, ran
    assert "Kernels left: stem" in ran.out


@pytest.mark.slow
def test_from_sweep_to_front_to_export_to_a_loaded_network(run, workplace: Path) -> None:
    ran = run("sweep", write(workplace), "--no-track")
    assert ran.code == 0, ran
    assert "2 of 2 trials complete, 0 failed" in ran.out
    front = run("pareto", "toy", "--json").json
    assert front["objectives"] == {"val_accuracy": "max", "energy_mj": "min"}
    assert front["hypervolume"] > 0
    assert {row["params"]["prune.method"] for row in front["front"]} <= {"akperl", "magnitude"}
    least = min(row["energy_mj"] for row in front["front"])
    bound = f"energy_mj<={least}"
    ran = run("export", "toy", "--where", bound, "--max", "accuracy", "--out", "best")
    assert ran.code == 0, ran
    network = rfprune.load(workplace / "best")
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert run("export", "toy", "--where", "energy_mj<=0", "--out", "none").code != 0
