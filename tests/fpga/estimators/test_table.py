from __future__ import annotations

import io

import pytest
from rich.console import Console

from rfprune.core.quantities import Resources
from rfprune.fpga.estimators import estimate
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.estimate_table import table
from rfprune.fpga.estimators.power import estimate_power
from rfprune.fpga.estimators.result import Estimate
from rfprune.hardware.parts import find_part


def two_layers(part: str = "pynq-z2") -> Design:
    return Design.model_validate(
        {
            "part": part,
            "layers": [
                {
                    "name": "big",
                    "type": "dense",
                    "n_in": 16,
                    "n_out": 64,
                    "strategy": "resource",
                    "reuse_factor": 8,
                },
                {
                    "name": "small",
                    "type": "dense",
                    "n_in": 64,
                    "n_out": 4,
                    "strategy": "resource",
                    "reuse_factor": 64,
                },
            ],
        }
    )


def printed(design: Design) -> str:
    sink = io.StringIO()
    Console(file=sink, width=140).print(table(estimate(design), design.device))
    return sink.getvalue()


def test_the_table_shows_totals_layers_and_what_dominates() -> None:
    text = printed(two_layers())
    assert "C synthesis" in text
    assert "xc7z020" in text
    assert "128*" in text
    assert "132" in text
    assert "estimate" in text


def test_the_table_says_what_does_not_fit() -> None:
    assert "does NOT fit" not in printed(two_layers("u250"))
    wide = Design.model_validate(
        {
            "part": "zybo",
            "layers": [
                {
                    "name": "a",
                    "type": "dense",
                    "n_in": 64,
                    "n_out": 64,
                    "strategy": "resource",
                    "reuse_factor": 8,
                }
            ],
        }
    )
    assert "does NOT fit" in printed(wide)


def test_unknown_quantities_are_shown_as_unknown() -> None:
    bare = Estimate("x", "hls", Resources(dsp=4), None, None, 5.0)
    sink = io.StringIO()
    Console(file=sink, width=120).print(table(bare, find_part("u250")))
    assert "unknown" in sink.getvalue()
    assert bare.to_json(find_part("u250"))["total"]["lut"] is None


def test_power_grows_with_clock_and_resources_and_states_its_assumptions() -> None:
    part = find_part("u250")
    small = Estimate("x", "hls", Resources(10, 2, 1000, 1000), 1, 1, 5.0)
    faster = Estimate("x", "hls", Resources(10, 2, 1000, 1000), 1, 1, 2.5)
    a, b = estimate_power(small, part), estimate_power(faster, part)
    assert a is not None
    assert b is not None
    assert b.dynamic_mw == pytest.approx(2 * a.dynamic_mw)
    assert a.total_mw == pytest.approx(a.dynamic_mw + part.static_power_mw)
    assert "estimate" in a.assumptions
    # (10 * 22 + 2 * 26 + 1000 * 0.45 + 1000 * 0.16) pF * 0.85^2 V^2 / 5 ns * 12.5 %
    assert a.dynamic_mw == pytest.approx(882 * 0.7225 / 5 * 0.125)


def test_power_of_unknown_resources_is_unknown() -> None:
    assert (
        estimate_power(Estimate("x", "hls", Resources(dsp=4), 1, 1, 5.0), find_part("u250")) is None
    )
    versal = estimate_power(
        Estimate("x", "hls", Resources(1, 1, 1, 1), 1, 1, 5.0), find_part("vck190")
    )
    assert versal is not None
    assert versal.total_mw is None


def test_an_estimate_without_layers_has_no_table_of_layers() -> None:
    total = Resources(dsp=0, bram18=0, lut=5, ff=3)
    whole = Estimate(
        source="da4ml", predicts="synthesis", total=total, latency_cycles=2, ii_cycles=1, clock_ns=5
    )
    out = io.StringIO()
    Console(file=out, width=100).print(table(whole, find_part("pynq-z2"), 100))
    assert "Whole design" in out.getvalue()
    assert "Layers" not in out.getvalue()
    assert "most in" not in out.getvalue()
