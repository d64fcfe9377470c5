"""Intervals: made of errors on left-out sources, wider where nothing like a design is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.estimates.conformal import Error, Facts, Sources, coverage, quantile
from rfprune.fpga.estimators.analytic import estimate
from rfprune.fpga.estimators.design import Design, parse_design
from rfprune.fpga.estimators.families import beyond, family
from rfprune.fpga.estimators.intervals import LEVEL, OFFSETS, interval, likeness

_FEATURES = {"data_bits": 16.0, "clock_ns": 5.0, "n_in": 64.0, "layers": 1.0}
_FAMILY = "io_parallel, dense, weights in memories"


def _design(**changed: object) -> Design:
    layer = {"name": "fc", "type": "dense", "n_in": 64, "n_out": 32, "reuse_factor": 16}
    layer |= {key: changed.pop(key) for key in list(changed) if key.endswith("precision")}
    values = {"strategy": "resource", "layers": [layer], **changed}
    return parse_design(values)


def _errors(spread: float, sources: int = 30, rows: int = 20, seed: int = 0) -> list[Error]:
    random = np.random.default_rng(seed)
    found = []
    for source in range(sources):
        logs = random.normal(0, spread, rows) + random.normal(0, spread / 2)
        for log in logs:
            predicted = 1000.0
            truth = (predicted + OFFSETS["hls_lut"]) * math.exp(log) - OFFSETS["hls_lut"]
            facts = Facts(_FAMILY, _FEATURES)
            found.append(Error(str(source), facts, "hls_lut", predicted, truth, abs(log)))
    return found


@pytest.mark.parametrize("spread", [0.05, 0.4])
def test_intervals_of_left_out_sources_hold_their_share(spread: float) -> None:
    (row,) = coverage(_errors(spread))
    assert row["90 %: of rows"] == pytest.approx(90, abs=4)
    assert row["80 %: of rows"] == pytest.approx(80, abs=6)
    assert row["50 %: of rows"] == pytest.approx(50, abs=8)


@pytest.mark.parametrize("sources", [6, 10, 13])
@pytest.mark.parametrize("kind", ["normal", "exponential", "log-normal", "Student"])
def test_few_sources_hold_the_share_of_a_new_one(sources: int, kind: str) -> None:
    """The plain quantile of ten sources holds nine of eleven, whatever their scores."""
    random, size = np.random.default_rng(sources), (1000, sources + 1)
    drawn = {
        "normal": np.abs(random.normal(size=size)),
        "exponential": random.exponential(size=size),
        "log-normal": np.exp(random.normal(size=size)),
        "Student": np.abs(random.standard_t(3, size=size)),
    }[kind]
    owners = [str(i) for i in range(sources)]
    held = [new <= quantile(known, owners, 0.9) for *known, new in drawn.tolist()]
    assert 87 <= 100 * np.mean(held) <= 96


def test_one_odd_source_does_not_decide() -> None:
    owners = [str(i) for i in range(12)]
    scores = [0.5 + i / 10 for i in range(12)]
    usual, odd = (quantile([*scores[:-1], last], owners, 0.9) for last in (scores[-1], 1e6))
    assert odd < 2 * usual


def test_more_asked_is_no_narrower() -> None:
    random = np.random.default_rng(0)
    for sources in range(1, 20):
        scores = random.exponential(size=3 * sources).tolist()
        owners = [str(i // 3) for i in range(3 * sources)]
        found = [quantile(scores, owners, level) for level in (0.5, 0.8, 0.9)]
        assert found == sorted(found)


def test_intervals_follow_the_spread() -> None:
    narrow, wide = (Sources(_errors(spread)).table() for spread in (0.05, 0.4))
    alike = likeness(_design(), {"known": narrow, "unknown": narrow})
    assert alike.sources == 30
    assert not alike.unlike
    ends = [interval("hls_lut", 1000.0, alike, LEVEL, {"known": t}) for t in (narrow, wide)]
    (a, b), (c, d) = (pair for pair in ends if pair is not None)
    assert c < a < 1000 < b < d


def test_what_is_unlike_every_report_is_said_and_gets_a_wider_interval() -> None:
    table = {"known": Sources(_errors(0.2)).table()}
    alike, wide = (likeness(_design(**x), table) for x in ({}, {"input_precision": "fixed<30,6>"}))
    assert wide.unlike == ("30-bit data",)
    assert "no design like this" in wide.note
    assert "30-bit data" in wide.note
    usual = interval("hls_lut", 1000.0, alike, LEVEL, table)
    wider = interval("hls_lut", 1000.0, wide, LEVEL, table)
    assert usual is not None
    assert wider is not None
    assert wider[0] < usual[0] < usual[1] < wider[1]
    stream = likeness(_design(io_type="io_stream"), table)
    assert stream.sources == 0
    assert stream.family in stream.note


def test_families_say_how_layers_are_connected_and_weights_are_stored() -> None:
    assert family(_design()) == _FAMILY
    latency = _design(strategy="latency")
    assert family(latency) == "io_parallel, dense, unknown constant weights"
    assert beyond({**_FEATURES, "clock_ns": 50.0}, {"clock_ns": (2.0, 10.0)}) == ("clock of 50 ns",)


def test_every_quantity_has_an_interval_around_its_value() -> None:
    found = estimate(_design())
    values = found.quantities()
    for name in ("dsp", "bram18", "lut", "ff", "latency_cycles", "ii_cycles", "reachable_ns"):
        value, low, high = (values[key] for key in (name, f"{name}.low", f"{name}.high"))
        assert value is not None
        assert low is not None
        assert high is not None
        assert 0 <= low <= value <= high
    # An interval without a limit would be none.
    assert values["lut.high"] < 100 * (values["lut"] or 1)  # type: ignore[operator]


def test_without_weights_an_interval_ends_where_that_of_a_dense_layer_does() -> None:
    """Missing weights make a layer smaller, never larger."""
    found = estimate(_design(strategy="latency"))
    values = found.quantities()
    for name in ("dsp", "lut", "ff", "latency_cycles"):
        value, low, high = (values[key] for key in (name, f"{name}.low", f"{name}.high"))
        assert value is not None
        assert low is not None
        assert high is not None
        assert low <= value <= high <= 10 * value + 100
    alike = likeness(_design(strategy="latency"))
    assert alike.dense is not None
    assert alike.dense.family == "io_parallel, dense, constant weights"
    ends = [interval("hls_dsp", 1000.0, each) for each in (alike, alike.dense)]
    (low, high), (other, same) = (pair for pair in ends if pair is not None)
    assert high == same < 2000
    assert low < 100 < other


def test_intervals_that_would_say_nothing_are_not_given() -> None:
    table = {"known": Sources(_errors(3.0)).table()}
    alike = likeness(_design(), table)
    assert interval("hls_lut", 1000.0, alike, LEVEL, table) is None
    assert interval("hls_lut", 1000.0, alike, LEVEL, table, useful=False) is not None


def test_the_committed_table_is_complete() -> None:
    import json

    from rfprune.fpga.estimators.intervals import INTERVALS_FILE

    table = json.loads(Path(INTERVALS_FILE).read_text(encoding="utf-8"))
    for name in ("known", "unknown"):
        for row in table[name]["quantities"].values():
            assert sorted(row["scores"]) == ["0.5", "0.8", "0.9"]
            assert row["scores"]["0.5"] <= row["scores"]["0.8"] <= row["scores"]["0.9"]
    assert set(table["known"]["quantities"]) == set(OFFSETS)
