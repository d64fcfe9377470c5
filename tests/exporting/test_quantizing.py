"""Exports in 8-bit integers: they run, they are smaller, and they are as right as torch's."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.data import load
from rfprune.errors import RunsError
from rfprune.exporting import Request, export
from rfprune.exporting import load as load_export
from rfprune.exporting.quantizing import quantize
from rfprune.spec import TrialSpec
from rfprune.tasks import make_task
from rfprune.training import evaluate
from tests.edge.conftest import run, small

pytest.importorskip("onnxruntime", reason="the package onnxruntime is missing")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("quantized")
    folder, _ = run(home, small(train={"epochs": 8}))
    return export(Request(folder, 1, home / "export")).out


def in_torch(network: nn.Module, rows: torch.Tensor) -> nn.Module:
    """Quantize a network as torch does, with the same rows."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = "fbgemm"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        mapping = get_default_qconfig_mapping("fbgemm")
        prepared = prepare_fx(copy.deepcopy(network).eval(), mapping, (rows[:1],))
        prepared(rows)
        return convert_fx(prepared)


def test_integers_are_as_right_as_torch_s_own(exported: Path, tmp_path: Path) -> None:
    found = quantize(exported, tmp_path / "int8", rows=200)
    names = {path.name for path in found.out.iterdir()}
    assert names == {
        *("model_int8.onnx", "model_int8_dynamic.onnx", "quantization.json"),
        *("report.md", "report.html", "SHA256SUMS"),
    }
    whole, static, dynamic = found.forms
    facts = json.loads((exported / "metrics.json").read_text())
    assert whole.scores == pytest.approx({name: facts[name] for name in whole.scores})
    assert static.bytes < 0.7 * whole.bytes
    spec = TrialSpec.model_validate_json((exported / "spec.json").read_text())
    data, task = load(spec.data).in_raw_units(), make_task(spec.task)
    drawn = np.random.default_rng(0).permutation(len(data.y_train))[:200]
    torch_s = in_torch(load_export(exported), data.x_train[torch.from_numpy(drawn)])
    accuracy = evaluate(torch_s, data.x_val, data.y_val, task)
    for form in (static, dynamic):
        assert abs(form.scores["val_accuracy"] - accuracy) <= 0.01 + 1 / len(data.y_val)
        assert abs(form.scores["val_accuracy"] - whole.scores["val_accuracy"]) <= 0.05
    again = quantize(exported, tmp_path / "again", rows=200)
    assert (again.out / "model_int8.onnx").read_bytes() == (
        found.out / "model_int8.onnx"
    ).read_bytes()


def test_weights_and_activations_are_integers(exported: Path, tmp_path: Path) -> None:
    import onnx

    out = quantize(exported, tmp_path / "int8", rows=40).out
    graph = onnx.load(str(out / "model_int8.onnx")).graph
    kinds = {node.op_type for node in graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= kinds
    assert "BatchNormalization" not in kinds, "norms are part of the convolutions before them"
    floats = [t.name for t in graph.initializer if t.data_type == 1 and len(t.dims) == 4]
    assert floats == []
    dynamic = onnx.load(str(out / "model_int8_dynamic.onnx")).graph
    assert {"ConvInteger", "DynamicQuantizeLinear"} <= {node.op_type for node in dynamic.node}


def test_what_is_no_export_is_a_sentence(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(RunsError, match=r"has no model.onnx. Allowed: a folder made by"):
        quantize(tmp_path, tmp_path / "int8")
    with pytest.raises(RunsError, match="is in use"):
        quantize(exported, exported)
