"""Reads the synthesis baselines of hls4ml's own tests (``hls4ml_baselines/baselines.csv``).

One or two layers each, without their weights, which were drawn at random; the names of the tests
say what was built (the table in the README of the data).
"""

import csv
import re
from pathlib import Path
from typing import Any

from benchmarks.estimates.reports import Reported
from rfprune.errors import RfpruneError
from rfprune.fpga.estimators.design import Design
from rfprune.spec.yaml_files import parse_spec

#: Name in hls4ml's tests -> layer type.
_ACTIVATIONS = {"relu": "relu", "prelu": "relu", "elu": "elu", "sigmoid": "sigmoid"}
_COLUMNS = {
    "hls_dsp": "dsp",
    "hls_bram18": "bram18",
    "hls_lut": "lut",
    "hls_ff": "ff",
    "latency_cycles": "latency_cycles",
    "ii_cycles": "ii_cycles",
    "hls_clock_ns": "clock_estimated_ns",
}


def _pooling(test: str) -> list[dict[str, Any]]:
    kind = "avgpool" if "Average" in test else "maxpool"
    same = "-same-" in test
    if test.endswith("1D"):
        geometry: dict[str, Any] = {"in_width": 121, "out_width": 61 if same else 60}
        return [
            {"type": f"{kind}1d", "n_out": 3, "in_channels": 3, "kernel_width": 2, "stride": 2}
            | geometry
        ]
    geometry = {"in_height": 18, "in_width": 15, "out_height": 9, "out_width": 8 if same else 7}
    geometry |= {"kernel_height": 2, "kernel_width": 2, "stride": 2}
    return [{"type": f"{kind}2d", "n_out": 3, "in_channels": 3} | geometry]


def _layers(test: str) -> list[dict[str, Any]]:
    if "_pooling_" in test:
        return _pooling(test)
    if "_activations_" in test:
        named = test.rsplit("-", 1)[1]
        # A leaky ReLU of slope 1 is a wire.
        kind = _ACTIVATIONS.get(named, "linear")
        return [{"type": "dense", "n_in": 1, "n_out": 64}, {"type": kind, "n_in": 64, "n_out": 64}]
    if "_dense_" in test:
        return [{"type": "dense", "n_in": 1, "n_out": 2}, {"type": "elu", "n_in": 2, "n_out": 2}]
    if "depthwise1d" in test:
        geometry = {"in_width": 32, "out_width": 32, "kernel_width": 3}
        return [{"type": "depthwise_conv2d", "n_in": 3, "n_out": 3, "in_channels": 3} | geometry]
    if "depthwise2d" in test:
        image = {"in_height": 32, "in_width": 32, "out_height": 32, "out_width": 32}
        kernel = {"kernel_height": 3, "kernel_width": 3, "in_channels": 3}
        return [{"type": "depthwise_conv2d", "n_in": 9, "n_out": 3} | image | kernel]
    image = {"in_height": 28, "in_width": 28, "out_height": 7, "out_width": 7, "in_channels": 3}
    square: dict[str, Any] = {
        "kernel_height": 4,
        "kernel_width": 4,
        "stride": 4,
        "strategy": "resource",
    }
    return [{"type": "conv2d", "n_in": 48, "n_out": 32} | image | square]


def read_baselines(path: Path) -> list[Reported]:
    """Return every report of Vivado HLS and Vitis HLS as a design with targets."""
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["tool"] == "oneAPI":
                continue
            test = row["test"]
            wide = "depthwise2d" in test
            named = [{"name": f"{i}_{x['type']}", **x} for i, x in enumerate(_layers(test))]
            values = {
                "name": f"{row['tool']}-{row['version']}-{test.removeprefix('test_keras_api_')}",
                "part": "xcvu13p-flga2577-2-e",
                "clock_ns": float(row["clock_target_ns"]),
                "backend": row["tool"],
                "tool": f"{row['tool']} HLS",
                "tool_version": row["version"],
                "io_type": "io_stream" if re.search("io_stream", test) else "io_parallel",
                "precision": "fixed<32,12>" if wide else "fixed<16,6>",
                "layers": named,
            }
            facts = {**row, "source": f"hls4ml tests, {row['tool']} HLS", "repo": "hls4ml tests"}
            targets = {name: float(row[column]) for name, column in _COLUMNS.items() if row[column]}
            try:
                design, reason = parse_spec(Design, values, str(values["name"])), ""
            except RfpruneError as error:
                design, reason = None, str(error)
            found.append(Reported(facts, design, reason, targets))
    return found
