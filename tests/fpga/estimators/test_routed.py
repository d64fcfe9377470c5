"""From adder cost to routed look-up tables: the rule and what it was fitted on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.estimates.routed import check
from rfprune.fpga.estimators.routed import LUT_PER_COST, PERIOD_POWER, routed

DATA = Path(os.environ.get("RFPRUNE_DATA", "../shared/data")) / "routed_da" / "designs.csv"


def test_intervals_are_around_the_values() -> None:
    found = routed(100_000)
    for name, value in (("lut", found.lut), ("ff", found.ff), ("reachable_ns", found.period_ns)):
        low, high = found.intervals[name]
        assert low < value < high
    assert routed(0).lut == 0
    assert routed(300_000).period_ns > found.period_ns


@pytest.mark.skipif(
    not DATA.is_file(), reason=f"{DATA} is missing (RFPRUNE_DATA may name another folder)"
)
def test_one_design_left_out_is_near_its_report() -> None:
    found = check(DATA)
    assert found["lut"]["factor"] == pytest.approx(LUT_PER_COST, rel=1e-3)
    assert found["period_ns"]["power"] == pytest.approx(PERIOD_POWER, rel=1e-3)
    assert found["lut"]["left out median %"] <= 5
    assert found["lut"]["left out worst %"] <= 10
    assert found["period_ns"]["left out median %"] <= 15
