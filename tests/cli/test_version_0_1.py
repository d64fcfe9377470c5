"""Run folders and exports that version 0.1 has made are shown, exported, loaded and continued."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rfprune
from rfprune.data import load
from rfprune.data.spec import DataSpec
from rfprune.results import SweepFolder
from rfprune.spec import TARGETS as TARGETS_OF_FILES
from rfprune.trial import restore
from tests.cli.conftest import run_without_ray

STORED = Path(__file__).parents[1] / "fixtures" / "version_0_1"
TARGETS = ("fpga", "edge")
#: What fronts have said since.
SINCE = {"dense", "on_front", "within_noise", "constant", "errors", "fits"}
SINCE |= {"repeats", "spread", "float_val_accuracy", "rows", "capacity", "reference"}
SINCE |= {"reachable_ns", *(e.name for facts in TARGETS_OF_FILES.values() for e in facts.ends)}
DATA = {"fpga": "digits", "edge": "digits_images"}


@pytest.fixture
def old(workplace: Path) -> Path:
    """A copy of the run folders, the sweep files and the exports in the current folder."""
    for name in ("runs", "export"):
        shutil.copytree(STORED / name, workplace / name)
    for target in TARGETS:
        shutil.copy(STORED / f"{target}.yml", workplace / f"previous_{target}.yml")
        path = workplace / "runs" / f"previous_{target}" / "sweep.json"
        facts = json.loads(path.read_text())
        path.write_text(json.dumps({**facts, "base_dir": str(workplace)}))
    return workplace


def stored_front(target: str) -> dict[str, Any]:
    front: dict[str, Any] = json.loads((STORED / f"{target}.json").read_text())
    return front


def shown_today(front: dict[str, Any]) -> dict[str, Any]:
    """Return a front without quantities of the other target, which 0.1 showed as unknown."""
    cost = list(front["objectives"])[-1]
    (facts,) = (t for t in TARGETS_OF_FILES.values() if cost in {q.name for q in t.quantities})
    others = {q.name for t in TARGETS_OF_FILES.values() if t is not facts for q in t.quantities}
    for row in front["front"]:
        assert all(row.get(name) is None for name in others)
    others |= SINCE
    rows = [
        {k: v for k, v in row.items() if k not in others}
        for row in front["front"]
        if row.get("on_front", 1)
    ]
    return {**{k: v for k, v in front.items() if k not in SINCE}, "front": rows}


def test_the_fixtures_name_no_machine() -> None:
    for path in STORED.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"site-packages" not in content, path
            assert not re.search(rb"/(home|root|work|tmp|Users)/", content), path


@pytest.mark.parametrize("target", TARGETS)
def test_the_front_is_the_one_that_version_0_1_printed(run, old: Path, target: str) -> None:
    found = run("pareto", f"previous_{target}", "--json")
    assert found.code == 0, found
    assert shown_today(found.json) == shown_today(stored_front(target))
    resources = {"dsp", "bram18", "lut", "ff", "latency_cycles", "ii_cycles"}
    assert all(resources <= set(row) for row in found.json["front"])


@pytest.mark.parametrize("target", TARGETS)
def test_tables_pages_and_pictures_are_made_of_it(run, old: Path, target: str) -> None:
    shown = run("pareto", f"previous_{target}", "--html", "f.html", "--png", "f.png")
    assert shown.code == 0, shown
    best = stored_front(target)["front"][0]
    assert f"{best['val_accuracy']:.4f}" in shown.out
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")
    assert "val_accuracy" in Path("f.html").read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_a_point_is_exported_and_loaded(run, old: Path, target: str) -> None:
    best = stored_front(target)["front"][0]
    name = f"previous_{target}"
    exported = run("export", name, "--max", "accuracy", "--out", "best", "--rows", "0")
    assert exported.code == 0, exported
    facts = json.loads(Path("best/metrics.json").read_text())
    for key in ("trial", "step", "accuracy", "val_accuracy"):
        assert facts[key] == pytest.approx(best[key])
    data = load(DataSpec(name=DATA[target])).in_raw_units()
    model = rfprune.load("best")
    right = (model(data.x_test).argmax(1) == data.y_test).float().mean()
    assert float(right) == pytest.approx(best["accuracy"], abs=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_an_export_of_version_0_1_is_loaded(old: Path, target: str) -> None:
    folder = old / "export" / f"previous_{target}"
    facts = json.loads((folder / "metrics.json").read_text())
    data = load(DataSpec(name=DATA[target]))
    model = rfprune.load(folder)
    right = (model(data.x_test).argmax(1) == data.y_test).float().mean()
    assert float(right) == pytest.approx(facts["accuracy"], abs=1e-6)
    with np.load(folder / "masks.npz") as masks:
        assert set(masks.files) == set(facts["live"])
        if target == "edge":
            kept = {name: int(masks[name].sum()) for name in masks.files}
            assert kept == facts["live"]
        else:
            for name in masks.files:
                weight = model.get_submodule(name).weight.detach().numpy()
                assert np.array_equal(weight != 0, masks[name])
    if target == "fpga":
        with np.load(folder / "test_vectors.npz") as vectors, torch.no_grad():
            found = model(torch.from_numpy(vectors["x"])).numpy()
            np.testing.assert_allclose(found, vectors["logits"], rtol=1e-5, atol=1e-5)


def test_an_export_of_version_0_1_is_estimated_as_its_trial_was(run, old: Path) -> None:
    facts = json.loads((old / "export/previous_fpga/metrics.json").read_text())
    trial = f"runs/previous_fpga/trials/{facts['trial']:04d}"
    for target in (["export/previous_fpga"], [trial, "--step", str(facts["step"])]):
        found = run("estimate", *target, "--json")
        assert found.code == 0, found
        total = found.json["total"]
        assert {name: total[name] for name in ("dsp", "bram18")} == {
            name: facts[name] for name in ("dsp", "bram18")
        }
        # Rules for look-up tables and flip-flops are newer than the trial.
        for name in ("lut", "ff"):
            assert total[name] == pytest.approx(facts[name], rel=0.15)


@pytest.mark.parametrize("target", TARGETS)
def test_every_accepted_step_is_restored_as_it_was_recorded(old: Path, target: str) -> None:
    from rfprune.training import measure

    for trial in SweepFolder(old / "runs" / f"previous_{target}").trials():
        for record in trial.steps():
            if not record.accepted:
                continue
            restored = restore(trial, record.step)
            prepared, data = restored.prepared, restored.prepared.data
            final = prepared.deployment.final(restored.model, restored.masks).eval()
            found = measure(final, data.x_val, data.y_val, prepared.task)
            assert found["accuracy"] == pytest.approx(record.values["val_accuracy"], abs=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_a_trial_keeps_its_name_and_its_dense_network(old: Path, target: str) -> None:
    home = SweepFolder(old / "runs" / f"previous_{target}")
    (stored,) = home.dense_dir.iterdir()
    for trial in home.trials():
        spec = trial.spec()
        assert stored.name.startswith(f"{spec.dense_key}-")
        assert json.loads((trial.path / "spec.json").read_text()) == spec.canonical()
        result = trial.result()
        assert result is not None
        assert set(result.dense) == {"val_accuracy", "accuracy"}
        known = json.loads((stored / "dense.json").read_text())
        assert result.dense["val_accuracy"] == known["val_accuracy"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_trial_that_was_cut_off_goes_on(old: Path, target: str) -> None:
    """From its first step, on the stored dense network, to the record that it had."""
    from rfprune.trial import run_trial

    home = SweepFolder(old / "runs" / f"previous_{target}")
    (stored,) = home.dense_dir.iterdir()
    before = (stored / "dense.pt").stat().st_mtime_ns
    trial = home.trial(1)
    whole, spec = trial.steps(), trial.spec()
    (trial.path / "result.json").unlink()
    trial.rewrite_steps(whole[:1])
    result = run_trial(spec, trial, dense_dir=home.dense_dir, base_dir=old)
    assert result.state == "complete"
    assert (stored / "dense.pt").stat().st_mtime_ns == before
    again = trial.steps()
    assert again[0].values == whole[0].values
    assert [record.step for record in again] == list(range(len(again)))
    assert again[-1].fraction.keys() == whole[-1].fraction.keys()


def continued(target: str, trials: int) -> Path:
    path = Path(f"previous_{target}.yml").absolute()
    text = re.sub(r"(?m)^trials: \d+$", f"trials: {trials}", path.read_text())
    path.write_text(text)
    return path


def test_a_sweep_is_continued(run, old: Path) -> None:
    path = continued("fpga", 4)
    before = {
        trial.number: trial.steps() for trial in SweepFolder(old / "runs/previous_fpga").trials()
    }
    run_without_ray(path)
    trials = list(SweepFolder(old / "runs/previous_fpga").trials())
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {t.number: t.steps() for t in trials[:3]} == before
    found = run("pareto", "previous_fpga", "--json").json
    assert found["trials"] == {"complete": 4, "failed": 0, "infeasible": 0, "running": 0}
    assert found["reference_point"] == stored_front("fpga")["reference_point"]
    assert found["hypervolume"] >= stored_front("fpga")["hypervolume"]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_command_continues_a_sweep(run, old: Path, target: str) -> None:
    ran = run("sweep", f"previous_{target}.yml", "--no-track")
    assert ran.code == 0, ran
    assert "0 failed" in ran.out
    found = run("pareto", f"previous_{target}", "--json").json
    assert shown_today(found) == shown_today(stored_front(target))
    if target == "fpga":
        more = run("sweep", f"previous_{target}.yml", "--trials", "4", "--no-track")
        assert more.code == 0, more
        assert "4 of 4 trials complete, 0 failed" in more.out


def test_a_changed_space_is_refused_with_what_to_do(run, old: Path) -> None:
    path = old / "previous_fpga.yml"
    path.write_text(path.read_text().replace("high: 0.6", "high: 0.7"))
    refused = run("sweep", path, "--no-track")
    assert refused.code == 2, refused
    assert refused.err.count("\n") == 1
    assert "--fresh" in refused.err
