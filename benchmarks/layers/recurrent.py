"""``python -m benchmarks.layers.recurrent [--kinds GRU,LSTM] [--strategies Latency:1,Resource:4]``.

What hls4ml's recurrent kernels compute if they are handed a layer of torch rightly: both weights
transposed, both biases, the sequence where it is read. Beside it, what its own reader of torch
hands on. The decision that rests on it: ``docs/decisions/fpga-recurrent-layers.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.layers.prove import seeded
from benchmarks.report import listed, table

STEPS, FEATURES, UNITS = 5, 4, 8
_PRECISION = "fixed<24,10>"
_STRATEGIES = ("Latency:1", "Resource:4", "resource_unrolled:4")


def handed_over(kind: str, layer: Any, sequence: bool) -> dict[str, Any]:
    """Return hls4ml's description of a recurrent layer."""
    gated = {"apply_reset_gate": "after"} if kind == "GRU" else {}
    return {
        "name": "recurrent",
        "class_name": kind,
        "inputs": ["x"],
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "return_sequences": sequence,
        "return_state": False,
        "pass_initial_states": False,
        "time_major": False,
        "n_timesteps": STEPS,
        "n_in": FEATURES,
        "n_out": UNITS,
        "weight_data": layer.weight_ih_l0.data.numpy().T.copy(),
        "recurrent_weight_data": layer.weight_hh_l0.data.numpy().T.copy(),
        "bias_data": layer.bias_ih_l0.data.numpy(),
        "recurrent_bias_data": layer.bias_hh_l0.data.numpy(),
        "pytorch": True,
        **gated,
    }


def built(kind: str, layer: Any, sequence: bool, strategy: str, reuse: int, folder: Path) -> Any:
    """Return hls4ml's graph of one recurrent layer, compiled."""
    from hls4ml.model.graph import ModelGraph
    from hls4ml.utils.config import create_config

    config = create_config(
        output_dir=str(folder), project_name="recurrent", backend="Vitis", io_type="io_parallel"
    )
    own = {"ReuseFactor": reuse, "Strategy": strategy, "TableSize": 8192, "TableT": _PRECISION}
    common = {"Precision": {"default": _PRECISION}, "ReuseFactor": reuse, "Strategy": strategy}
    own["Precision"] = _PRECISION
    config["HLSConfig"] = {"Model": common, "LayerName": {"recurrent": own}}
    config["InputData"] = config["OutputPredictions"] = None
    start = {"name": "x", "class_name": "InputLayer", "input_shape": [STEPS, FEATURES]}
    layers = [start, handed_over(kind, layer, sequence)]
    graph = ModelGraph.from_layer_list(config, layers, inputs=["x"], outputs=["recurrent"])
    graph.compile()
    return graph


def measured(kind: str, sequence: bool, strategy: str, reuse: int) -> dict[str, Any]:
    """Return how far the kernel is from torch on 100 rows."""
    with seeded(0):
        layer = getattr(nn, kind)(FEATURES, UNITS, batch_first=True).eval()
        # On the grid of the input, so that only the kernel is measured.
        x = (torch.randn(100, STEPS, FEATURES) * 256).round() / 256
    with torch.no_grad():
        expected = layer(x)[0]
    expected = (expected if sequence else expected[:, -1]).numpy().reshape(len(x), -1)
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        graph = built(kind, layer, sequence, strategy, reuse, Path(scratch))
        found = graph.predict(np.ascontiguousarray(x.numpy())).reshape(len(x), -1)
        code = (Path(scratch) / "firmware" / "parameters.h").read_text()
    return {
        "layer": kind,
        "puts out": "sequence" if sequence else "last step",
        "strategy": strategy,
        "reuse factor": reuse,
        "generated products": "yes" if "dense_resource_unrolled" in code else "no",
        "largest output": float(np.abs(expected).max()),
        "largest error": float(np.abs(found - expected).max()),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.layers.recurrent"
    )
    parser.add_argument("--kinds", type=listed(("GRU", "LSTM")), default=["GRU", "LSTM"])
    parser.add_argument("--strategies", type=listed(_STRATEGIES), default=list(_STRATEGIES))
    given = parser.parse_args()
    rows = []
    for kind in given.kinds:
        for each in given.strategies:
            strategy, _, reuse = each.partition(":")
            rows += [measured(kind, sequence, strategy, int(reuse)) for sequence in (True, False)]
    print(table(rows))
