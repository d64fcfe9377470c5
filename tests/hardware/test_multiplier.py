from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import UnknownNameError
from rfprune.hardware.multiplier import DSP_PORTS, dsp_per_product, dsp_tiles

BITS = st.integers(1, 64)


@pytest.mark.parametrize(
    ("a", "b", "dsp_type", "tiles"),
    [
        (16, 16, "DSP48E1", 1),
        (25, 18, "DSP48E1", 1),
        (18, 25, "DSP48E1", 1),
        (20, 20, "DSP48E1", 2),
        (26, 18, "DSP48E1", 2),
        (27, 18, "DSP48E2", 1),
        (35, 27, "DSP48E2", 2),
        (32, 32, "DSP48E2", 4),
        (27, 24, "DSP58", 1),
        (28, 24, "DSP58", 2),
        (47, 27, "DSP58", 2),
        (50, 24, "DSP58", 2),
        (51, 24, "DSP58", 3),
        (53, 24, "DSP58", 3),
        (44, 18, "DSP48E2", 2),
        (45, 18, "DSP48E2", 3),
    ],
)
def test_tiles_of_known_products(a: int, b: int, dsp_type: str, tiles: int) -> None:
    assert dsp_tiles(a, b, dsp_type) == tiles


@given(BITS, BITS, st.sampled_from(sorted(DSP_PORTS)))
def test_tiles_are_symmetric_and_cover_every_bit(a: int, b: int, dsp_type: str) -> None:
    tiles = dsp_tiles(a, b, dsp_type)
    wide, narrow = DSP_PORTS[dsp_type]
    assert tiles == dsp_tiles(b, a, dsp_type)
    assert tiles * wide * narrow >= a * b
    assert dsp_tiles(a + 1, b, dsp_type) >= tiles


@pytest.mark.parametrize("bits", [2, 4])
def test_narrow_weights_need_no_dsp(bits: int) -> None:
    assert dsp_per_product(bits, 16) == 0


def test_thresholds_of_both_reports() -> None:
    assert dsp_per_product(6, 16) == 1
    assert dsp_per_product(6, 16, predicts="synthesis") == 0
    assert dsp_per_product(8, 16, predicts="synthesis") == 1
    assert dsp_per_product(8, 8) == 0


@pytest.mark.parametrize(
    ("a", "b", "dsp"),
    [(10, 10, 0), (8, 10, 0), (9, 10, 0), (11, 9, 1), (8, 11, 1), (12, 6, 1), (14, 8, 1)],
)
def test_products_that_a_report_lists(a: int, b: int, dsp: int) -> None:
    # Instances of one dense layer each, Vitis HLS 2024.1 for an xcu250.
    assert dsp_per_product(a, b) == dsp_per_product(b, a) == dsp


def test_unknown_dsp_type() -> None:
    with pytest.raises(UnknownNameError, match="DSP48E2"):
        dsp_tiles(16, 16, "DSP49")
