"""Exported folders: whole or not at all, loadable, and right."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import rfprune
from rfprune.errors import RunsError
from rfprune.export import Request
from rfprune.export.bundle import export
from rfprune.export.subjects import estimate_folder
from rfprune.runs import TrialFolder
from rfprune.trial import restore, run_trial
from tests.trial.conftest import small


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("runs")
    folder = TrialFolder(home / "trials" / "0000")
    (home / "trial.json").write_text(json.dumps({"base_dir": str(home)}))
    run_trial(small(), folder, dense_dir=home / "dense", base_dir=home)
    return folder


@pytest.fixture(scope="module")
def exported(trial: TrialFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "best"
    export(Request(trial=trial, step=3, out=out, why="the best one", rows=0))
    return out


def test_the_network_comes_back(trial: TrialFolder, exported: Path) -> None:
    _, original = restore(trial, 3)
    loaded = rfprune.load(exported)
    x = torch.randn(10, 64)
    assert torch.equal(loaded(x), original(x))
    with np.load(exported / "masks.npz") as masks:
        for name, mask in masks.items():
            weight = loaded.get_submodule(name).weight.detach().numpy()
            assert np.array_equal(weight != 0, mask)


def test_every_file_is_listed_with_its_hash(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    files = {str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file()}
    assert set(manifest) == files - {"manifest.json"}
    for name, digest in manifest.items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest


def test_generated_code_and_record_agree(trial: TrialFolder, exported: Path) -> None:
    facts = json.loads((exported / "metrics.json").read_text())
    assert facts["live"] == trial.step(3).live
    report = (exported / "report.md").read_text()
    for name, live in facts["live"].items():
        assert f"| {name} | resource_unrolled |" in report
        assert f"| {live} |" in report


@pytest.mark.parametrize("by", ["analytic", "codegen"])
def test_estimates_of_trial_and_export_agree(trial: TrialFolder, exported: Path, by: str) -> None:
    of_trial, part = estimate_folder(trial.path, by, None)
    of_export, _ = estimate_folder(exported, by, None)
    assert of_trial.quantities() == of_export.quantities()
    assert of_trial.total.dsp == trial.step(3).dsp
    assert of_trial.source == by
    assert part.name == "xcvu13p"


def test_a_folder_in_use_is_refused(trial: TrialFolder, exported: Path) -> None:
    before = sorted(exported.rglob("*"))
    with pytest.raises(RunsError, match=r"is in use\. Allowed: a new or empty folder"):
        export(Request(trial=trial, step=3, out=exported, rows=0))
    assert sorted(exported.rglob("*")) == before


def test_a_fault_leaves_nothing(trial: TrialFolder, tmp_path: Path) -> None:
    with pytest.raises(RunsError, match="has no step 7"):
        export(Request(trial=trial, step=7, out=tmp_path / "out", rows=0))
    assert list(tmp_path.iterdir()) == []


def test_changed_data_are_noticed(
    trial: TrialFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = trial.step(2)
    wrong = record.model_copy(update={"accuracy": record.accuracy - 0.2})
    monkeypatch.setattr(TrialFolder, "step", lambda self, index: wrong)
    with pytest.raises(RunsError, match="the data or the checkpoint have changed"):
        export(Request(trial=trial, step=2, out=tmp_path / "out", rows=0))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(RunsError, match=r"holds no model\.pt"):
        rfprune.load(tmp_path)
    with pytest.raises(RunsError, match="neither a trial nor an exported network"):
        estimate_folder(tmp_path, "analytic", None)


@pytest.mark.slow
def test_the_cpp_simulation_agrees(trial: TrialFolder, tmp_path: Path) -> None:
    request = Request(trial=trial, step=3, out=tmp_path / "out")
    parity = export(request).parity
    assert parity is not None
    assert parity.rows == 359
    assert parity.agreement == 1.0
    assert parity.largest_error <= parity.step
    assert parity.cpp_accuracy == pytest.approx(trial.step(3).accuracy, abs=0.02)
    with np.load(tmp_path / "out" / "test_vectors.npz") as vectors:
        assert vectors["logits"].shape == (359, 10)
    again = replace(request, out=tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    export(replace(again, rows=0))
    assert (tmp_path / "empty" / "manifest.json").exists()
