"""The rules against real reports, and the reader of such files against odd rows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pandas = pytest.importorskip("pandas", reason="the package pandas is not installed")

from benchmarks.estimates.__main__ import page  # noqa: E402
from benchmarks.estimates.reports import read_designs, read_layers  # noqa: E402
from benchmarks.estimates.score import measure  # noqa: E402
from rfprune.fpga.estimators.analytic import estimate_many  # noqa: E402

DATA = Path(os.environ.get("RFPRUNE_DATA", "../shared/data")) / "hls_reports"
DENSE = {
    "type": "dense",
    "n_in": 64,
    "n_out": 64,
    "rf": 512,
    "strategy": "resource",
    "in_prec": "fixed<16,6>",
    "w_prec": "fixed<8,1>",
    "accum_prec": "fixed<16,6>",
}
ROW: dict[str, Any] = {
    "design_id": "a",
    "source": "s",
    "tool": "Vivado HLS",
    "tool_version": "2020.1",
    "part": "xcu250-figd2104-2L-e",
    "clock_ns": 5.0,
    "io_type": "io_parallel",
    "strategy": "Resource",
    "config_complete": True,
    "n_layers": 1.0,
    "group": "g",
    "layers": json.dumps([DENSE]),
    "hls_dsp": 8.0,
    "hls_lut": 10623.0,
    "hls_ff": 1259.0,
    "hls_bram18": 3.0,
    "hls_lat_min": 513.0,
    "hls_ii_min": 512.0,
}


def rows_to(path: Path, *changes: dict[str, Any]) -> Path:
    pandas.DataFrame([{**ROW, **change} for change in changes]).to_parquet(path)
    return path


@pytest.mark.skipif(
    not (DATA / "layers.parquet").is_file(), reason=f"{DATA} holds no layers (set RFPRUNE_DATA)"
)
def test_the_interval_of_latency_layers_whose_multipliers_take_turns() -> None:
    found = [
        each
        for each in read_layers(DATA / "layers.parquet")
        if each.design is not None
        and each.row["strategy"] == "latency"
        and each.row["layer_type"] == "dense"
        and each.row["rf"] > 2
    ]
    ii = estimate_many([each.design for each in found]).ii_cycles
    exact = [round(a) == each.row["hls_ii_max"] for a, each in zip(ii, found, strict=True)]
    assert (sum(exact), len(exact)) == (28, 30)


@pytest.mark.skipif(
    not (DATA / "designs.parquet").is_file(), reason=f"{DATA} holds no reports (set RFPRUNE_DATA)"
)
def test_targets_on_the_published_reports() -> None:
    result = measure(DATA / "designs.parquet", DATA / "layers.parquet")
    met = {(r["family"], r["quantity"], r["measure"]): r["met"] for r in result["targets"]}
    for family, quantity, how in [
        ("Resource dense, w >= 8", "hls_dsp", "exact %"),
        ("Resource dense, w >= 8", "synthesis_dsp", "exact %"),
        ("Resource dense", "ii_cycles", "exact %"),
        ("Resource dense", "latency_cycles", "exact %"),
        ("Resource dense, RF <= 1024", "hls_bram18", "within 1, %"),
        ("Resource dense", "hls_lut", "median APE %"),
        ("Resource dense", "hls_ff", "median APE %"),
        ("Resource dense", "synthesis_lut", "median APE %"),
        ("Resource dense", "synthesis_ff", "median APE %"),
        ("Latency dense, weights known", "hls_lut", "median APE %"),
        ("Latency dense, weights known", "hls_lut", "MAPE %"),
        ("Latency dense, weights known", "hls_ff", "median APE %"),
        ("whole projects", "hls_dsp", "sMAPE %"),
        ("whole projects", "hls_lut", "sMAPE %"),
        ("whole projects", "hls_ff", "sMAPE %"),
        ("whole projects", "synthesis_dsp", "sMAPE %"),
        ("Latency dense, weights known, RF > 1", "ii_cycles", "MAPE %"),
    ]:
        assert met[family, quantity, how] == "yes"


def test_one_row_is_read_as_the_design_that_it_describes(tmp_path: Path) -> None:
    (found,) = read_designs(rows_to(tmp_path / "d.parquet", {}))
    assert found.design is not None
    layer = found.design.layers[0]
    assert (layer.n_in, layer.n_out, layer.reuse_factor, layer.strategy) == (
        64,
        64,
        512,
        "resource",
    )
    assert found.design.tool == "Vivado HLS"
    assert found.targets["hls_bram18"] == 3
    assert found.targets["latency_cycles"] == 513


def test_weights_of_neurons_that_are_switched_off_are_not_counted(tmp_path: Path) -> None:
    fine = {"strategy": "latency", "rf": 1, "accum_prec": "fixed<24,10>", "b_prec": "fixed<24,10>"}
    first = {**DENSE, **fine, "w_count": 4096, "w_zero": 2096, "w_mul_uniq": 500, "b_zeros": 60}
    second = {**DENSE, **fine, "w_count": 4096, "w_zero": 96, "w_mul_uniq": 1000, "b_zeros": 0}
    coarse = {**first, "b_prec": "fixed<8,1>"}
    path = rows_to(
        tmp_path / "d.parquet",
        {"layers": json.dumps([first, second]), "n_layers": 2.0},
        {"layers": json.dumps([coarse, second]), "n_layers": 2.0},
    )
    telling, silent = (found.design for found in read_designs(path))
    assert telling is not None
    assert silent is not None
    counts = [(x.weights.nnz, x.weights.uniq3) for x in telling.layers if x.weights]
    assert counts == [(64 * 4, 64), (4 * 64, 64)]
    assert [x.weights.nnz for x in silent.layers if x.weights] == [2000, 4000]


def test_odd_rows_are_left_out_with_a_reason_and_never_crash(tmp_path: Path) -> None:
    path = rows_to(
        tmp_path / "d.parquet",
        {},
        {"layers": None},
        {"layers": "[]"},
        {"layers": "{not json"},
        {"layers": json.dumps([{**DENSE, "type": "hologram"}])},
        {"layers": json.dumps([{**DENSE, "n_in": None}])},
        {"layers": json.dumps([{**DENSE, "w_prec": "auto", "in_prec": None, "rf": None}])},
        {"layers": json.dumps([{"type": "relu", "n_in": 9}]), "config_complete": False},
        {"part": "no-such-part", "tool": None, "tool_version": None, "clock_ns": None},
        {"layers": json.dumps([DENSE, "relu"])},
        {"layers": json.dumps([{**DENSE, "n_out": 1e30}])},
        {"layers": json.dumps([{**DENSE, "strategy": "distributed_arithmetic"}])},
        {"tool": "Intel HLS"},
        {"hls_lut": float("inf"), "hls_ff": -1.0, "clock_ns": float("nan")},
    )
    result = measure(path, None)
    reasons = " ".join(result["left_out"])
    assert result["rows"] == 14
    assert sum(result["left_out"].values()) == 10
    for named in ("hologram", "n_in", "{not json", "distributed_arithmetic", "Intel HLS", "n_out"):
        assert named in reasons
    assumed = " ".join(result["assumed"])
    for named in ("no-such-part", "5 ns", "w_prec fixed<16,6>", "reuse factor 1"):
        assert named in assumed
    assert "hologram" in page(result)
    json.dumps(result)


def test_a_file_without_any_usable_row(tmp_path: Path) -> None:
    result = measure(rows_to(tmp_path / "d.parquet", {"layers": None}), None)
    assert result["scores"] == []
    assert result["cost"] == {}
    assert "(none)" in page(result)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ap_fixed<16,6,AP_TRN,AP_WRAP,0>", "fixed<16,6>"),
        ("ap_fixed<16,6,AP_TRN,AP_SAT>", "fixed<16,6,TRN,SAT>"),
        ("nnet::array<ap_ufixed<6,0,AP_RND_CONV,AP_SAT,0>, 16*1>", "ufixed<6,0,RND_CONV,SAT>"),
        ("ac_fixed<12,4,true,AC_RND,AC_SAT>", "fixed<12,4,RND,SAT>"),
        ("ap_fixed<8,?>", "fixed<8,1>"),
        ("ap_fixed<78,40>", "fixed<64,40>"),
    ],
)
def test_types_in_every_spelling_of_the_tools(tmp_path: Path, text: str, kind: str) -> None:
    layer = {**DENSE, "in_prec": text}
    (found,) = read_designs(rows_to(tmp_path / "d.parquet", {"layers": json.dumps([layer])}))
    assert found.design is not None
    assert found.design.layers[0].input_precision == kind
    assert found.assumed == ()


@pytest.mark.parametrize(
    ("changes", "tool"),
    [
        ({"tool": "Vitis HLS + Vivado", "tool_version": "2023.2"}, "Vitis HLS"),
        ({"tool": "vivado_hls", "tool_version": "2019.2.1"}, "Vivado HLS"),
        (
            {"tool": None, "backend": "VitisUnified", "tool_version": "v2025.1 (64-bit)"},
            "Vitis HLS",
        ),
        ({"tool": None, "tool_version": "2020.1"}, "Vivado HLS"),
        ({"tool": None, "tool_version": "2022.1"}, "Vitis HLS"),
    ],
)
def test_tools_by_name_backend_or_version(
    tmp_path: Path, changes: dict[str, Any], tool: str
) -> None:
    (found,) = read_designs(rows_to(tmp_path / "d.parquet", changes))
    assert found.design is not None
    assert found.design.tool == tool


def test_layers_may_be_objects_and_columns_may_be_missing(tmp_path: Path) -> None:
    row = {"layers": [DENSE], "hls_lut": 10623.0}
    pandas.DataFrame([row]).to_parquet(tmp_path / "d.parquet")
    result = measure(tmp_path / "d.parquet", None)
    assert result["left_out"] == {}
    assert [s["quantity"] for s in result["scores"]] == ["hls_lut"]


def test_damaged_modules_are_left_out_by_name(tmp_path: Path) -> None:
    module = {"design_id": "a", "repo": "r", "kernel": "dense_latency", "layer_type": "dense"}
    layer = {**DENSE, "config": "config2", "strategy": "latency", "rf": 1}
    cells = [json.dumps(layer), json.dumps(layer)[:-1]]
    path = tmp_path / "l.parquet"
    pandas.DataFrame([{**module, "layer": cell, "hls_lut": 5.0} for cell in cells]).to_parquet(path)
    result = measure(rows_to(tmp_path / "d.parquet", {}), path)
    ((reason, n),) = result["left_out_modules"].items()
    assert n == 1
    assert "not JSON" in reason


def test_values_that_are_all_zero_have_no_relative_error(tmp_path: Path) -> None:
    result = measure(rows_to(tmp_path / "d.parquet", {"hls_lut": 0.0}), None)
    (found,) = [r for r in result["targets"] if (r["n"], r["quantity"]) == (1, "hls_lut")]
    assert (found["measured"], found["met"]) == (None, "-")
    json.dumps(result, allow_nan=False)
