"""onnxruntime is loaded without its statistics of use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SESSION = """
from onnx import TensorProto, helper
from rfprune.core.onnx_runtime import onnx_runtime

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx_runtime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""


def test_onnxruntime_keeps_no_number_of_the_device(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    variables = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    variables |= {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SESSION], env=variables, check=True)
    assert list(tmp_path.rglob("*")) == []
