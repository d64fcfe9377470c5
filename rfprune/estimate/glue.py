"""What stands around the multipliers: stream FIFOs, tables of activations, recurrent cells.

Counts follow from hls4ml's templates (how many products, look-ups and FIFOs there are); the few
factors per bit are from the published module reports that stand beside them. What it does not know:
the logic inside an argmax or a resize beyond the registers of one packed vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.estimate.layers import Columns, Kinds
from rfprune.estimate.terms import Facts, rule
from rfprune.hardware.memory import bram18_blocks

__all__ = ["FF_RATIO", "LUT_RATIO", "Around", "around"]

F = NDArray[np.float64]

#: Deepest FIFO between two stream layers that stays in shift registers: one look-up table makes one
#: of 32 bits (AMD UG474).
_SHIFT_REGISTER_DEPTH = 32
#: Registers and LUTs per bit of a FIFO's word: 2391 FF and 1269 LUT for five FIFOs of 896 bits in
#: all, Vitis HLS 2024.1.
_FIFO = {"lut": 1.4, "ff": 2.6}
#: LUTs per bit of one look-up in a sigmoid or tanh table (scaling, clipping): nine module reports
#: of Vivado HLS 2019 with 16 and 20 bits say 7.9 to 9.0.
_LOOKUP_LUT = 8.3
#: Per bit of the state of a GRU, beside its matrices and tables: two reports of Vivado HLS 2019.2
#: with 20 and 128 states say 5.3 and 5.1 LUTs, 11.7 and 11.6 flip-flops.
_CELL = {"lut": 5.2, "ff": 11.7}
#: LUTs per bit of the sequence that each input of a recurrent layer selects its step from. The same
#: two reports say 4.3 and 2.6; in silicon one LUT chooses out of four, a tree of them out of three.
_STEP_LUT = {"hls": 3.3, "synthesis": 1 / 3}
#: Median over ten published designs with both numbers, HLS / logic synthesis: Latency LUT, any FF.
LUT_RATIO = 1.8
FF_RATIO = 1.4
#: LUTs per bit that passes an adder, a comparison or a register: one six-input LUT each.
_BIT_LUT = 1.0
#: Table look-ups and products of one state per step (`nnet_recurrent.h`): two gates and the
#: candidate of a GRU; three gates, the candidate and the output's tanh of an LSTM.
_LOOKUPS = {"gru": 3.0, "lstm": 5.0}
_PRODUCTS = 3.0


@dataclass(frozen=True)
class Around:
    """Costs beside the multipliers, (n_layers,) each; `synthesis_*` after logic synthesis."""

    dsp: F
    bram18: F
    hls_lut: F
    synthesis_lut: F
    hls_ff: F
    synthesis_ff: F


def _outputs(c: Columns) -> F:
    """Return the positions that a layer writes; a stream's activation may state elements only."""
    stated = c.out_height * c.out_width
    elements = np.maximum(c.n_out / np.maximum(c.channels, 1), 1)
    silent = (c.stream == 1) & (stated == 1) & c.is_type("relu", "batchnorm", "linear", "merge")
    return np.where(silent, np.ceil(elements), stated)


def _width(c: Columns) -> F:
    """Elements that are handled side by side."""
    return np.where(c.stream == 1, c.channels, c.n_out)


def _lookups(c: Columns) -> F:
    per_state = sum(count * c.is_type(kind) for kind, count in _LOOKUPS.items())
    return np.where(c.is_type("sigmoid", "tanh"), _width(c), per_state * c.n_out)


def _dsp(c: Columns, f: Facts, k: Kinds) -> F:
    """Products of softmax, batch norm and recurrent cells.

    A softmax multiplies its tables, which are wide whatever the data. A GRU computes ``1 - z`` with
    a 32-bit one, so that this product gets a DSP at any width; one published network of 4-bit types
    has exactly one DSP per state and class.
    """
    softmax = np.where(k.softmax & (c.binding != 2), c.n_out, 0.0)
    scaled = np.where(k.batchnorm & f.hls_dsp & (c.binding == 0), _width(c) * f.tiles, 0.0)
    wide = np.where(f.hls_dsp, _PRODUCTS * f.tiles, c.is_type("gru").astype(np.float64))
    return softmax + scaled + np.where(k.recurrent, c.n_out * wide, 0.0)


def _fifo(c: Columns) -> tuple[F, F]:
    """Bits of a word and words of the FIFO behind a layer on a stream."""
    held = (c.stream == 1) & ~c.is_type("reshape", "concatenate")
    bits = np.where(held, c.channels * c.output_bits, 0.0)
    return bits, np.where(held, _outputs(c), 0.0)


def _glue_lut(c: Columns, f: Facts, k: Kinds) -> F:
    """LUTs of one layer without weights."""
    bits = _width(c) * np.maximum(c.data_bits, c.output_bits)
    simple = k.batchnorm | c.is_type("merge", "argmax", "padding", "resize")
    products = k.batchnorm & ~f.hls_dsp
    lut = np.where(simple, _BIT_LUT * bits * np.where(products, 1 + c.weight_bits, 1.0), 0.0)
    lut = np.where(k.relu, rule("relu_lut", c, f), lut)
    lut = np.where(k.pool, rule("pool_lut", c, f), lut)
    return np.where(k.softmax, rule("softmax_lut", c, f), lut)


def around(c: Columns, f: Facts, k: Kinds) -> Around:
    """Return what every layer costs beside its multipliers."""
    lookups = _lookups(c)
    state = np.where(k.recurrent, c.n_out * c.data_bits, 0.0)
    steps = np.where(k.recurrent & (c.stream == 0) & (c.n_sequence > 1), c.n_sequence, 0.0)
    bits, depth = _fifo(c)
    memory = np.where(depth > _SHIFT_REGISTER_DEPTH, bram18_blocks(bits, depth), 0.0)
    registers = np.where(k.pool, rule("pool_ff", c, f), 0.0)
    registers = np.where(k.softmax, rule("softmax_ff", c, f), registers)
    ff = registers + _CELL["ff"] * state + _FIFO["ff"] * bits
    lut = _glue_lut(c, f, k) + _CELL["lut"] * state + _FIFO["lut"] * bits
    lut = lut + _LOOKUP_LUT * lookups * c.data_bits
    selected = steps * c.n_in**2 * c.data_bits
    return Around(
        dsp=_dsp(c, f, k),
        bram18=np.where(k.softmax, c.n_out, 0.0) + np.ceil(lookups / 2) + memory,
        hls_lut=lut + _STEP_LUT["hls"] * selected,
        synthesis_lut=lut / LUT_RATIO + _STEP_LUT["synthesis"] * selected,
        hls_ff=ff,
        synthesis_ff=ff / FF_RATIO,
    )
