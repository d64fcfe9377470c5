"""The adapter against a stand-in with the call and columns of rule4ml 0.2."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from rfprune.errors import MissingExtraError, SpecError
from rfprune.fpga.estimators import estimate, rule4ml
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.rule4ml import configuration, network


def jets(**more: Any) -> Design:
    layers = [
        {"name": "fc1", "type": "dense", "n_in": 16, "n_out": 64, "reuse_factor": 8},
        {"name": "relu1", "type": "relu", "n_out": 64},
        {"name": "fc2", "type": "dense", "n_in": 64, "n_out": 5, "reuse_factor": 16},
        {"name": "out", "type": "softmax", "n_out": 5},
    ]
    return Design.model_validate({"part": "u250", "strategy": "resource", "layers": layers, **more})


@pytest.mark.skipif(
    importlib.util.find_spec("rule4ml") is not None,
    reason="only where the package rule4ml is missing, and it is installed",
)
def test_without_the_package_the_message_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"rfprune\[rule4ml\]"):
        estimate(jets(), by="rule4ml")


def test_configuration_carries_every_reuse_factor() -> None:
    assert configuration(jets()) == {
        "board": "alveo-u250",
        "model": {"strategy": "Resource", "precision": "ap_fixed<16, 6>", "reuse_factor": 16},
        "layer_name": {"layer_fc1": {"reuse_factor": 8}, "layer_fc2": {"reuse_factor": 16}},
    }


def test_the_network_has_the_designs_shape_and_node_names() -> None:
    import torch

    made = network(jets())
    assert made(torch.zeros(3, 16)).shape == (3, 5)
    nodes = {node.name for node in torch.fx.symbolic_trace(made).graph.nodes}
    assert set(configuration(jets())["layer_name"]) <= nodes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"part": "vck190"}, "does not know part xcvc1902"),
        ({"layers": [{"name": "c", "type": "conv2d", "n_in": 9, "n_out": 2}]}, "conv2d"),
        ({"layers": [{"name": "r", "type": "relu", "n_out": 2}]}, "no dense layer"),
    ],
)
def test_what_it_was_not_trained_on_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        configuration(jets(**change))


@pytest.fixture
def forget_models() -> Iterator[None]:
    yield
    rule4ml._models.cache_clear()


@pytest.mark.usefixtures("forget_models")
def test_its_table_becomes_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas", reason="the package pandas is not installed")
    calls: list[dict[str, Any]] = []

    class MultiModelWrapper:
        def load_default_models(self) -> None:
            calls.append({})

        def predict(self, model: object, **options: Any) -> object:
            calls.append(options)
            return pandas.DataFrame(
                [
                    {
                        "BRAM": 3.6,
                        "BRAM (%)": 0.1,
                        "DSP": 148.2,
                        "FF": 5000.0,
                        "LUT": 9000.4,
                        "CYCLES": 31.0,
                        "INTERVAL": float("nan"),
                    }
                ]
            )

    for name in ("rule4ml", "rule4ml.models", "rule4ml.models.wrappers"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["rule4ml.models.wrappers"].MultiModelWrapper = MultiModelWrapper  # type: ignore[attr-defined]
    found = estimate(jets(tool_version="2023.2"), by="rule4ml")
    assert found.total == (148, 4, 9000, 5000)
    assert (found.latency_cycles, found.ii_cycles) == (31, None)
    assert found.predicts == "synthesis"
    assert calls[1]["vivado_versions"] == "2023.2"
    assert calls[1]["hls_configs"]["board"] == "alveo-u250"
