from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.hardware.memory import (
    BRAM18_ASPECTS,
    bram18_column_bits,
    bram_word_groups,
    weight_bram18,
)


@pytest.mark.parametrize(
    ("multipliers", "bits", "reuse_factor", "n_in", "blocks"),
    [
        # Reported by Vivado HLS 2020.1: (n_in, n_out, RF) and blocks of BRAM_18K.
        (32, 8, 512, 128, 9),
        (128, 8, 512, 256, 29),
        (8, 8, 512, 64, 3),
        (64, 8, 384, 96, 15),
        (1, 8, 1024, 32, 2),
    ],
)
def test_reported_blocks(
    multipliers: int, bits: int, reuse_factor: int, n_in: int, blocks: int
) -> None:
    assert weight_bram18(multipliers, bits, reuse_factor, n_in) == blocks


def test_constants_need_no_memory() -> None:
    assert weight_bram18(64, 16, 1) == 0
    assert weight_bram18(0, 16, 8) == 0


@given(st.integers(1, 300), st.integers(1, 32), st.integers(2, 5000))
def test_blocks_hold_every_bit_and_grow(multipliers: int, bits: int, depth: int) -> None:
    blocks = weight_bram18(multipliers, bits, depth)
    assert blocks * 18432 >= multipliers * bits * depth
    assert weight_bram18(multipliers + 1, bits, depth) >= blocks
    for deep, wide in BRAM18_ASPECTS:
        assert blocks <= ceil(multipliers * bits / wide) * ceil(depth / deep)


@pytest.mark.parametrize(
    ("reuse_factor", "column"), [(2, 36), (512, 36), (513, 18), (1024, 18), (2048, 9), (40000, 1)]
)
def test_column_width_follows_depth(reuse_factor: int, column: int) -> None:
    assert bram18_column_bits(reuse_factor) == column


@pytest.mark.parametrize(
    ("bits", "reuse_factor", "groups"),
    [(36, 4, 1), (18, 4, 2), (12, 4, 3), (16, 4, 9), (9, 600, 2), (6, 4, 6)],
)
def test_groups_of_known_widths(bits: int, reuse_factor: int, groups: int) -> None:
    assert bram_word_groups(bits, reuse_factor) == groups


@given(st.integers(1, 64), st.integers(2, 4096))
def test_groups_fill_whole_columns_and_are_the_fewest(bits: int, reuse_factor: int) -> None:
    groups, column = bram_word_groups(bits, reuse_factor), bram18_column_bits(reuse_factor)
    assert groups * bits % column == 0
    assert all(fewer * bits % column for fewer in range(1, groups))
