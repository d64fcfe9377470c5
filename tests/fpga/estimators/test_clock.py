"""The clock decides depth, registers and what can be reached."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rfprune.errors import UnknownNameError
from rfprune.fpga.estimators.analytic import estimate
from rfprune.fpga.estimators.design import parse_design, weight_statistics
from rfprune.fpga.estimators.result import Estimate
from rfprune.fpga.estimators.what_if import what_if
from rfprune.hardware.parts import find_part
from rfprune.hardware.precision import FixedType


def _estimate(clock_ns: float, **changed: Any) -> Estimate:
    weight = np.random.default_rng(0).normal(0, 0.5, (32, 64))
    counts = weight_statistics(weight, FixedType.parse("fixed<16,6>")).model_dump()
    layer = {"type": "dense", "n_in": 64, "n_out": 32, "strategy": "latency", "weights": counts}
    layers = [{"name": f"fc{i}", **layer} for i in range(3)]
    return estimate(parse_design({"clock_ns": clock_ns, "layers": layers, **changed}))


def test_depth_and_registers_follow_the_clock() -> None:
    fast, usual, slow = (_estimate(clock) for clock in (2.0, 5.0, 25.0))
    depths = [found.latency_cycles or 0 for found in (fast, usual, slow)]
    assert depths[0] > depths[1] > depths[2]
    flip_flops = [found.hls.ff for found in (fast, usual, slow) if found.hls is not None]
    assert flip_flops[0] > flip_flops[1] > flip_flops[2]  # type: ignore[operator]
    assert fast.total.dsp == usual.total.dsp == slow.total.dsp


def test_a_clock_that_cannot_be_reached_does_not_fit() -> None:
    layer = {"name": "fc", "type": "dense", "n_in": 64, "n_out": 32, "reuse_factor": 16}
    layer |= {"strategy": "resource", "accum_precision": "fixed<24,16,RND,SAT>"}
    design = parse_design({"part": "xcku15p", "layers": [layer]})
    found = estimate(design)
    assert found.reachable_ns is not None
    assert found.reachable_ns > design.clock_ns
    assert not found.fits(design.device)
    assert any("cannot cut" in note for note in found.notes)
    plain = parse_design({"part": "xcku15p", "layers": [{**layer, "accum_precision": None}]})
    assert estimate(plain).fits(plain.device)


def test_reports_at_other_clocks_state_these_cycles() -> None:
    """Vivado HLS at 3.33 ns: three designs state RF + 9 cycles per pixel; at 5 ns RF + 6."""
    conv = {"name": "c", "type": "conv1d", "n_in": 3, "n_out": 16, "reuse_factor": 12}
    conv |= {"in_width": 200, "out_width": 99, "kernel_width": 3, "stride": 2}
    conv |= {"strategy": "resource"}
    cycles = [
        estimate(
            parse_design(
                {"backend": "Vivado", "io_type": "io_stream", "clock_ns": clock, "layers": [conv]}
            )
        ).ii_cycles
        for clock in (3.33, 5.0)
    ]
    assert cycles == [200 * 21 + 1, 200 * 18 + 1]


def test_what_if_is_the_estimate_of_every_combination() -> None:
    layers = [{"name": "fc", "type": "dense", "n_in": 64, "n_out": 32, "strategy": "resource"}]
    design = parse_design({"layers": layers})
    points = what_if(design, [4, 16], [2.5, 5.0], ["xcu250", "pynq-z2"])
    assert len(points) == 8
    for point in points:
        assert point.estimate.total == estimate(point.design).total
        assert point.design.layers[0].reuse_factor == point.reuse_factor
    assert {p.design.clock_ns for p in points} == {2.5, 5.0}
    (own,) = what_if(design)
    assert own.estimate.total == estimate(design).total


@pytest.mark.parametrize("asked", [3, 7])
def test_what_if_takes_the_nearest_valid_reuse_factor(asked: int) -> None:
    layers = [{"name": "fc", "type": "dense", "n_in": 64, "n_out": 32, "strategy": "resource"}]
    (point,) = what_if(parse_design({"layers": layers}), [asked])
    assert point.design.layers[0].reuse_factor in (2, 4, 8)


def test_a_part_is_taken_by_its_name_too() -> None:
    found = _estimate(5.0)
    part = find_part("xc7z020")
    assert found.fits("pynq-z2") == found.fits(part)
    assert found.utilization("PYNQ-Z2") == found.utilization(part)
    assert found.device("zedboard") is part
    assert found.to_json("pynq-z2")["part"] == "xc7z020"
    with pytest.raises(UnknownNameError, match=r"'pynq-z3'.*'pynq-z"):
        found.fits("pynq-z3")
