"""Activations and pooling against the synthesis baselines of hls4ml's own tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.estimates.baselines import read_baselines
from benchmarks.estimates.score import pairs_of

FILE = Path(os.environ.get("RFPRUNE_DATA", "../shared/data")) / "hls4ml_baselines" / "baselines.csv"
pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason=f"{FILE} is missing (RFPRUNE_DATA may name another folder)"
)


def _hits() -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for pair in pairs_of(read_baselines(FILE)):
        test = str(pair.report.row["test"])
        if "_activations_" not in test and "_pooling_" not in test:
            continue
        said = round(pair.predicted)
        if pair.quantity in ("hls_lut", "hls_ff"):
            hit = abs(said - pair.truth) <= 0.25 * pair.truth
        elif pair.quantity == "latency_cycles":
            hit = abs(said - pair.truth) <= 1
        else:
            hit = said == pair.truth
        found.setdefault(pair.quantity, []).append(hit)
    return found


def test_activations_and_pooling_are_near_their_reports() -> None:
    hits = _hits()
    assert len(hits["hls_lut"]) == 46
    for quantity in ("hls_lut", "hls_ff", "hls_bram18", "latency_cycles", "ii_cycles"):
        assert sum(hits[quantity]) / len(hits[quantity]) >= 0.8, quantity
    # DSPs are those of the dense layer in front, whose weights are not recorded; pooling has none.


def test_every_report_of_amd_tools_is_read() -> None:
    reports = read_baselines(FILE)
    assert len(reports) == 60
    assert all(report.design is not None for report in reports)
