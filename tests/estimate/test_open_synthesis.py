"""The optional estimators: what they say when absent, and an end-to-end check when present."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rfprune.errors import MissingExtraError, ReportError, SpecError
from rfprune.estimate import da4ml, yosys
from rfprune.estimate.design import Design
from rfprune.hardware.precision import FixedType

KIND = FixedType.parse("fixed<6,3>")


def small_network() -> list[da4ml.DenseLayer]:
    rng = np.random.default_rng(0)
    first, second = (np.round(rng.normal(0, 0.5, shape) * 4) / 4 for shape in ((4, 4), (2, 4)))
    return [
        da4ml.DenseLayer(first, np.full(4, 0.25), KIND, relu=True),
        da4ml.DenseLayer(second, np.zeros(2), FixedType.parse("ufixed<6,3>")),
    ]


def forward(layers: list[da4ml.DenseLayer], x: np.ndarray) -> np.ndarray:
    for layer in layers:
        code = np.floor(x / layer.data.step)
        low, high = layer.data.min / layer.data.step, layer.data.max / layer.data.step
        x = (np.remainder(code - low, high - low + 1) + low) * layer.data.step
        x = x @ layer.weight.T + layer.bias
        x = np.maximum(x, 0) if layer.relu else x
    return x


def test_without_da4ml_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "da4ml.trace", None)
    with pytest.raises(MissingExtraError, match=r"rfprune\[da4ml\]"):
        da4ml.build(small_network())


def test_without_yosys_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(MissingExtraError, match=r"rfprune\[yosys\]"):
        yosys.find_yosys()


def test_the_adder_graph_computes_what_the_layers_do(tmp_path: Path) -> None:
    layers = small_network()
    graph = da4ml.build(layers)
    assert graph.lut > 0
    assert graph.ff > 0
    assert graph.stages >= 1
    sources = graph.write_verilog(tmp_path)
    assert (sources / "network.v").is_file()
    x = np.random.default_rng(1).uniform(-8, 8, (64, 4))
    np.testing.assert_array_equal(graph.predict(x), forward(layers, x))


@pytest.mark.slow
def test_an_estimate_agrees_with_a_real_synthesizer(tmp_path: Path) -> None:
    graph = da4ml.build(small_network())
    found = yosys.synthesise(graph.write_verilog(tmp_path), "network")
    assert found.dsp == 0
    assert found.lut is not None
    assert found.ff is not None
    # Yosys shares and merges a little of what da4ml counts; registers it leaves as they are.
    assert found.lut == pytest.approx(graph.lut, rel=0.2)
    assert found.ff == pytest.approx(graph.ff, rel=0.1)


def test_statistics_are_sums_over_cells(tmp_path: Path) -> None:
    cells = {"LUT2": 3, "LUT6": 4, "FDRE": 5, "FDSE": 1, "CARRY8": 9, "RAMB36E2": 1, "IBUF": 2}
    path = tmp_path / "stat.json"
    path.write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
    assert yosys.read_statistics(path) == (0, 2, 7, 6)
    path.write_text("{}")
    with pytest.raises(ReportError, match="no statistics"):
        yosys.read_statistics(path)


def project(tmp_path: Path, numbers: int = 4) -> Path:
    weights = tmp_path / "firmware" / "weights"
    weights.mkdir(parents=True)
    (tmp_path / "firmware" / "parameters.h").write_text(
        "// fc1\nstruct config2 : nnet::dense_config {\n};\n"
    )
    values = ", ".join(str(0.5 * i) for i in range(numbers))
    (weights / "w2.h").write_text(f"weight_t w2[{numbers}] = {{{values}}};\n")
    (weights / "b2.h").write_text("bias_t b2[2] = {0.25, -0.25};\n")
    return tmp_path


def one_layer(strategy: str = "latency", **more: object) -> Design:
    layer = {"name": "fc1", "type": "dense", "n_in": 2, "n_out": 2, "strategy": strategy, **more}
    return Design.model_validate(
        {
            "layers": [
                layer,
                {"name": "r", "type": "relu", "n_out": 2},
                {"name": "s", "type": "softmax", "n_out": 2},
            ]
        }
    )


def test_weights_are_read_in_the_order_of_the_strategy(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (latency,) = da4ml.read_layers(one_layer(), folder)
    (resource,) = da4ml.read_layers(one_layer("resource"), folder)
    np.testing.assert_array_equal(resource.weight, [[0.0, 0.5], [1.0, 1.5]])
    np.testing.assert_array_equal(latency.weight, resource.weight.T)
    np.testing.assert_array_equal(latency.bias, [0.25, -0.25])
    assert latency.relu


def test_a_project_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="3 numbers"):
        da4ml.read_layers(one_layer(), project(tmp_path, numbers=3))
    with pytest.raises(ReportError, match="hls4ml project"):
        da4ml.read_layers(one_layer(), tmp_path / "none")
    image = Design.model_validate(
        {"layers": [{"name": "c", "type": "conv2d", "n_in": 9, "n_out": 2}]}
    )
    with pytest.raises(SpecError, match="conv2d"):
        da4ml.read_layers(image, tmp_path)
