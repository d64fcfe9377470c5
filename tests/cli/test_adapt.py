"""``rfprune adapt``: from a finished sweep, a trial or an export to one network with levels."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import rfprune
from rfprune.data import load
from rfprune.data.spec import DataSpec
from rfprune.edge.adaptive import AgentRule
from rfprune.training import evaluate

TRIAL: dict[str, Any] = {
    "model": {"name": "edge_cnn", "args": {"channels": [6, 8]}},
    "data": {"name": "digits_images", "train_rows": 400, "test_rows": 100},
    "edge": {"conditions": {"noise": 0.2, "dark": 0.5}},
    "train": {"epochs": 3, "batch_size": 64, "learning_rate": 0.01, "device": "cpu"},
    "prune": {
        "method": "uniform",
        "budget": {"energy_mj": 0.6},
        "steps": 2,
        "epochs_per_step": 1,
        "tolerance": 1.0,
    },
}
SWEEP = {
    "name": "toy",
    "search": {"prune.method": {"choices": ["uniform", "magnitude"]}},
    "sampler": {"name": "grid"},
    "trials": 2,
}


def write(folder: Path, stem: str = "one", /, **changes: Any) -> Path:
    path = folder / f"{stem}.yml"
    path.write_text(yaml.safe_dump({**TRIAL, **changes}, sort_keys=False))
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def rows_of_report(folder: Path, title: str) -> list[list[str]]:
    text = (folder / "report.md").read_text()
    section = text.split(f"## {title} accuracy\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line]
    return [rows[0], *rows[2:]]


def test_a_trial_becomes_one_network_with_levels(run, workplace: Path) -> None:
    assert run("prune", write(workplace)).code == 0
    for source, out in (("one", "a"), ("runs/one/trials/0000", "b")):
        ran = run("adapt", source, "--levels", "0,0.3,0.6", "--epochs", "2", "--out", out)
        assert ran.code == 0, ran
        assert "level 2: " in ran.out
        assert ran.out.rstrip().endswith(f"Written: {out} (begin with {out}/report.md)")
        assert {path.name for path in (workplace / out).iterdir()} == {"adaptive.pt", "report.md"}


def test_levels_per_stage_run_on_a_device_without_torch(run, workplace: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is missing")
    assert run("prune", write(workplace)).code == 0
    stages = [{}, {"down*": 0.5}, {"down*": 0.5, "s*": 0.5}]
    (workplace / "stages.yml").write_text(yaml.safe_dump({"levels": stages}))
    ran = run("adapt", "one", "--levels", "stages.yml", "--epochs", "1", "--onnx", "--out", "out")
    assert ran.code == 0, ran
    out = workplace / "out"
    names = {path.name for path in out.iterdir()}
    levels = {f"level{level}.onnx" for level in range(3)}
    assert names == {*levels, "adaptive.pt", "report.md", "controller.json", "runner.py"}
    kept = rfprune.load_adaptive(out).network.levels.masks
    assert [masks.kept.tolist() for masks in kept] == [[6, 8, 8], [6, 4, 8], [3, 4, 8]]
    raw = load(DataSpec(**TRIAL["data"])).in_raw_units().x_test[:64].numpy()
    np.save(out / "rows.npy", raw)
    command = [sys.executable, "-I", "runner.py", ".", "rows.npy", "--batch", "32"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first = done.stdout.split()
    level, answers = int(first[1]), [int(word) for word in first[2:34]]
    network = rfprune.load_adaptive(out).network.at(level)
    with torch.no_grad():
        x = load(DataSpec(**TRIAL["data"])).x_test[:32]
        assert network(x).argmax(dim=1).tolist() == answers


def test_wrong_levels_of_a_file_are_sentences(run, workplace: Path) -> None:
    assert run("prune", write(workplace)).code == 0
    for text, sentence in (
        ("levels: 3", "levels: is not a list of layers and fractions"),
        ("levels: [{}, {stm: 0.5}]", "levels: 'stm' names no layer that can be pruned. Did you"),
    ):
        (workplace / "stages.yml").write_text(text)
        ran = run("adapt", "one", "--levels", "stages.yml", "--out", "out")
        assert ran.code == 2
        assert sentence in ran.err
        assert not (workplace / "out").exists()


def test_what_is_reported_is_what_the_file_holds(run, workplace: Path) -> None:
    assert run("prune", write(workplace)).code == 0
    assert run("adapt", "one", "--epochs", "2", "--out", "out").code == 0
    model = rfprune.load_adaptive(workplace / "out")
    data = load(DataSpec(**TRIAL["data"]))
    header, *rows = rows_of_report(workplace / "out", "Validation")
    assert header[4:] == ["clean", "noise", "dark"]
    # edge.levels of the file, without the one that prunes everything
    assert len(rows) == len(model.network.levels) == 4
    power = [float(row[3]) for row in rows]
    assert power == sorted(power, reverse=True)
    assert power == pytest.approx(model.policy.rule.power_mw, rel=1e-3)
    for level, row in enumerate(rows):
        found = evaluate(model.network.at(level), data.x_val, data.y_val)
        assert float(row[4]) == pytest.approx(found, abs=1e-4)
    tested = rows_of_report(workplace / "out", "Test")[1:]
    found = evaluate(model.network.at(0), data.x_test, data.y_test)
    assert float(tested[0][4]) == pytest.approx(found, abs=1e-4)
    with torch.inference_mode():
        model.power_budget_mw = float(model.policy.rule.power_mw[-1])
        assert model(data.x_test[:16]).shape == (16, 10)
        assert model.level == 3


@pytest.mark.parametrize("beta", [10.0, 0.0])
def test_an_agent_learns_which_level_to_take(run, workplace: Path, beta: float) -> None:
    """By the reward, computed from the report, no single level beats what the agent chooses."""
    agent = {"episodes": 200, "hidden": [32], "reward": {"beta": beta}}
    path = write(workplace, prune={**TRIAL["prune"], "agent": agent})
    assert run("prune", path).code == 0
    ran = run("adapt", "one", "--policy", "agent", "--epochs", "2", "--out", "out")
    assert ran.code == 0, ran
    header, *rows = rows_of_report(workplace / "out", "Validation")
    report = (workplace / "out" / "report.md").read_text()
    wanted = report.split("Without a budget: ")[1].split(".\n")[0].split(", ")
    assert [choice.split()[0] for choice in wanted] == header[4:]
    accuracy = np.array([row[4:] for row in rows], dtype=float)
    power = np.array([row[3] for row in rows], dtype=float)
    worth = accuracy - beta * (power / power[0])[:, None]
    chosen = [int(choice.split()[1]) for choice in wanted]
    assert worth[chosen, range(len(chosen))].mean() >= worth.mean(axis=1).max() - 0.02
    model = rfprune.load_adaptive(workplace / "out")
    assert isinstance(model.policy.rule, AgentRule)
    model.power_budget_mw = float(model.policy.rule.power_mw[-1])
    with torch.inference_mode():
        assert model(torch.rand(4, 1, 8, 8)).shape == (4, 10)
    assert model.level == 3


def test_a_policy_that_cannot_be_is_one_sentence(run, make, workplace: Path) -> None:
    ran = run("adapt", "none", "--policy", "agnt", "--out", "out")
    assert ran.code == 2, ran
    assert ran.err == "rfprune: policy: 'agnt'. Did you mean 'agent'? Allowed: table, agent.\n"
    rewards = {"agent": {"reward": {"alpha": [1.0, 2.0, 3.0]}}}
    assert run("prune", write(workplace, prune={**TRIAL["prune"], **rewards})).code == 0
    before = make.files()
    ran = run("adapt", "one", "--policy", "agent", "--out", "out")
    assert ran.code == 2, ran
    assert "prune.agent.reward.alpha: has 3 values for 1 layers (network)" in ran.err
    assert make.files() == before


@pytest.mark.parametrize("policy", ["table", "agent"])
def test_a_score_that_is_to_be_small(run, workplace: Path, policy: str) -> None:
    """Negated, it is nowhere between 0 and 1, where an accuracy is."""
    prune = {**TRIAL["prune"], "tolerance": 0.5, "agent": {"episodes": 20, "hidden": [8]}}
    task = {"metrics": ["log_loss", "accuracy"], "score": "log_loss"}
    assert run("prune", write(workplace, task=task, prune=prune)).code == 0
    ran = run("adapt", "one", "--epochs", "2", "--policy", policy, "--out", "out")
    assert ran.code == 0, ran
    shown = [float(line.split("clean ")[1].split(",")[0]) for line in ran.out.splitlines()[:4]]
    assert min(shown) > 0
    model = rfprune.load_adaptive(workplace / "out")
    if policy == "table":
        rule = model.policy.rule
        assert rule.table.accuracy[0] == pytest.approx([-score for score in shown], abs=1e-4)
        # Half more than the loss of the whole network is tolerated.
        assert rule.least_accuracy == pytest.approx(-1.5 * shown[0], rel=1e-3)


def test_equal_input_gives_equal_levels(run, workplace: Path) -> None:
    assert run("prune", write(workplace)).code == 0
    for out in ("first", "second"):
        assert run("adapt", "one", "--epochs", "1", "--out", out).code == 0
    first, second = (rfprune.load_adaptive(workplace / out) for out in ("first", "second"))
    x = torch.rand(4, 1, 8, 8)
    for level in range(4):
        assert torch.equal(first.network(x, level), second.network(x, level))
    reports = [(workplace / out / "report.md").read_bytes() for out in ("first", "second")]
    assert len({hashlib.sha256(report).hexdigest() for report in reports}) == 1


def test_an_export_is_adapted_further(run, workplace: Path) -> None:
    assert run("prune", write(workplace)).code == 0
    trial = "runs/one/trials/0000"
    assert run("export", trial, "--out", "best").code == 0
    ran = run("adapt", "best", "--levels", "0,0.5", "--epochs", "1", "--out", "out")
    assert ran.code == 0, ran
    exported, adapted = rfprune.load(workplace / "best"), rfprune.load_adaptive(workplace / "out")
    sizes = {name: tuple(tensor.shape) for name, tensor in exported.state_dict().items()}
    whole = adapted.network.network
    assert {name: tuple(tensor.shape) for name, tensor in whole.state_dict().items()} == sizes
    assert adapted.network.levels.counts.total_macs[1] < adapted.network.levels.counts.total_macs[0]
    assert adapted(torch.rand(4, 1, 8, 8)).shape == (4, 10)


@pytest.mark.slow
def test_of_a_sweep_the_most_accurate_dense_network_is_adapted(run, workplace: Path) -> None:
    assert run("sweep", write(workplace, "toy", **SWEEP), "--no-track").code == 0
    ran = run("adapt", "toy", "--epochs", "1", "--out", "out")
    assert ran.code == 0, ran
    assert (
        "Level 0 is the dense network of runs/toy/trials/0000"
        in (workplace / "out/report.md").read_text()
    )


def test_floors_and_layers_of_the_file_hold_at_every_level(run, workplace: Path) -> None:
    layers = {"stem": {"prune": False}, "down1": {"floor": 7}}
    prune = {**TRIAL["prune"], "budget": {"macs": 0.6}, "layers": layers}
    assert run("prune", write(workplace, prune=prune)).code == 0
    assert run("adapt", "one", "--epochs", "1", "--out", "out").code == 0
    levels = rfprune.load_adaptive(workplace / "out").network.levels
    left = [dict(zip(masks, masks.kept.tolist(), strict=True)) for masks in levels.masks]
    assert {kept["stem"] for kept in left} == {left[0]["stem"]}
    assert min(kept["down1"] for kept in left) == 7
    assert left[-1]["residual1.conv1"] < left[0]["residual1.conv1"]


@pytest.mark.parametrize("levels", ["0", "0.2,0.5", "0,0.5,0.5", "0,1", "0,a", "0,nan"])
def test_levels_that_cannot_be_are_one_sentence(run, workplace: Path, levels: str) -> None:
    ran = run("adapt", "none", "--levels", levels, "--out", "out")
    assert ran.code == 2, ran
    assert ran.err.startswith(f"rfprune: levels: '{levels}' is not a list of levels. Allowed")
    assert ran.err.count("\n") == 1


def test_what_cannot_be_adapted_is_one_sentence(run, make, finished, workplace: Path) -> None:
    before = make.files()
    ran = run("adapt", "tiny", "--out", "out")
    assert ran.code == 2, ran
    assert "is for an FPGA. Allowed: a sweep, trial or export for an edge device" in ran.err
    ran = run("adapt", "tny", "--out", "out")
    assert ran.code == 2, ran
    assert "no sweep 'tny' under runs. Did you mean 'tiny'?" in ran.err
    assert make.files() == before


def test_nothing_is_left_half_written(run, make, workplace: Path) -> None:
    assert run("prune", write(workplace)).code == 0
    (workplace / "full").mkdir()
    (workplace / "full" / "mine.txt").write_text("mine")
    before = make.files()
    ran = run("adapt", "one", "--out", "full")
    assert ran.code == 2, ran
    assert "full: is in use. Allowed: a new or empty folder" in ran.err
    diverges = {**TRIAL["train"], "learning_rate": 1e30}
    spec = workplace / "runs/one/trials/0000/spec.json"
    values = json.loads(spec.read_text())
    spec.write_text(json.dumps({**values, "train": {**values["train"], **diverges}}))
    ran = run("adapt", "one", "--out", "out")
    assert ran.code == 1, ran
    assert make.files() == before
    checkpoint = workplace / "runs/one/trials/0000/steps/000.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    ran = run("adapt", "one", "--out", "out")
    assert ran.code == 2, ran
    assert "steps/000.pt: the checkpoint cannot be used" in ran.err
    checkpoint.unlink()
    ran = run("adapt", "one", "--out", "out")
    assert ran.code == 2, ran
    assert "has no trained dense network yet" in ran.err
    assert not (workplace / "out").exists()


def test_every_listed_device_can_be_named_in_a_file(run, workplace: Path) -> None:
    listed = run("list", "devices", "--json").json
    assert listed
    for name in listed:
        path = write(workplace, "toy", **SWEEP, edge={"device": name})
        ran = run("check", path)
        assert ran.code == 0, ran
        assert f"Dense network on {name}" in ran.out
