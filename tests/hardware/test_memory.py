from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.hardware.memory import (
    BRAM18_ASPECTS,
    bram18_blocks,
    bram18_column_bits,
    multipliers_per_word,
)


def blocks(word_bits: int, depth: int) -> int:
    (found,) = bram18_blocks(np.array([float(word_bits)]), np.array([float(depth)]))
    return int(found)


def test_constants_need_no_memory() -> None:
    assert blocks(64 * 16, 1) == 0
    assert blocks(0, 8) == 0


@given(st.integers(1, 300), st.integers(1, 32), st.integers(2, 5000))
def test_blocks_hold_every_bit_and_grow(multipliers: int, bits: int, depth: int) -> None:
    found = blocks(multipliers * bits, depth)
    assert found * 18432 >= multipliers * bits * depth
    assert blocks((multipliers + 1) * bits, depth) >= found
    least = (ceil(multipliers * bits / w) * ceil(depth / d) for d, w in BRAM18_ASPECTS)
    assert found == min(least)


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
    assert multipliers_per_word(bits, reuse_factor) == groups


@given(st.integers(1, 64), st.integers(2, 4096))
def test_groups_fill_whole_columns_and_are_the_fewest(bits: int, reuse_factor: int) -> None:
    groups, column = multipliers_per_word(bits, reuse_factor), bram18_column_bits(reuse_factor)
    assert groups * bits % column == 0
    assert all(fewer * bits % column for fewer in range(1, groups))
