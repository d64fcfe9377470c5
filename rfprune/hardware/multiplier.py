"""What one product of a weight and a datum costs in DSP blocks.

A multiplier whose weight comes from a memory (strategies Resource and ResourceUnrolled) is a real
multiplier. One whose weight is a constant (Latency) is a shift when the constant has one digit and
an add when it has two; which weights are left over is counted by `rfprune.estimate.design`.
"""

from __future__ import annotations

from rfprune.errors import UnknownNameError

__all__ = ["DSP_PORTS", "dsp_per_product", "dsp_tiles"]

#: Signed operand widths of one DSP block: AMD UG479 (DSP48E1), UG579 (DSP48E2), AM004 (DSP58).
DSP_PORTS: dict[str, tuple[int, int]] = {
    "DSP48E1": (25, 18),
    "DSP48E2": (27, 18),
    "DSP58": (27, 24),
}

#: Least sum of both operand widths that C synthesis gives a DSP. 688 Resource layers of Vivado HLS
#: 2020.1 with 16-bit data: none at 2 and 4 bits, one each at 6 bits and more; 20 layers of Vivado
#: HLS 2019 with 8 x 8 bits: none. Constants: 5-bit ones times 16 bits stay in look-up tables.
HLS_MIN_SUM = 22
#: The same after Vitis HLS 2023.2 and Vivado synthesis: 71 networks, none at 6 x 16, one at 8 x 16.
SYNTHESIS_MIN_SUM = 24
#: An operand below this width needs no DSP whatever the other one is.
MIN_BITS = 5


def dsp_tiles(a_bits: int, b_bits: int, dsp_type: str = "DSP48E2") -> int:
    """Return how many DSP blocks tile a signed `a_bits` x `b_bits` product, at least 1.

    The first tile of an operand holds the port's width P, each further one P - 1 bits, since the
    lower parts are unsigned. The better of both orientations is taken: two blocks for 20 x 20 bits
    on a DSP48E1, as three published layers have.

    Raises:
        UnknownNameError: no such DSP type.
    """
    if dsp_type not in DSP_PORTS:
        raise UnknownNameError(f"unknown DSP type '{dsp_type}'. Known: {', '.join(DSP_PORTS)}.")
    wide, narrow = DSP_PORTS[dsp_type]

    def tiles(x: int, y: int) -> int:
        return max(1, -((1 - x) // (wide - 1))) * max(1, -((1 - y) // (narrow - 1)))

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
    least = HLS_MIN_SUM if predicts == "hls" else SYNTHESIS_MIN_SUM
    if weight_bits + data_bits < least or min(weight_bits, data_bits) < MIN_BITS:
        return 0
    return dsp_tiles(weight_bits, data_bits, dsp_type)
