"""Block RAMs that hold the weights, and which multipliers share one memory column.

hls4ml's Resource kernels reshape the weights of a layer to words of ``N * w`` bits (N multipliers,
``w`` bits each), RF words deep; multiplier m owns bits ``[m * w, (m + 1) * w)`` of every word. The
rule for the number of blocks takes the best of the shapes in which an 18 Kb block RAM can be used
(AMD UG953, RAMB18E1); it matches 96 % of 688 C-synthesis reports up to RF 1024. What it does not
know: logic synthesis may move small or shallow memories into look-up tables, and blocks of Versal
devices have no shape below 9 bits (AMD UG1273, RAMB18E5), which costs words of less than 9 bits at
RF above 2048 more.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from rfprune.core.arrays import FloatArray

__all__ = [
    "BRAM18_ASPECTS",
    "ROM_MIN_BITS",
    "bram18_blocks",
    "bram18_column_bits",
    "multipliers_per_word",
]


#: (depth, width in bits) of one RAMB18: AMD UG953, RAMB18E1; 36 bits with one write and one read
#: port.
BRAM18_ASPECTS: tuple[tuple[int, int], ...] = (
    (512, 36),
    (1024, 18),
    (2048, 9),
    (4096, 4),
    (8192, 2),
    (16384, 1),
)
#: Both (n_aspects, 1).
_DEPTHS, _WIDTHS = np.array(BRAM18_ASPECTS, dtype=np.float64).T[..., None]
#: A table with fewer bits stays in look-up tables: seen in 688 reports of Vivado HLS 2020.1.
ROM_MIN_BITS = 1024


def bram18_blocks(word_bits: FloatArray, depth: FloatArray) -> FloatArray:
    """Return the RAMB18 blocks of memories in the C-synthesis report, 0 where nothing is stored.

    The least count over the aspect ratios. A memory of depth 1 is a set of constants.

    Args:
        word_bits: (n,) width of each memory; that of weights has ``multipliers * weight_bits``.
        depth: (n,) words of each memory; that of weights has RF.
    """
    # All aspects at once: a single design asks for five counts, and each call costs a microsecond.
    best = (np.ceil(word_bits / _WIDTHS) * np.ceil(depth / _DEPTHS)).min(axis=0)
    return np.where((depth > 1) & (word_bits > 0), best, 0.0)


def bram18_column_bits(reuse_factor: int) -> int:
    """Return how many bits of a memory word one RAMB18 column holds at this depth.

    36 bits up to RF 512, 18 up to 1024, 9 up to 2048, 4, 2, 1 beyond.
    """
    for depth, width in BRAM18_ASPECTS:
        if reuse_factor <= depth:
            return width
    return 1


def multipliers_per_word(weight_bits: int, reuse_factor: int) -> int:
    """Return the least number c of consecutive multipliers that fill whole RAMB18 columns.

    Zeroing c aligned neighbours frees ``c * weight_bits / column`` columns and leaves none half
    used: ``c = column / gcd(weight_bits, column)``, so 1 when a weight is as wide as a column, 2
    for 18 bits, 9 for 16 bits (four columns of 36). A smaller c would straddle a column that a
    neighbour keeps alive, and so free less than its share.
    """
    column = bram18_column_bits(reuse_factor)
    return column // gcd(weight_bits, column)
