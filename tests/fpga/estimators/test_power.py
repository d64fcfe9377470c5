"""The dynamic part of the power estimate against `report_power` of published designs."""

from __future__ import annotations

from statistics import median

import pytest

from rfprune.core.quantities import Resources
from rfprune.fpga.estimators.power import estimate_power
from rfprune.fpga.estimators.result import Estimate
from rfprune.hardware.parts import PARTS, find_part

#: Part, DSP, BRAM18, LUT, FF, main clock in ns; what Vivado reports for clocks, logic, signals,
#: block RAMs and DSPs together in mW (default activity). Each design is in the repository that
#: `rfprune.hardware.part_sources` names for the part.
REPORTS = [
    ("xc7a35t", 0, 68, 583, 143, 10.0, 6),
    ("xc7a100t", 2, 22, 10554, 7795, 10.0, 58),
    ("xc7a200t", 0, 116, 18902, 22528, 10.0, 302),
    ("xc7z010", 0, 0, 1112, 1218, 10.0, 13),
    ("xcku5p", 0, 1, 1959, 1605, 8.0, 14),
    ("xcvu9p", 3, 68, 2183, 2044, 10.0, 40),
    ("xcvu13p", 0, 1, 1256, 2138, 10.0, 9),
    ("xczu2eg", 0, 0, 597, 1094, 10.0, 6),
    ("xczu28dr", 0, 16, 9270, 10385, 10.0, 90),
    ("xczu48dr", 376, 133, 29992, 25689, 6.8, 341),
    ("xcvm1802", 128, 1056, 884863, 257402, 5.0, 12041),
]


def _ratio(part: str, dsp: int, bram18: int, lut: int, ff: int, clock_ns: float, mw: int) -> float:
    design = Estimate("x", "synthesis", Resources(dsp, bram18, lut, ff), 1, 1, clock_ns)
    found = estimate_power(design, find_part(part))
    assert found is not None
    return found.dynamic_mw / mw


def test_dynamic_power_is_within_a_factor_of_two_of_ten_in_eleven_reports() -> None:
    ratios = {row[0]: _ratio(*row) for row in REPORTS}
    assert [part for part, ratio in ratios.items() if not 0.5 < ratio < 2] == ["xc7a35t"]
    assert 0.6 < median(ratios.values()) < 1.0


def test_a_low_voltage_part_draws_less() -> None:
    # Same logic and the same counts, 0.72 V against 0.85 V.
    assert _ratio("xck26", 10, 10, 1000, 1000, 5.0, 1) == pytest.approx(
        _ratio("xczu5ev", 10, 10, 1000, 1000, 5.0, 1) * (0.72 / 0.85) ** 2
    )


def test_a_part_without_a_static_figure_borrows_from_its_relative() -> None:
    part = find_part("xczu1eg")
    assert part.static_power_mw is None
    found = estimate_power(Estimate("x", "hls", Resources(1, 1, 1, 1), 1, 1, 5.0), part)
    assert found is not None
    near = PARTS["xczu2eg"]
    assert found.static_mw == pytest.approx(near.static_power_mw * part.lut / near.lut)
    assert "static of xczu2eg scaled by LUTs" in found.assumptions
