"""What stands around the multipliers: FIFOs, tables of activations, recurrent cells.

Counts follow from hls4ml's templates (how many products, look-ups and FIFOs there are); the few
factors per bit are from the published module reports that stand beside them. What it does not know:
the logic inside an argmax or a resize beyond the registers of one packed vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.estimate.fifo import Fifos, fifos
from rfprune.estimate.layers import Columns, Kinds
from rfprune.estimate.terms import Facts, parallel_elements, rule

__all__ = ["FF_RATIO", "LUT_RATIO", "Around", "around"]

F = NDArray[np.float64]

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
    hls_bram18: F
    synthesis_bram18: F
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


def _lookups(c: Columns) -> F:
    per_state = sum(count * c.is_type(kind) for kind, count in _LOOKUPS.items())
    return np.where(c.is_type("sigmoid", "tanh"), parallel_elements(c), per_state * c.n_out)


def _dsp(c: Columns, f: Facts, k: Kinds) -> F:
    """Products of softmax, batch norm and recurrent cells.

    A softmax multiplies its tables, which are wide whatever the data. A GRU computes ``1 - z`` with
    a 32-bit one, so that this product gets a DSP at any width; one published network of 4-bit types
    has exactly one DSP per state and class.
    """
    softmax = np.where(k.softmax & (c.binding != 2), c.n_out, 0.0)
    scales = k.batchnorm & f.hls_dsp & (c.binding == 0)
    scaled = np.where(scales, parallel_elements(c) * f.tiles, 0.0)
    wide = np.where(f.hls_dsp, _PRODUCTS * f.tiles, c.is_type("gru").astype(np.float64))
    return softmax + scaled + np.where(k.recurrent, c.n_out * wide, 0.0)


def _glue_lut(c: Columns, f: Facts, k: Kinds) -> F:
    """LUTs of one layer without weights."""
    bits = parallel_elements(c) * np.maximum(c.data_bits, c.output_bits)
    simple = k.batchnorm | c.is_type("merge", "argmax", "padding", "resize")
    products = k.batchnorm & ~f.hls_dsp
    lut = np.where(simple, _BIT_LUT * bits * np.where(products, 1 + c.weight_bits, 1.0), 0.0)
    lut = np.where(k.relu, rule("relu_lut", c, f), lut)
    lut = np.where(k.pool, rule("pool_lut", c, f), lut)
    return np.where(k.softmax, rule("softmax_lut", c, f), lut)


def _registers(c: Columns, f: Facts, k: Kinds, between: Fifos) -> F:
    """Flip-flops of one layer without weights.

    A scaled element is registered as datum, product and sum. In io_parallel a process holds what it
    hands to FIFOs: the reports of two ReLU say 15 bits for each of 2048 and of 64 elements.
    """
    n = parallel_elements(c)
    held = k.relu & (c.stream == 0) & (between.ff > 0)
    registers = np.where(held, n * c.output_bits, 0.0)
    registers = np.where(k.pool, rule("pool_ff", c, f), registers)
    registers = np.where(k.softmax, rule("softmax_ff", c, f), registers)
    stages = 2 * c.data_bits + c.weight_bits + c.output_bits
    return np.where(k.batchnorm, n * stages, registers)


def around(c: Columns, f: Facts, k: Kinds) -> Around:
    """Return what every layer costs beside its multipliers.

    A block RAM has two ports. C synthesis counts a copy of the table of exponentials per class all
    the same; after logic synthesis two classes share one, beside the table of inverses.
    """
    lookups = _lookups(c)
    state = np.where(k.recurrent, c.n_out * c.data_bits, 0.0)
    steps = np.where(k.recurrent & (c.stream == 0) & (c.n_sequence > 1), c.n_sequence, 0.0)
    between = fifos(c, k, _outputs(c))
    later = ~between.fitted
    ff = _registers(c, f, k, between) + _CELL["ff"] * state
    lut = _glue_lut(c, f, k) + _CELL["lut"] * state + _LOOKUP_LUT * lookups * c.data_bits
    selected = steps * c.n_in**2 * c.data_bits
    tables = np.ceil(lookups / 2)
    shared = np.ceil(c.n_out / 2) + 1
    return Around(
        dsp=_dsp(c, f, k),
        hls_bram18=np.where(k.softmax, c.n_out, 0.0) + tables + between.hls_bram18,
        synthesis_bram18=np.where(k.softmax, shared, 0.0) + tables + between.synthesis_bram18,
        hls_lut=lut + between.lut + _STEP_LUT["hls"] * selected,
        synthesis_lut=(lut + between.lut * later) / LUT_RATIO + _STEP_LUT["synthesis"] * selected,
        hls_ff=ff + between.ff,
        synthesis_ff=(ff + between.ff * later) / FF_RATIO,
    )
