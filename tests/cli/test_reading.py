"""What is shown of a sweep that has run: the published JSON objects, tables, files."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from rfprune.tasks import TASKS
from rfprune.tasks.metrics import METRICS

QUANTITIES = {"dsp", "bram18", "lut", "ff", "latency_cycles", "ii_cycles"}
DESIGN = """
part: pynq-z2
clock_ns: 10
layers:
  - {name: fc1, type: dense, n_in: 8, n_out: 8, reuse_factor: 4, strategy: resource}
  - {name: relu, type: relu, n_out: 8}
  - {name: fc2, type: dense, n_in: 8, n_out: 3}
"""


def test_pareto_prints_the_published_object(run, finished: Path) -> None:
    ran = run("pareto", "tiny", "--json")
    assert ran.code == 0
    assert ran.err == ""
    found = ran.json
    assert set(found) == {
        "sweep",
        "objectives",
        "hypervolume",
        "reference_point",
        "trials",
        "rows",
        "capacity",
        "reference",
        "front",
    }
    assert found["sweep"] == "tiny"
    assert found["objectives"] == {"val_accuracy": "max", "dsp": "min"}
    assert set(found["reference_point"]) == set(found["objectives"])
    assert found["trials"] == {"complete": 3, "failed": 0, "infeasible": 0, "running": 0}
    for point in found["front"]:
        assert {"trial", "step", "run_id", "feasible", "params", "accuracy"} <= set(point)
        assert point["fits"] == 1
        assert point["dense"] == (point["step"] == 0)
        assert set(point) >= QUANTITIES
        assert set(point["params"]) == {
            "hardware.layers.fc1.reuse_factor",
            "hardware.layers.output.reuse_factor",
            "prune.budget.dsp",
        }
        folder = finished / "trials" / f"{point['trial']:04d}"
        steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        assert steps[point["step"]]["dsp"] == point["dsp"]


@pytest.mark.parametrize("width", [50, 80, 140])
def test_tables_keep_whole_values(run, finished: Path, monkeypatch, width: int) -> None:
    front = run("pareto", "tiny", "--json").json["front"]
    monkeypatch.setenv("COLUMNS", str(width))
    ran = run("pareto", "tiny")
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in ran.out
    assert "val_accuracy ↑" in ran.out
    assert "dsp ↓" in ran.out
    for point in front:
        cells = [str(point["trial"]), str(point["step"]), f"{point['val_accuracy']:.4f}"]
        row = [*cells, f"{point['dsp']:,}"]
        assert any(line.split()[:4] == row for line in lines)
    assert ("sparsity" in ran.out.split("Best point")[0].split("no room for")[0]) == (width == 140)


def test_pareto_writes_page_picture_and_table(run, finished: Path) -> None:
    ran = run("pareto", "tiny", "--html", "a/f.html", "--png", "a/f.png", "--csv", "a/f.csv")
    assert ran.code == 0
    assert (Path("a") / "f.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert (Path("a") / "f.png").read_bytes().startswith(b"\x89PNG")
    rows = (Path("a") / "f.csv").read_text().splitlines()
    assert rows[0].startswith("trial,step,run_id,feasible,")
    assert "Written: a/f.csv" in ran.out


def test_pareto_of_a_sweep_without_steps(run, finished: Path) -> None:
    for folder in (finished / "trials").iterdir():
        (folder / "steps.jsonl").unlink()
    ran = run("pareto", "tiny")
    assert ran.code == 0
    assert "has no front yet" in ran.out
    assert run("pareto", "tiny", "--json").json["front"] == []
    refused = run("export", "tiny", "--out", "o")
    assert refused.code == 2
    assert "no finished pruning step" in refused.err


def test_a_sweep_is_named_by_file_name_or_folder(run, finished: Path) -> None:
    texts = {run("pareto", name, "--json").out for name in ("tiny", "tiny.yml", "runs/tiny")}
    assert len(texts) == 1


def test_estimate_prints_the_published_object(run, make) -> None:
    (make.folder / "design.yml").write_text(DESIGN)
    ran = run("estimate", "design.yml", "--json")
    assert ran.code == 0
    found = ran.json
    assert {
        "source",
        "part",
        "clock_ns",
        "total",
        "layers",
        "fits",
        "utilization",
    } <= set(found)
    assert found["part"] == "xc7z020"
    assert found["clock_ns"] == 10
    assert set(found["total"]) == QUANTITIES
    assert [layer["name"] for layer in found["layers"]] == ["fc1", "relu", "fc2"]
    assert [layer["reuse_factor"] for layer in found["layers"]] == [4, 1, 1]
    assert found["total"]["dsp"] == sum(layer["dsp"] for layer in found["layers"])
    assert found["fits"] is True
    assert found["utilization"]["dsp"] == pytest.approx(found["total"]["dsp"] / 220)


def test_estimate_of_a_design_in_json(run, make) -> None:
    layer = {"name": "fc", "type": "dense", "n_in": 4, "n_out": 2}
    (make.folder / "design.json").write_text(json.dumps({"layers": [layer]}))
    assert run("estimate", "design.json", "--json").json["layers"][0]["name"] == "fc"


def test_estimates_of_trial_checkpoint_and_export_agree(run, finished: Path) -> None:
    best = run("pareto", "tiny", "--json").json["front"][0]
    trial, step = f"runs/tiny/trials/{best['trial']:04d}", best["step"]
    exported = run("export", "tiny", "--max", "val_accuracy", "--out", "best", "--rows", "0")
    assert exported.code == 0, exported
    named = [
        f"{trial} --step {step}",
        f"{trial}/steps/{step:03d}.pt",
        "best",
        "best/model.pt",
        f"{trial} --step {step} --by codegen",
        "best --by codegen",
    ]
    for target in named:
        ran = run("estimate", *shlex.split(target), "--json")
        assert ran.code == 0, ran
        assert {name: best[name] for name in QUANTITIES} == ran.json["total"], target
        assert ran.json["source"] == ("codegen" if "codegen" in target else "analytic")
    Path("best/metrics.json").write_text("{")  # the network itself says what it takes
    assert run("estimate", "best", "--json").json["total"] == ran.json["total"]
    ran = run("estimate", "best", "--step", "1")
    assert (ran.code, "best is an export, which holds one network" in ran.err) == (2, True)


def test_an_estimator_whose_tool_is_missing_is_work_that_failed(
    run, finished: Path, monkeypatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ran = run("estimate", "runs/tiny/trials/0000", "--by", "csynth")
    assert ran.code == 1
    assert "PATH" in ran.err
    assert len(ran.err.splitlines()) == 1


OWN = """
from rfprune.fpga.estimators.analytic import estimate

def plain(design):
    return estimate(design)

def reads(design, project):
    assert (project / "firmware" / "parameters.h").is_file()
    return estimate(design)

def wrong(design):
    return 3

def broken(design):
    raise ValueError("no tool today")
"""


def test_an_estimator_of_the_user(run, finished: Path, workplace: Path) -> None:
    (workplace / "own_estimators.py").write_text(OWN)
    trial = "runs/tiny/trials/0000"
    by_rules = run("estimate", trial, "--json").json["total"]
    for name in ("plain", "reads"):
        ran = run("estimate", trial, "--by", f"own_estimators:{name}", "--json")
        assert ran.json["total"] == by_rules
    for name, words in (("wrong", "returned an int"), ("broken", "ValueError: no tool today")):
        ran = run("estimate", trial, "--by", f"own_estimators:{name}")
        assert ran.code == 1
        assert f"'own_estimators:{name}'" in ran.err
        assert words in ran.err


def test_export_takes_the_best_that_meets_the_conditions(run, finished: Path) -> None:
    steps = [
        {"trial": number, **json.loads(line)}
        for number in range(3)
        for line in (finished / f"trials/{number:04d}/steps.jsonl").read_text().splitlines()
    ]
    accepted = [step for step in steps if step["accepted"]]
    limit = sorted(step["dsp"] for step in accepted)[len(accepted) // 2]
    within = [step for step in accepted if step["dsp"] <= limit]
    ran = run(
        *("export", "tiny", "--where", f"dsp<={limit}", "--max", "accuracy"),
        *("--out", "o", "--rows", "0"),
    )
    assert ran.code == 0, ran
    facts = json.loads(Path("o/metrics.json").read_text())
    assert facts["dsp"] <= limit
    assert facts["val_accuracy"] == max(step["val_accuracy"] for step in within)
    assert (
        "Test rows are never used to select: val_accuracy was compared instead of accuracy"
        in ran.out
    )
    for name in ("model.pt", "masks.npz", "spec.json", "estimate.json", "report.md"):
        assert (Path("o") / name).is_file()
    assert (Path("o") / "hls" / "firmware").is_dir()


def test_list_names_what_a_file_can_name(run) -> None:
    wanted = {
        "models": "mlp",
        "datasets": "digits",
        "tasks": "regression",
        "metrics": "rmse",
        "parts": "xc7z020",
        "methods": "greedy",
        "estimators": "analytic",
        "devices": "raspberry_pi_4",
        "sweeps": "digits",
        "profiles": "ray",
    }
    for kind, name in wanted.items():
        ran = run("list", kind, "--json")
        assert ran.code == 0, ran
        assert name in ran.json
        assert all(isinstance(text, str) and text for text in ran.json.values())
        assert [line.split()[0] for line in run("list", kind).out.splitlines()] == list(ran.json)


def test_list_metrics_says_what_a_file_needs_to_know(run) -> None:
    listed = run("list", "metrics", "--json").json
    assert list(listed) == list(METRICS)
    for name, text in listed.items():
        row = METRICS[name]
        assert text.startswith(f"{row.label} ({row.direction})")
        takers = [task for task, facts in TASKS.items() if name in facts.metrics]
        assert text.endswith(f"; tasks: {', '.join(takers)}")
    assert "; arguments: k (default 2);" in listed["top_k"]
    assert "; arguments: fpr;" in listed["tpr"]
    assert "arguments" not in listed["rmse"]


def test_clean_says_what_it_would_free_and_frees_it_when_told(run, finished: Path) -> None:
    before = run("pareto", "tiny", "--json").json
    there = sorted(finished.rglob("*.pt"))
    ran = run("clean", "tiny")
    assert ran.code == 0
    assert "This would free " in ran.out
    assert "checkpoints that are not on the front" in ran.out
    assert "Nothing was freed. To free it: rfprune clean tiny --yes" in ran.out
    assert sorted(finished.rglob("*.pt")) == there
    ran = run("clean", "tiny", "--yes")
    assert "Freed " in ran.out
    assert set(finished.rglob("*.pt")) < set(there)
    assert run("pareto", "tiny", "--json").json == before
    shown = next(point for point in before["front"] if not point["dense"])
    picked = ("--where", f"trial=={shown['trial']}", "--where", f"step=={shown['step']}")
    assert run("export", "tiny", *picked, "--rows", "0", "--out", "best").code == 0
    assert "Nothing to free" in run("clean", "tiny", "--yes").out
    assert run("clean", "tiny", "--keep", "frnt").err.startswith("rfprune: keep: 'frnt'. ")
