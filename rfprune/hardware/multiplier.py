"""What one product of a weight and a datum costs in DSP blocks.

A multiplier whose weight comes from a memory (strategies Resource and ResourceUnrolled) is a real
multiplier. One whose weight is a constant (Latency) is a shift when the constant has one digit and
an add when it has two; which weights are left over is counted by `rfprune.fpga.estimators.design`.
"""

from __future__ import annotations

from rfprune.errors import UnknownNameError

__all__ = [
    "DSP_PORTS",
    "DSP_SHIFT",
    "HLS_WIDE_BITS",
    "MIN_BITS",
    "SYNTHESIS_MIN_SUM",
    "dsp_per_product",
    "dsp_tiles",
]

#: Signed operand widths of one DSP block: AMD DS180 (DSP48E1), AM004 (DSP58, and 27 x 18 for the
#: DSP48E2 before it).
DSP_PORTS: dict[str, tuple[int, int]] = {
    "DSP48E1": (25, 18),
    "DSP48E2": (27, 18),
    "DSP58": (27, 24),
}

#: Bits by which a block shifts the sum that it hands to its neighbour, so the width that a further
#: block adds to an operand: AMD AM004, "Differences from Previous Generations" (17 before, 23 now).
DSP_SHIFT: dict[str, int] = {"DSP48E1": 17, "DSP48E2": 17, "DSP58": 23}

#: C synthesis gives a product a DSP where the wider operand has this many bits or more. Multipliers
#: listed in reports of Vitis HLS 2024.1: 7 x 7 to 10 x 10 bits none, 8 x 11, 11 x 9 and 12 x 6 one.
HLS_WIDE_BITS = 11
#: The narrower operand needs this many. Vivado HLS 2020.1: 34 x 5 bits two, 34 x 4 bits none (261
#: constants of one layer); 688 Resource layers with 16-bit data: none at 4 bits, one at 6.
MIN_BITS = 5
#: Least sum of both widths after Vitis HLS 2023.2 and Vivado synthesis: 71 networks, none at
#: 6 x 16, one at 8 x 16.
SYNTHESIS_MIN_SUM = 24


def dsp_tiles(a_bits: int, b_bits: int, dsp_type: str = "DSP48E2") -> int:
    """Return how many DSP blocks tile a signed `a_bits` x `b_bits` product, at least 1.

    The first tile of an operand holds the port's width, each further one the `DSP_SHIFT` between
    neighbours. The better of both orientations is taken: two blocks for 20 x 20 bits on a DSP48E1,
    as three published layers have, and for 47 x 27 and 50 x 24 bits on a DSP58, as AMD AM004 lists.

    Raises:
        UnknownNameError: no such DSP type.
    """
    if dsp_type not in DSP_PORTS:
        raise UnknownNameError(f"unknown DSP type '{dsp_type}'. Known: {', '.join(DSP_PORTS)}.")
    wide, narrow = DSP_PORTS[dsp_type]
    shift = DSP_SHIFT[dsp_type]

    def tiles(x: int, y: int) -> int:
        return max(1, 1 - (wide - x) // shift) * max(1, 1 - (narrow - y) // shift)

    return min(tiles(a_bits, b_bits), tiles(b_bits, a_bits))


def dsp_per_product(
    weight_bits: int, data_bits: int, dsp_type: str = "DSP48E2", predicts: str = "hls"
) -> int:
    """Return the DSP blocks of one multiplier whose weight comes from memory.

    Args:
        weight_bits: width of the weight.
        data_bits: width of the datum.
        dsp_type: ``DSP48E1``, ``DSP48E2`` or ``DSP58``.
        predicts: ``"hls"`` for the C-synthesis report, ``"synthesis"`` for logic synthesis, which
            moves more small products into look-up tables.

    Returns:
        0 where the tools use look-up tables, else the number of tiles.
    """
    enough = (
        max(weight_bits, data_bits) >= HLS_WIDE_BITS
        if predicts == "hls"
        else weight_bits + data_bits >= SYNTHESIS_MIN_SUM
    )
    if not enough or min(weight_bits, data_bits) < MIN_BITS:
        return 0
    return dsp_tiles(weight_bits, data_bits, dsp_type)
