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

from math import ceil, gcd, log2

__all__ = ["BRAM18_ASPECTS", "bram18_column_bits", "bram_word_groups", "weight_bram18"]

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
#: A table with fewer bits stays in look-up tables: seen in 688 reports of Vivado HLS 2020.1.
_ROM_MIN_BITS = 1024


def weight_bram18(
    n_multipliers: int, weight_bits: int, reuse_factor: int, n_in: int | None = None
) -> int:
    """Return the RAMB18 blocks of a layer's weight memory in the C-synthesis report.

    The least count over the aspect ratios; plus one for the table of output indices that Resource
    layers keep when RF > `n_in`, once it has 1024 bits. RF 1 needs no memory.

    Args:
        n_multipliers: ``ceil(n_in * n_out / RF)``, or the live ones after pruning.
        weight_bits: width of one weight.
        reuse_factor: depth of the memory.
        n_in: inputs of the layer; None leaves the index table out.
    """
    word_bits = n_multipliers * weight_bits
    if reuse_factor <= 1 or word_bits == 0:
        return 0
    blocks = min(
        ceil(word_bits / width) * ceil(reuse_factor / depth) for depth, width in BRAM18_ASPECTS
    )
    if n_in is None or reuse_factor <= n_in:
        return blocks
    index_bits = reuse_factor * ceil(log2(reuse_factor / n_in))
    return blocks + int(index_bits >= _ROM_MIN_BITS)


def bram18_column_bits(reuse_factor: int) -> int:
    """Return how many bits of a memory word one RAMB18 column holds at this depth.

    36 bits up to RF 512, 18 up to 1024, 9 up to 2048, 4, 2, 1 beyond.
    """
    for depth, width in BRAM18_ASPECTS:
        if reuse_factor <= depth:
            return width
    return 1


def bram_word_groups(weight_bits: int, reuse_factor: int) -> int:
    """Return the least number c of consecutive multipliers that fill whole RAMB18 columns.

    Zeroing c aligned neighbours frees ``c * weight_bits / column`` columns and leaves none half
    used: ``c = column / gcd(weight_bits, column)``, so 1 when a weight is as wide as a column, 2
    for 18 bits, 9 for 16 bits (four columns of 36). A smaller c would straddle a column that a
    neighbour keeps alive, and so free less than its share.
    """
    column = bram18_column_bits(reuse_factor)
    return column // gcd(weight_bits, column)
