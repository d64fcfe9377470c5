"""The sweeps that come with rfprune, one of each kind of task, from their files to an export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.cli.conftest import run_without_ray

SWEEPS = Path(__file__).parents[2] / "sweeps"
#: The metrics of each, the one that decides first.
KINDS = {
    "digits": ["accuracy"],
    "breast_cancer": ["auc", "accuracy"],
    "diabetes": ["rmse", "r2", "resolution"],
    "digit_properties": ["auc", "accuracy", "eff"],
    "tumour_anomalies": ["auc", "eff"],
    "two_heads": ["label_accuracy", "label_auc", "pt_resolution", "pt_rmse"],
}
#: Better than this on the test rows, or the network has learned nothing.
LEARNED = {
    "digits": ("accuracy", 0.8),
    "breast_cancer": ("auc", 0.95),
    "diabetes": ("r2", 0.3),
    "digit_properties": ("auc", 0.9),
    "tumour_anomalies": ("auc", 0.85),
    "two_heads": ("label_accuracy", 0.8),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_sweep_of_each_kind_runs_from_its_file_to_an_export(
    run, workplace: Path, name: str
) -> None:
    torch.set_num_threads(1)
    values = yaml.safe_load((SWEEPS / f"{name}.yml").read_text())
    path = workplace / f"{name}.yml"
    path.write_text(yaml.safe_dump({**values, "trials": 2}, sort_keys=False))
    run_without_ray(path)
    found = run("pareto", name, "--json").json
    assert found["objectives"] == values["objectives"]
    assert found["trials"]["complete"] == 2
    front = [row for row in found["front"] if row["trial"] is not None]
    for row in front:
        assert {whole for m in KINDS[name] for whole in (m, f"val_{m}")} <= set(row)
    metric, least = LEARNED[name]
    assert max(row[metric] for row in front) > least
    rows = "0" if shutil.which("g++") is None else "60"
    exported = run("export", name, "--out", "best", "--rows", rows, "--allow-larger")
    assert exported.code == 0, exported
    facts = json.loads(Path("best/metrics.json").read_text())
    assert set(KINDS[name]) <= set(facts)
    if rows != "0":
        parity = json.loads(Path("best/parity.json").read_text())
        assert parity["agreement"] == 1.0


@pytest.mark.slow
def test_heads_have_one_name_everywhere(run, workplace: Path) -> None:
    """In tables, pages, the ONNX file, `rfprune.load` and MLflow."""
    import rfprune
    from rfprune.spec import SweepSpec
    from rfprune.spec.yaml_files import parse_spec
    from rfprune.tracking.trial_run import columns_of

    runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is missing")
    torch.set_num_threads(1)
    values = yaml.safe_load((SWEEPS / "two_heads.yml").read_text())
    path = workplace / "two_heads.yml"
    values["train"]["epochs"] = 3
    path.write_text(yaml.safe_dump({**values, "trials": 1}, sort_keys=False))
    run_without_ray(path)
    columns = columns_of(parse_spec(SweepSpec, values, str(path)))
    assert {"val_label_accuracy", "pt_rmse"} <= set(columns)
    written = run("pareto", "two_heads", "--html", "f.html", "--csv", "f.csv")
    assert written.code == 0, written
    for file in ("f.html", "f.csv"):
        assert "val_pt_resolution" in Path(file).read_text()
    assert run("export", "two_heads", "--where", "pt_rmse<=1e9", "--max", "label_accuracy",
               "--out", "best", "--rows", "0", "--allow-larger").code == 0  # fmt: skip
    x = np.random.default_rng(0).normal(size=(7, 12)).astype(np.float32)
    session = runtime.InferenceSession("best/model.onnx")
    assert [output.name for output in session.get_outputs()] == ["label", "pt"]
    with torch.no_grad():
        expected = rfprune.load("best")(torch.from_numpy(x))
    for name, found, own in zip(
        ("label", "pt"), session.run(None, {"x": x}), expected, strict=True
    ):
        np.testing.assert_allclose(found, own.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
