"""Distributed arithmetic and its open synthesis: the adder graph is the network, bit for bit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.errors import MissingExtraError, ReportError, SpecError
from rfprune.fpga.estimating import estimate_network
from rfprune.fpga.estimators import da4ml, yosys
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.result import Estimate
from rfprune.fpga.layers import plan, trace
from rfprune.hardware.precision import FixedType
from rfprune.spec.trial import HardwareSpec

KIND = FixedType.parse("fixed<6,3>")


def small_network(
    first: FixedType = KIND, second: FixedType | None = None
) -> list[da4ml.DenseLayer]:
    rng = np.random.default_rng(0)
    one, two = (np.round(rng.normal(0, 0.5, shape) * 4) / 4 for shape in ((4, 4), (2, 4)))
    return [
        da4ml.DenseLayer(one, np.full(4, 0.25), first, relu=True),
        da4ml.DenseLayer(two, np.zeros(2), second or FixedType.parse("ufixed<6,3>")),
    ]


def forward(layers: list[da4ml.DenseLayer], x: np.ndarray) -> np.ndarray:
    for layer in layers:
        x = layer.data.quantize(torch.from_numpy(x)).numpy()
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


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("overflow", ["WRAP", "SAT", "SAT_SYM"])
@pytest.mark.parametrize("rounding", ["TRN", "RND"])
def test_types_that_round_and_saturate_are_built_exactly(
    rounding: str, overflow: str, signed: bool
) -> None:
    for width in (2, 6, 7):
        kind = FixedType(width, 3, signed, rounding, overflow)
        # The second layer's type is narrow enough to overflow, and coarser than what it reads.
        layers = small_network(kind, FixedType(4, 2, signed, rounding, overflow))
        x = np.random.default_rng(width).uniform(-12, 12, (256, 4))
        np.testing.assert_array_equal(da4ml.build(layers).predict(x), forward(layers, x))


def test_an_input_that_saturates_costs_nothing() -> None:
    """Ports carry values of their type already: rounding and clamping is the work of the sender."""
    wraps, saturates = (
        da4ml.build(small_network(FixedType.parse(text)))
        for text in ("fixed<6,3>", "fixed<6,3,RND,SAT>")
    )
    assert (wraps.lut, wraps.ff) == (saturates.lut, saturates.ff)


def test_what_da4ml_cannot_round_is_noted() -> None:
    design = Design.model_validate(
        {"layers": [{"name": "fc1", "type": "dense", "n_in": 2, "n_out": 2}]}
    )
    odd = FixedType.parse("fixed<6,3,RND_CONV,SAT_ZERO>")
    # Of the input only its range matters, which every mode has.
    assert da4ml.notes_on(design, small_network(odd)) == ("Strategy distributed_arithmetic.",)
    (_, note) = da4ml.notes_on(design, small_network(KIND, odd))
    assert note == f"{odd} is built with RND and SAT: da4ml knows no closer."


def estimates(precision: str, by: str) -> Estimate:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    planned = plan(trace(model, (4,)), HardwareSpec(precision=precision, part="pynq-z2"))
    return estimate_network(planned, model, by)


@pytest.mark.parametrize("precision", ["fixed<6,3>", "fixed<6,3,RND,SAT>"])
def test_a_network_is_estimated_whatever_its_types(precision: str) -> None:
    found = estimates(precision, "da4ml")
    assert (found.source, found.predicts, found.ii_cycles) == ("da4ml", "synthesis", 1)
    assert found.total.lut > 0
    assert found.total.ff > 0
    assert found.total.dsp == 0


@pytest.mark.slow
def test_yosys_and_the_adder_graph_agree() -> None:
    counted, found = (estimates("fixed<6,3,RND,SAT>", by) for by in ("da4ml", "yosys"))
    assert (found.source, found.predicts) == ("yosys", "synthesis")
    assert (found.total.dsp, found.total.bram18) == (0, 0)
    assert found.latency_cycles == counted.latency_cycles
    assert (found.hls, found.power_mw) == (None, None)
    # Yosys shares and merges a little of what da4ml counts; registers it leaves as they are.
    assert found.total.lut == pytest.approx(counted.total.lut, rel=0.2)
    assert found.total.ff == pytest.approx(counted.total.ff, rel=0.1)


def test_statistics_are_sums_over_cells(tmp_path: Path) -> None:
    cells = {"LUT2": 3, "LUT6": 4, "FDRE": 5, "FDSE": 1, "CARRY8": 9, "RAMB36E2": 1, "IBUF": 2}
    cells |= {"SRL16E": 1, "MUXF7": 8, "LUT6_2": 1}
    path = tmp_path / "stat.json"
    path.write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
    assert yosys.read_statistics(path) == (0, 2, 9, 6)
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
