"""A regression and a binary task, from a sweep file to an exported network."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import rfprune
from rfprune.data import load
from rfprune.results import SweepFolder, TrialFolder, best_per_budget, read_front
from rfprune.spec.targets import TARGETS
from rfprune.tasks import make_task
from tests.cli.conftest import run_without_ray

COMMON: dict[str, Any] = {
    "model": {"name": "mlp", "args": {"hidden": [8]}},
    "hardware": {"part": "pynq-z2", "clock_ns": 10, "reuse_factor": 2},
    "search": {"prune.budget.dsp": {"low": 0.2, "high": 0.8}},
    "sampler": {"name": "random", "seed": 1},
    "trials": 3,
}
PRUNE = {"method": "knapsack", "steps": 3, "epochs_per_step": 2, "warmup_epochs": 0}
SWEEPS: dict[str, dict[str, Any]] = {
    "numbers": {
        **COMMON,
        "data": {"name": "diabetes", "val_fraction": 0.25},
        "task": {"name": "regression", "loss": "huber", "loss_args": {"delta": 20}},
        "hardware": {**COMMON["hardware"], "precision": "fixed<20,11>"},
        "train": {"epochs": 60, "batch_size": 32, "learning_rate": 0.02, "device": "cpu"},
        "prune": {**PRUNE, "tolerance": 0.02, "patience": 3},
    },
    "yes_or_no": {
        **COMMON,
        "data": {"name": "breast_cancer", "val_fraction": 0.25},
        "task": {
            "name": "binary",
            "metrics": ["auc", "log_loss", {"eff": {"name": "tpr", "fpr": 0.05}}],
            "score": "log_loss",
        },
        "hardware": {**COMMON["hardware"], "precision": "fixed<16,6>"},
        "train": {"epochs": 15, "batch_size": 32, "learning_rate": 0.01, "device": "cpu"},
        "prune": {**PRUNE, "tolerance_absolute": 0.02, "patience": 3},
    },
}
METRICS = {"numbers": ["rmse", "mae", "r2"], "yes_or_no": ["log_loss", "auc", "eff"]}
RESOURCES = ["dsp", "bram18", "lut", "ff", "latency_cycles", "ii_cycles", "latency_ns"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sweeps, run without Ray."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("tasks")
    for name, values in SWEEPS.items():
        path = root / f"{name}.yml"
        path.write_text(yaml.safe_dump({"name": name, **values}, sort_keys=False))
        run_without_ray(path)
    return root


@pytest.fixture
def ran(root: Path, workplace: Path) -> Path:
    """A copy of both sweeps in the current folder."""
    shutil.copytree(root / "runs", workplace / "runs")
    for name in SWEEPS:
        path = workplace / "runs" / name / "sweep.json"
        facts = json.loads(path.read_text())
        path.write_text(json.dumps({**facts, "base_dir": str(workplace)}))
    return workplace / "runs"


def trials_of(ran: Path, name: str) -> list[TrialFolder]:
    return list(SweepFolder(ran / name).trials())


@pytest.mark.parametrize("name", SWEEPS)
def test_the_score_and_the_main_cost_are_what_is_searched_for(run, ran: Path, name: str) -> None:
    score = f"val_{METRICS[name][0]}"
    found = run("pareto", name, "--json").json
    assert found["objectives"] == {score: "min", "dsp": "min"}
    assert found["trials"]["complete"] == 3
    assert found["hypervolume"] > 0
    front = [row for row in found["front"] if row["on_front"]]
    lead = ["trial", "step", "run_id", "feasible"]
    lead += [
        "dense",
        "on_front",
        "within_noise",
        "constant",
        "errors",
        "repeats",
        "spread",
        "params",
    ]
    for row in front:
        names = [whole for metric in METRICS[name] for whole in (f"val_{metric}", metric)]
        floats = [f"float_val_{metric}" for metric in METRICS[name]]
        assert list(row) == [
            *lead,
            *names,
            *floats,
            *RESOURCES,
            "reachable_ns",
            "fits",
            "sparsity",
            "power_mw",
            "seconds",
            *(end.name for end in TARGETS["hardware"].ends),
        ]
        assert "accuracy" not in row
        trial = TrialFolder(ran / name / "trials" / f"{row['trial']:04d}")
        record = trial.step(row["step"])
        assert {key: record.values[key] for key in names} == {key: row[key] for key in names}
    # Best first: the smallest score leads, and less of it costs more.
    assert [row[score] for row in front] == sorted(row[score] for row in front)
    assert [row["dsp"] for row in front] == sorted((row["dsp"] for row in front), reverse=True)
    pruned = [r for t in trials_of(ran, name) for r in t.steps() if r.accepted and r.step]
    assert front[0][score] <= min(record.values[score] for record in pruned)


def test_the_reference_point_is_what_a_guess_scores(ran: Path) -> None:
    for name in SWEEPS:
        spec = SweepFolder(ran / name).spec()
        task = make_task(spec.task)
        data = load(spec.data, ran, task)
        if name == "numbers":
            spread = (data.y_val - data.y_train.mean(0)).square().mean().sqrt()
            guess = float(spread)
        else:
            guess = float(np.log(2))
        reference = SweepFolder(ran / name).facts()["reference_point"]
        assert reference[f"val_{task.score}"] == pytest.approx(guess, rel=1e-5)


@pytest.mark.parametrize("name", SWEEPS)
def test_steps_are_accepted_up_to_more_of_a_score_that_is_to_be_small(ran: Path, name: str) -> None:
    score = f"val_{METRICS[name][0]}"
    verdicts = []
    for trial in trials_of(ran, name):
        result = trial.result()
        assert result is not None
        dense, *steps = trial.steps()
        assert set(result.dense) == {f"{p}{m}" for m in METRICS[name] for p in ("val_", "")}
        # The dense network of the result is in floats; step 0 is that network in its types.
        assert dense.values[f"float_{score}"] == pytest.approx(result.dense[score], rel=1e-6)
        bound = result.dense[score] * 1.02 if name == "numbers" else result.dense[score] + 0.02
        for record in steps:
            assert record.accepted == (record.values[score] <= bound)
            verdicts.append(record.accepted)
    assert set(verdicts) == {True, False}, "the case shows only one of the two"


@pytest.mark.parametrize("name", SWEEPS)
def test_the_best_point_within_a_budget_has_the_smallest_score(run, ran: Path, name: str) -> None:
    front = read_front(SweepFolder(ran / name))
    score = f"val_{METRICS[name][0]}"
    fractions = (0.3, 0.5, 1.0)
    rows = best_per_budget(front, "dsp", fractions)
    assert any(row.best is not None for row in rows)
    for row in rows:
        within = [p for p in front.points if p.metrics["dsp"] <= row.budget]
        if within:
            assert row.best.metrics[score] == min(p.metrics[score] for p in within)
        else:
            assert row.best is None
    shown = run("pareto", name).out
    assert f"{score} ↓" in shown
    assert "dsp ↓" in shown
    assert "accuracy" not in shown
    value = front.points[0].metrics[score]
    assert f"{value:.5g}" in shown
    assert "Best point per dsp budget" in shown


@pytest.mark.parametrize("name", SWEEPS)
def test_pages_pictures_and_tables_name_the_metrics(run, ran: Path, name: str) -> None:
    written = run("pareto", name, "--html", "f.html", "--png", "f.png", "--csv", "f.csv")
    assert written.code == 0, written
    rows = list(csv.DictReader(io.StringIO(Path("f.csv").read_text())))
    front = run("pareto", name, "--json").json["front"]
    assert len(rows) == len(front)
    score = f"val_{METRICS[name][0]}"
    assert [float(row[score]) for row in rows] == [row[score] for row in front]
    assert "accuracy" not in rows[0]
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")
    page = Path("f.html").read_text()
    match = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    assert match is not None
    data = json.loads(match.group(1))
    assert (data["x"], data["y"]) == ("dsp", score)
    assert data["directions"][score] == "min"
    assert data["labels"][score].startswith("validation ")
    assert set(METRICS[name]) < set(data["quantities"])


def test_a_point_is_chosen_by_conditions_and_the_right_end(run, ran: Path) -> None:
    front = run("pareto", "numbers", "--json").json["front"]
    everything = [
        (record.values["val_rmse"], trial.number, record.step)
        for trial in trials_of(ran, "numbers")
        for record in trial.steps()
        if record.accepted
    ]
    best, worst = min(everything), max(everything)
    smallest = run("export", "numbers", "--min", "rmse", "--out", "small", "--rows", "0")
    assert smallest.code == 0, smallest
    assert "the smallest val_rmse among" in smallest.out
    assert f"trial {best[1]}, step {best[2]}" in smallest.out
    assert (
        "Test rows are never used to select: val_rmse was compared instead of rmse" in smallest.out
    )
    largest = run("export", "numbers", "--max", "val_rmse", "--out", "large", "--rows", "0")
    assert f"trial {worst[1]}, step {worst[2]}" in largest.out
    middle = sorted(row["val_rmse"] for row in front)[len(front) // 2]
    bound = f"rmse<={middle + 1e-9}"
    chosen = run(
        "export", "numbers", "--where", bound, "--min", "dsp", "--out", "cheap", "--rows", "0"
    )
    assert chosen.code == 0, chosen
    facts = json.loads(Path("cheap/metrics.json").read_text())
    assert facts["val_rmse"] <= middle + 1e-9
    candidates = read_front(SweepFolder(ran / "numbers")).view.candidates
    within = [c.metrics["dsp"] for c in candidates if c.metrics["val_rmse"] <= middle + 1e-9]
    assert facts["dsp"] == min(within)
    refused = run("export", "numbers", "--where", "rmse<=1", "--out", "none")
    assert refused.code == 2
    assert f"rmse <= 1: val_rmse = {best[0]:.6g}" in refused.err
    unknown = run("export", "numbers", "--where", "accuracy>=0.5", "--out", "none")
    assert unknown.code == 2
    assert "unknown quantity 'accuracy'" in unknown.err


@pytest.mark.parametrize("name", SWEEPS)
def test_an_export_comes_back_and_measures_what_its_record_says(run, ran: Path, name: str) -> None:
    exported = run("export", name, "--min", METRICS[name][0], "--out", "best", "--rows", "0")
    assert exported.code == 0, exported
    model = rfprune.load("best")
    spec = SweepFolder(ran / name).spec()
    task = make_task(spec.task).bound_to(model)
    # What is loaded takes rows as the file has them.
    data = load(spec.data, ran, task).in_raw_units()
    facts = json.loads(Path("best/metrics.json").read_text())
    with torch.no_grad():
        found = task.measure(model(data.x_val), data.y_val)
    floats = {metric: facts[f"float_val_{metric}"] for metric in METRICS[name]}
    assert floats == pytest.approx(found, rel=1e-5)
    report = Path("best/report.md").read_text()
    assert f"test {task.score} **{facts[task.score]:.4f}**" in report
    assert "accuracy" not in report


@pytest.mark.parametrize("name", SWEEPS)
def test_the_onnx_file_is_the_same_network(run, ran: Path, name: str) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is missing")
    assert run("export", name, "--out", "best", "--rows", "0").code == 0
    session = runtime.InferenceSession("best/model.onnx")
    spec = SweepFolder(ran / name).spec()
    x = load(spec.data, ran, make_task(spec.task)).x_test
    (found,) = session.run(["outputs"], {"x": x.numpy()})
    expected = rfprune.load("best")(x).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_the_generated_code_computes_the_same_bits(run, ran: Path, name: str) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not on PATH")
    metric = METRICS[name][0]
    exported = run("export", name, "--min", metric, "--out", "best")
    assert exported.code == 0, exported
    parity = json.loads(Path("best/parity.json").read_text())
    assert (parity["agreement"], parity["largest_error"]) == (1.0, 0.0)
    assert [layer["largest_error"] for layer in parity["layers"]] == [0.0, 0.0, 0.0]
    with np.load("best/test_vectors.npz") as vectors:
        outputs, fixed, y = (vectors[k] for k in ("outputs", "outputs_fixed", "y"))
    assert outputs.shape == fixed.shape == y.shape == (parity["rows"], 1)
    # The C++ puts out numbers on the grid of its own type, not floats.
    steps = fixed / parity["layers"][-1]["tolerance"]
    assert np.array_equal(np.round(steps), steps)
    facts = json.loads(Path("best/metrics.json").read_text())
    assert parity["torch_score"] == pytest.approx(facts[metric], rel=0.02)
    assert parity["cpp_score"] == pytest.approx(facts[metric], rel=0.05)
    if name == "numbers":
        cpp = float(np.sqrt(((fixed - y) ** 2).mean()))
        assert "puts out, to one step of their type, the same numbers as torch" in exported.out
    else:
        cpp = float(np.mean(np.logaddexp(0, np.where(y > 0.5, -fixed, fixed))))
        assert "is on the same side of one half as torch" in exported.out
    assert parity["cpp_score"] == pytest.approx(cpp, rel=1e-6)


def test_check_says_what_is_measured(run, ran: Path) -> None:
    path = ran.parent / "numbers.yml"
    path.write_text(yaml.safe_dump({"name": "numbers", **SWEEPS["numbers"]}))
    found = run("check", path, "--fast", "--json").json
    assert found["task"] == "regression"
    assert set(found["reference_point"]) == {"val_rmse", "dsp"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"objectives": {"val_rmse": "max", "dsp": "min"}},
            "'val_rmse' cannot be max. Allowed: val_rmse: min",
        ),
        ({"objectives": {"rmse": "min"}}, "the search may look at 'val_rmse'"),
        ({"objectives": {"val_accuracy": "max"}}, "unknown objective 'val_accuracy'"),
        ({"constraints": ["val_r3 > 0"]}, "unknown constraint .* Did you mean 'val_r2'"),
        ({"task": "regresion"}, "Did you mean 'regression'"),
        ({"task": "classification"}, "labels must be"),
        ({"task": "binary"}, "labels that are not 0 or 1"),
        ({"model": {"name": "mlp", "args": {"hidden": [8], "n_out": 2}}}, "n_out"),
    ],
)
def test_what_does_not_fit_the_task_is_one_sentence(
    run, ran: Path, changes: dict[str, Any], words: str
) -> None:
    path = ran.parent / "numbers.yml"
    path.write_text(yaml.safe_dump({"name": "numbers", **SWEEPS["numbers"], **changes}))
    refused = run("check", path)
    assert refused.code == 2, refused
    assert re.search(words, refused.err), refused.err
    assert refused.err.count("\n") == 1
    assert "numbers.yml" in refused.err
