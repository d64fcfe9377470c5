"""Exported folders: whole or not at all, loadable, and right."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import rfprune
from rfprune.errors import RunsError
from rfprune.exporting import Request, export, load_layers
from rfprune.fpga.estimating import estimate_folder
from rfprune.results import TrialFolder
from rfprune.trial.restore import restore


@pytest.fixture(scope="module")
def exported(trial: TrialFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "best"
    export(Request(trial=trial, step=3, out=out, why="the best one", rows=0))
    return out


def test_the_network_comes_back(trial: TrialFolder, exported: Path) -> None:
    restored = restore(trial, 3)
    loaded = rfprune.load(exported)
    scaled = restored.prepared.data.x_test[:50]
    # What is loaded takes raw rows, here pixels in 0..16.
    raw = restored.prepared.data.scaling.raw(scaled)
    assert raw.max() == 16
    assert torch.equal(raw, raw.round())
    assert torch.equal(loaded(raw), restored.model(scaled))
    assert torch.equal(load_layers(exported)(scaled), restored.model(scaled))
    with np.load(exported / "masks.npz") as masks:
        for name, mask in masks.items():
            weight = loaded.get_submodule(name).weight.detach().numpy()
            assert np.array_equal(weight != 0, mask)


def test_every_file_is_listed_with_its_hash(exported: Path) -> None:
    lines = (exported / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    files = {str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file()}
    assert set(sums) == files - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest


def test_sha256sum_checks_the_files(exported: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not on PATH")
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=exported, check=False).returncode == 0


def test_nothing_names_this_machine(exported: Path) -> None:
    places = [exported.parent, Path(torch.__file__).parents[1], Path(rfprune.__file__).parents[1]]
    for path in exported.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [place for place in places if str(place).encode() in content], path


def test_onnx_is_the_same_network(exported: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is missing")
    path = exported / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    assert onnx.load(path).opset_import[0].version >= 18
    assert not list(exported.glob("*.data"))
    session = runtime.InferenceSession(str(path))
    model = rfprune.load(exported)
    for rows in (1, 7):
        x = torch.randn(rows, 64)
        (logits,) = session.run(["logits"], {"x": x.numpy()})
        np.testing.assert_allclose(logits, model(x).detach().numpy(), rtol=0, atol=1e-5)


def test_generated_code_and_record_agree(trial: TrialFolder, exported: Path) -> None:
    facts = json.loads((exported / "metrics.json").read_text())
    assert facts["live"] == trial.step(3).live
    report = (exported / "report.md").read_text()
    page = (exported / "report.html").read_text()
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in page.split("</tr>")]
    for name, live in facts["live"].items():
        assert f"| {name} | resource_unrolled |" in report
        assert f"| {live} |" in report
        (row,) = (row for row in rows if row[:1] == [name])
        assert row[1] == "resource_unrolled"
        assert str(live) in row[2:]
    assert "__" not in page
    assert "http" not in page


@pytest.mark.parametrize("by", ["analytic", "codegen"])
def test_estimates_of_trial_and_export_agree(trial: TrialFolder, exported: Path, by: str) -> None:
    of_trial, part = estimate_folder(trial.path, by, None)
    of_export, _ = estimate_folder(exported, by, None)
    assert of_trial.quantities() == of_export.quantities()
    assert of_trial.total.dsp == trial.step(3).values["dsp"]
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
    wrong = record.model_copy(
        update={"values": {**record.values, "accuracy": record.values["accuracy"] - 0.2}}
    )
    monkeypatch.setattr(TrialFolder, "step", lambda self, index: wrong)
    with pytest.raises(RunsError, match="the data or the checkpoint has changed"):
        export(Request(trial=trial, step=2, out=tmp_path / "out", rows=0))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(RunsError, match=r"has no model\.pt"):
        rfprune.load(tmp_path)
    with pytest.raises(RunsError, match="neither a trial nor an exported network"):
        estimate_folder(tmp_path, "analytic", None)


def test_an_empty_folder_is_filled(trial: TrialFolder, tmp_path: Path) -> None:
    export(Request(trial=trial, step=3, out=tmp_path, rows=0, picture=b"a picture"))
    assert (tmp_path / "SHA256SUMS").exists()
    assert (tmp_path / "front.png").read_bytes() == b"a picture"
    assert "(front.png)" in (tmp_path / "report.md").read_text()


def test_a_damaged_checkpoint_is_refused(trial: TrialFolder, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(trial.home, runs)
    copied = TrialFolder(runs / "trials" / "0000")
    path = copied.checkpoint(3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(RunsError, match=r"3\.pt: the checkpoint cannot be used"):
        export(Request(trial=copied, step=3, out=tmp_path / "out", rows=0))
    assert list(tmp_path.iterdir()) == [runs]


def test_where_nothing_can_be_written(trial: TrialFolder) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("this system has no /proc, the folder in which not even root can write")
    with pytest.raises(RunsError, match=r"/proc/none/out: cannot be written \(.+\)\."):
        export(Request(trial=trial, step=3, out=Path("/proc/none/out"), rows=0))
