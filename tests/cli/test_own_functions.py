"""A loss, a metric and a training of the user's own, in files of a few lines, to the export."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import rfprune
from rfprune.data import load
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.results import SweepFolder, TrialFolder
from rfprune.tasks import make_task
from tests.cli.conftest import run_without_ray

LOSS = """\
def capped(output, target, weight=None, cap=2.0):
    each = ((output - target) / 50).abs().clamp(max=cap).mean(dim=1)
    return each.mean() if weight is None else (each * weight).sum() / weight.sum()
"""
METRIC = """\
import numpy as np
def within(output, target, weight=None, far=60.0):
    return float(np.average(np.abs(output - target)[:, 0] <= far, weights=weight))
within.direction = "max"
"""
SWEEP: dict[str, Any] = {
    "name": "own",
    "model": {"name": "mlp", "args": {"hidden": [8]}},
    "data": {"file": "rows.npz", "val_fraction": 0.25},
    "task": {
        "name": "regression",
        "loss": "own_loss:capped",
        "loss_args": {"cap": 3.0},
        "metrics": ["rmse", {"near": {"name": "own_metric:within", "far": 50.0}}],
        "score": "near",
    },
    "hardware": {"part": "pynq-z2", "clock_ns": 10, "precision": "fixed<20,11>"},
    "train": {"epochs": 40, "batch_size": 32, "learning_rate": 0.02, "device": "cpu"},
    "prune": {"steps": 2, "epochs_per_step": 3, "tolerance": 0.3},
    "search": {"prune.budget.dsp": {"low": 0.3, "high": 0.8}},
    "objectives": {"val_near": "max", "dsp": "min"},
    "sampler": {"name": "random", "seed": 1},
    "trials": 2,
}


def write(folder: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    y = 150 + 60 * x[:, 0] + 30 * x[:, 1] * x[:, 2] + rng.normal(size=300) * 10
    np.savez(folder / "rows.npz", x_train=x, y_train=y, w_train=rng.uniform(0.5, 2, 300))
    (folder / "own_loss.py").write_text(LOSS)
    (folder / "own_metric.py").write_text(METRIC)
    path = folder / "own.yml"
    path.write_text(yaml.safe_dump({**SWEEP, **changes}, sort_keys=False))
    return path


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Modules of the same name in another folder must be imported anew."""
    before = list(sys.path)
    yield
    for name in ("own_loss", "own_metric", "own_fit"):
        sys.modules.pop(name, None)
    sys.path[:] = before


def test_a_loss_and_a_metric_of_five_lines_go_from_sweep_to_export(run, workplace: Path) -> None:
    assert max(len(text.splitlines()) for text in (LOSS, METRIC)) <= 5
    path = write(workplace)
    assert run("check", path, "--fast").code == 0
    run_without_ray(path)
    found = run("pareto", "own", "--json").json
    assert found["objectives"] == {"val_near": "max", "dsp": "min"}
    assert found["reference_point"]["val_near"] > 0, "the mean of the targets is near to some"
    assert all({"near", "val_near", "rmse", "val_rmse"} <= set(row) for row in found["front"])
    assert max(row["val_near"] for row in found["front"]) > found["reference_point"]["val_near"]
    exported = run("export", "own", "--max", "near", "--out", "best", "--rows", "0")
    assert exported.code == 0, exported
    facts = json.loads(Path("best/metrics.json").read_text())
    spec = SweepFolder(Path("runs/own")).spec()
    task = make_task(spec.task, workplace)
    data = load(spec.data, workplace, task)
    with torch.no_grad():
        # The export takes raw rows.
        output = rfprune.load("best")(data.x_test * data.scale + data.offset).numpy()
    weight = data.w_test.numpy().astype(np.float64)
    near = np.abs(output - data.y_test.numpy())[:, 0] <= 50.0
    assert facts["near"] == pytest.approx(np.average(near, weights=weight), abs=0.02)


BROKEN = """\
from pathlib import Path
import numpy as np
def within(output, target, weight=None, far=60.0):
    if list(Path("runs").rglob("{once}")):
        raise ValueError("the disc is full")
    return float(np.average(np.abs(output - target)[:, 0] <= far, weights=weight))
within.direction = "max"
"""
TRIAL = {key: SWEEP[key] for key in ("model", "data", "task", "hardware", "train", "prune")}


def test_an_error_in_a_metric_names_it_and_nothing_is_lost(run, workplace: Path) -> None:
    write(workplace)
    Path("one.yml").write_text(yaml.safe_dump(TRIAL))
    Path("own_metric.py").write_text(BROKEN.format(once="000.pt"))
    failed = run("prune", "one.yml")
    assert failed.code == 1, failed
    sentence = failed.err.strip().splitlines()[-1]
    assert "metric 'near' (own_metric:within) failed on output" in sentence
    assert "and target" in sentence
    assert "ValueError: the disc is full" in sentence
    (folder,) = [p.parent for p in Path("runs").rglob("steps.jsonl")]
    before = TrialFolder(folder).steps()
    assert [record.step for record in before] == [0]
    assert list(Path("runs").rglob("dense.pt"))
    Path("own_metric.py").write_text(METRIC)
    sys.modules.pop("own_metric")
    again = run("prune", "one.yml")
    assert again.code == 0, again
    records = TrialFolder(folder).steps()
    assert records[0].model_dump(exclude={"seconds"}) == before[0].model_dump(exclude={"seconds"})
    assert len(records) > 1


def test_a_dense_training_is_kept_although_its_metric_fails(run, workplace: Path) -> None:
    write(workplace)
    Path("own_metric.py").write_text(BROKEN.format(once="dense.pt"))
    Path("one.yml").write_text(yaml.safe_dump(TRIAL))
    assert run("prune", "one.yml").code == 1
    (kept,) = list(Path("runs").rglob("dense.pt"))
    stamp = kept.stat().st_mtime_ns
    Path("own_metric.py").write_text(METRIC)
    sys.modules.pop("own_metric")
    assert run("prune", "one.yml").code == 0
    assert kept.stat().st_mtime_ns == stamp, "the dense network was trained again"


FIT = """\
import torch
def fit(model, data, hook, settings):
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    for _ in range(settings.epochs * 4):
        optimizer.zero_grad()
        settings.loss(model, data.x_train, data.y_train, data.w_train).backward()
        optimizer.step()  # the hook is not called: masks hold all the same
    return model
"""


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_training_of_the_users_own_and_one_that_is_over(
    run, workplace: Path, pretrained: bool
) -> None:
    train, model = {**SWEEP["train"], "function": "own_fit:fit"}, {**SWEEP["model"]}
    write(workplace)
    Path("own_fit.py").write_text(FIT)
    if pretrained:
        torch.manual_seed(0)
        dense = build(ModelSpec(**SWEEP["model"]), (6,), 1)
        dense.output.bias.data.fill_(150.0)
        torch.save({"model_state_dict": torch.nn.DataParallel(dense).state_dict()}, "net.ckpt")
        model["weights"] = "net.ckpt"
        train["epochs"] = 0
    Path("one.yml").write_text(yaml.safe_dump({**TRIAL, "model": model, "train": train}))
    ran = run("prune", "one.yml", "--json")
    assert ran.code == 0, ran
    assert "untrained" not in ran.out + ran.err
    steps = [record for record in ran.json["steps"] if record["step"] and record["accepted"]]
    assert steps
    for record in steps:
        assert all(record["live"][name] < record["groups"][name] for name in ("fc1",))
    (folder,) = [p.parent for p in Path("runs").rglob("steps.jsonl")]
    saved = torch.load(TrialFolder(folder).checkpoint(steps[-1]["step"]), weights_only=True)
    for name, mask in saved["extra"]["masks"].items():
        weight = saved["state_dict"][f"{name}.weight"]
        assert bool((weight[~mask] == 0).all())
        assert bool((weight[mask] != 0).any())
    if pretrained:
        (dense_file,) = list(Path("runs").rglob("dense.pt"))
        kept = torch.load(dense_file, weights_only=True)["state_dict"]
        assert torch.equal(kept["fc1.weight"], dense.fc1.weight)


def test_a_network_without_training_and_without_weights_is_called_so(run, workplace: Path) -> None:
    path = write(workplace, train={"epochs": 0})
    found = run("check", path, "--fast", "--json").json
    assert any("the network is untrained" in note for note in found["notes"])
