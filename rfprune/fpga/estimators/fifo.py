"""FIFOs between layers that run side by side (HLS dataflow).

hls4ml connects layers by FIFOs on a stream, and in io_parallel where a convolution runs in several
partitions or a layer is built in the Resource strategy (its pass ``pipeline_style``). Vivado HLS
builds one FIFO per element; Vitis HLS packs the channels of a stream into one word, which it widens
to a power of two. What it does not know: depths that a co-simulation has cut down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.fpga.estimators.layer_columns import Columns, Kinds
from rfprune.hardware.memory import ROM_MIN_BITS, bram18_blocks
from rfprune.hardware.operators import HANDSHAKE_LUT

__all__ = ["Fifos", "fifos", "next_power"]

F = NDArray[np.float64]
B = NDArray[np.bool_]

#: Deepest FIFO that always stays in shift registers: one look-up table makes one of 32 bits (AMD
#: UG474). Deeper ones are block RAMs from `ROM_MIN_BITS` on: 64 words of 8 bits are none, 81 are,
#: and 32 words of 28 bits, which take as many as 32 bits would.
_SHIFT_REGISTER_DEPTH = 31
#: From here on also after logic synthesis: 64 words of 16 and of 24 bits are block RAMs, 225 words
#: of 6 bits are not (Vivado 2020.1, two projects).
_SYNTHESIS_MIN_DEPTH, _SYNTHESIS_MIN_BITS, _SYNTHESIS_MIN_WORD = 36, 1024, 8
#: C synthesis does not use a block RAM 36 bits wide for a FIFO of Vivado HLS, as if it had at least
#: this many words: 81 blocks for 32 FIFOs of 64 words of 28 bits, 8 of 32 and one of 16 bits.
_BLOCK_WORDS = 1024
#: LUTs and flip-flops of a FIFO beside its word. Vitis HLS 2024.1 lists ``2 W + 4`` flip-flops;
#: 4118 FIFOs of 16 bits have 94,714 LUTs, seven wide ones of 2022.2 have 7 each beside 3,200 bits.
_VITIS = {"lut": 7.0, "ff": 4.0}
#: Vivado HLS 2020.1 lists 5 flip-flops and 28 LUTs for 16 bits in a shift register. With a block
#: RAM: what two designs of Vivado HLS 2019 hold beyond their modules, 42 and 51, 73 and 118.
_VIVADO = {"lut": 12.0, "ff": 5.0}
_VIVADO_BLOCK = {"lut": 85.0, "ff": 45.0}
#: What the top of an io_parallel design holds for each element that goes from process to process:
#: a port's signal, 4 LUTs that gather the writes and a register (five designs of both tools with
#: 148 to 4118 elements: 9.0 and 4.0 to 4.2 LUTs, one flip-flop).
_GATHERED = {"lut": HANDSHAKE_LUT + 4.0, "ff": 1.0}


@dataclass(frozen=True)
class Fifos:
    """What the FIFO behind each layer costs, (n_layers,) each.

    Attributes:
        hls_bram18, lut, ff: counts in the C-synthesis report.
        synthesis_bram18: after logic synthesis, which stores no padding.
        fitted: logic synthesis has them in its own rules (Resource strategy, io_parallel).
        written: elements that the layer writes to FIFOs, 0 if it is the last.
    """

    hls_bram18: F
    synthesis_bram18: F
    lut: F
    ff: F
    fitted: B
    written: F


def next_power(x: F) -> F:
    """Return the least power of two that is not below `x`, at least 1."""
    return 2.0 ** np.ceil(np.log2(np.maximum(x, 1)))


def fifos(c: Columns, k: Kinds, positions: F) -> Fifos:
    """Return the FIFOs behind every layer but the last of its design.

    Args:
        c: layers.
        k: which layers are what.
        positions: (n_layers,) positions that a layer writes.
    """
    stream = c.stream == 1
    held = _held(c, k)
    elements = np.where(stream, c.channels, c.n_out * positions)
    # Vivado HLS builds one FIFO per element, Vitis HLS one per stream.
    packed = stream & (c.vivado == 0)
    bits = np.where(packed, elements * c.output_bits, c.output_bits)
    word = np.where(packed, next_power(bits), bits)
    number = np.where(packed, 1.0, elements) * held
    depth = np.where(stream, positions, 1.0)
    words = np.where(c.vivado == 1, next_power(depth), depth)
    block = (depth > _SHIFT_REGISTER_DEPTH) & (words * next_power(word) >= ROM_MIN_BITS)
    kept = (depth >= _SYNTHESIS_MIN_DEPTH) & (bits >= _SYNTHESIS_MIN_WORD)
    kept &= depth * bits >= _SYNTHESIS_MIN_BITS
    blocks = bram18_blocks(word, np.where(packed, words, np.maximum(words, _BLOCK_WORDS)))
    vivado_lut = word + np.where(block, _VIVADO_BLOCK["lut"], _VIVADO["lut"])
    vivado_ff = np.where(block, _VIVADO_BLOCK["ff"], _VIVADO["ff"])
    gathered = np.where(stream, 0.0, elements * held)
    return Fifos(
        hls_bram18=number * block * blocks,
        synthesis_bram18=number * kept * bram18_blocks(bits, depth),
        lut=number * np.where(c.vivado == 1, vivado_lut, word + _VITIS["lut"])
        + _GATHERED["lut"] * gathered,
        ff=number * np.where(c.vivado == 1, vivado_ff, 2 * word + _VITIS["ff"])
        + _GATHERED["ff"] * gathered,
        fitted=~stream & _of_design(c, k.memory),
        written=elements * held,
    )


def _held(c: Columns, k: Kinds) -> B:
    """Return behind which layers there is a FIFO."""
    partitions = c.out_height * c.out_width > c.parallelization
    several = _of_design(c, k.multiplies & (partitions | c.is_strategy("resource")))
    flows: B = (c.stream == 1) | several
    last = np.zeros(c.design.shape, dtype=np.bool_)
    # The layer before a design's first one is the last of the design before; the first start, 0,
    # wraps around to the last of all.
    last[c.starts - 1] = True
    return flows & ~last & ~c.is_type("reshape", "concatenate")


def _of_design(c: Columns, found: B) -> B:
    """Return for each layer whether `found` holds for any layer of its design."""
    whole: B = np.logical_or.reduceat(found, c.starts)
    return whole[c.design]
