"""What decides is measured in the types of the hardware; the float values are kept beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.target import FpgaDeployment
from rfprune.results import Ranking, SweepFolder, choose, read_front
from rfprune.trial import restore
from tests.cli.conftest import run_without_ray

PRECISIONS = ["fixed<16,6>", "fixed<8,3>", "fixed<5,2>"]
SWEEP: dict[str, Any] = {
    "name": "types",
    "model": {"name": "mlp", "args": {"hidden": [16]}},
    "data": {"name": "digits"},
    "hardware": {"reuse_factor": 4, "part": "zcu102"},
    "train": {"epochs": 12, "batch_size": 64, "learning_rate": 1e-2, "device": "cpu"},
    "prune": {"steps": 2, "epochs_per_step": 2, "warmup_epochs": 0, "budget": {"dsp": 0.5}},
    "search": {"hardware.precision": {"choices": PRECISIONS}},
    "objectives": {"val_accuracy": "max", "lut": "min"},
    "constraints": ["fits == 1"],
    "trials": 3,
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    root = tmp_path_factory.mktemp("deployed")
    (root / "types.yml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    run_without_ray(root / "types.yml")
    return SweepFolder(root / "runs" / "types")


def dense_scores(sweep: SweepFolder, name: str) -> dict[str, float]:
    found = {
        trial.spec().hardware.precision: trial.step(0).values[name] for trial in sweep.trials()
    }
    return {kind: float(found[kind] or 0.0) for kind in PRECISIONS}


def test_three_types_give_three_scores_and_one_in_floats(sweep: SweepFolder) -> None:
    scores = dense_scores(sweep, "val_accuracy")
    assert len(set(scores.values())) == 3
    assert len(set(dense_scores(sweep, "float_val_accuracy").values())) == 1
    assert scores["fixed<16,6>"] > scores["fixed<8,3>"] + 0.02
    assert scores["fixed<16,6>"] > scores["fixed<5,2>"] + 0.02
    for trial in sweep.trials():
        result = trial.result()
        assert result is not None
        floats = trial.step(0).values["float_val_accuracy"]
        assert result.dense["val_accuracy"] == pytest.approx(floats)
        assert result.rows["val"] > 100


def test_a_search_over_types_does_not_end_at_the_narrowest(sweep: SweepFolder) -> None:
    front = read_front(sweep)
    chosen = choose(front, [], Ranking()).candidate
    assert chosen.params["hardware.precision"] == "fixed<16,6>"
    assert not chosen.dense
    assert front.points[0].params["hardware.precision"] == "fixed<16,6>"
    assert all(point.fits for point in front.points)


def test_what_was_measured_is_what_the_hardware_computes(sweep: SweepFolder) -> None:
    for trial in sweep.trials():
        last = [record for record in trial.steps() if record.accepted][-1]
        restored = restore(trial, last.step)
        deployment, data = restored.prepared.deployment, restored.prepared.data
        assert isinstance(deployment, FpgaDeployment)
        with torch.no_grad():
            output = deployed(restored.model, deployment.plan)(data.x_val)
        right = (output.argmax(1) == data.y_val).double().mean()
        assert last.values["val_accuracy"] == pytest.approx(float(right))


def test_types_that_are_too_narrow_are_named_with_the_reason(sweep: SweepFolder) -> None:
    notes: dict[str, str] = {}
    for trial in sweep.trials():
        result = trial.result()
        assert result is not None
        notes[trial.spec().hardware.precision] = " ".join(result.notes)
    assert "too narrow" not in notes["fixed<16,6>"]
    assert "output of fc1_relu: fixed<8,3> is too narrow" in notes["fixed<8,3>"]
    assert "of the numbers overflow it" in notes["fixed<8,3>"]
    assert "output of fc1_relu: fixed<5,2> is too narrow" in notes["fixed<5,2>"]
    assert "only fine-tuning through the rounding" in notes["fixed<5,2>"]
