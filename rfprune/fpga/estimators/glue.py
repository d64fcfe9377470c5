"""What is around the multipliers: FIFOs, tables of activations, recurrent cells.

Counts follow from hls4ml's templates (how many products, look-ups and FIFOs there are); the few
factors per bit are from the published module reports that stand beside them. What it does not know:
the logic inside an argmax or a resize beyond the registers of one packed vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.fpga.estimators.chains import chains
from rfprune.fpga.estimators.fifo import Fifos, fifos
from rfprune.fpga.estimators.layer_columns import TABLES, Columns, Kinds
from rfprune.fpga.estimators.terms import (
    OLD_VIVADO_HLS,
    Facts,
    dsp_tiles,
    parallel_elements,
    relu_lut,
    rule,
    softmax_elements,
)
from rfprune.hardware.operators import DELAY_FF, DELAY_LUT, HANDSHAKE_LUT
from rfprune.hardware.timing import ROUND_NS

__all__ = ["FF_RATIO", "LUT_RATIO", "Around", "around"]

F = NDArray[np.float64]

#: LUTs per bit of one look-up in a sigmoid or tanh table (scaling, clipping): nine module reports
#: of Vivado HLS 2019 with 16 and 20 bits say 7.9 to 9.0.
_LOOKUP_LUT = 8.3
#: The same of an ELU, which looks up negative data only: five of six reports of hls4ml's tests.
_ELU_LUT = 4.2
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
#: Bits of an entry of a table of sigmoid or tanh (``table_t``).
_TABLE_BITS = 18.0


@dataclass(frozen=True)
class Around:
    """Costs beside the multipliers, (n_layers,) each; `synthesis_*` after logic synthesis.

    `chain_stages` are the cycles of a pool whose comparisons follow each other.
    """

    dsp: F
    hls_bram18: F
    synthesis_bram18: F
    hls_lut: F
    synthesis_lut: F
    hls_ff: F
    synthesis_ff: F
    chain_stages: F


def _dsp(c: Columns, f: Facts, k: Kinds) -> F:
    """Products of softmax, batch norm and recurrent cells.

    A softmax multiplies its tables, which are wide whatever the data. A GRU computes ``1 - z`` with
    a 32-bit one, so that this product gets a DSP at any width; one published network of 4-bit types
    has exactly one DSP per state and class. Its reset gate multiplies a sum as wide as it is.
    """
    softmax = np.where(k.softmax & (c.binding != 2), softmax_elements(c), 0.0)
    scales = k.batchnorm & f.hls_dsp & (c.binding == 0) & ~f.constant_data
    scaled = np.where(scales, parallel_elements(c) * f.tiles, 0.0)
    gru = c.is_type("gru").astype(np.float64)
    reset = gru * (dsp_tiles(c, np.full_like(gru, _TABLE_BITS), c.accum_bits) - f.tiles)
    wide = np.where(f.hls_dsp, _PRODUCTS * f.tiles + np.maximum(reset, 0.0), gru)
    products = np.where(f.hls_dsp, _multiplied(c) * f.tiles, 0.0)
    return softmax + scaled + products + np.where(k.recurrent, c.n_out * wide, 0.0)


def _multiplied(c: Columns) -> F:
    """Multipliers of products of two tensors: as many as hls4ml allows (``multiplier_limit``)."""
    found: F = np.where(c.is_type("product"), np.ceil(c.n_in * c.n_out / c.reuse_factor), 0.0)
    return found


#: LUTs of the state machine of a process on a stream: 63 to 66 of Vivado HLS beside its ports, 50
#: to 67 of Vitis HLS, which has one port for all channels (30 modules of ReLU, linear and dense).
_PROCESS_LUT = 60.0
#: LUTs of the port of a line buffer of Vitis HLS, one memory per line and channel.
_LINE_PORT_LUT = 27.0


def _ports(c: Columns, k: Kinds, between: Fifos) -> F:
    """LUTs of the ports of one layer's process; the rules of pools and softmax have theirs.

    Vivado HLS has a port for every channel of a stream, in io_parallel every element that goes to
    another process has one. Their signals tell a simulation who waits: logic synthesis drops them.
    """
    stream = c.stream == 1
    read = np.roll(c.channels, 1)
    read[c.starts] = c.channels_in[c.starts]
    channels = np.where(c.vivado == 1, read + c.channels, 0.0)
    process = _PROCESS_LUT + HANDSHAKE_LUT * channels
    process = np.where(k.pool | k.softmax | c.is_type("reshape", "concatenate"), 0.0, process)
    return np.where(stream, process, HANDSHAKE_LUT * between.written)


def _lines(c: Columns, k: Kinds) -> tuple[F, F]:
    """LUTs and flip-flops of the lines that a convolution of a stream keeps of its image."""
    windowed = (c.stream == 1) & k.multiplies & ~k.recurrent
    lines = np.where(windowed, (c.kernel_height - 1) * c.channels_in, 0.0)
    # Shift registers of look-up tables have 16 words of two bits each.
    older = c.data_bits * np.ceil(c.in_width / 16) / 2
    delays = c.year > OLD_VIVADO_HLS
    lut = np.where(delays, DELAY_LUT + _LINE_PORT_LUT * (c.vivado == 0), older)
    return lines * lut, lines * DELAY_FF * delays


def _results(c: Columns, f: Facts, k: Kinds, between: Fifos) -> F:
    """Registers of what a Latency kernel hands to the next layer of one pipeline.

    Every result of a kernel with stages has one, beside those of the activations that the next
    kernel holds: five networks list 13 to 162 of each, as many as there are living neurons.
    """
    last = np.zeros(c.design.shape, dtype=np.bool_)
    last[c.starts - 1] = True
    vector = (c.stream == 0) & (c.out_height * c.out_width == 1) & (between.written == 0)
    return np.where(k.constant & vector & ~last & (f.stages > 0), c.n_out * c.output_bits, 0.0)


def _glue_lut(c: Columns, f: Facts, k: Kinds) -> F:
    """LUTs of one layer without weights."""
    bits = parallel_elements(c) * np.maximum(c.data_bits, c.output_bits)
    simple = k.batchnorm | c.is_type("merge", "argmax", "padding", "resize")
    products = k.batchnorm & ~f.hls_dsp
    lut = np.where(simple, _BIT_LUT * bits * np.where(products, 1 + c.weight_bits, 1.0), 0.0)
    lut = np.where(k.relu, relu_lut(c), lut)
    # Each product of two tensors is added up; a narrow one is made of sums itself.
    rows = np.where(f.hls_dsp, 0.0, np.minimum(c.weight_bits, c.data_bits))
    each = c.accum_bits + rows * np.maximum(c.weight_bits, c.data_bits)
    rules = rule("pool_lut", c, f, k.pool) + rule("softmax_lut", c, f, k.softmax)
    total: F = lut + _multiplied(c) * each + rules
    return total


def _registers(c: Columns, f: Facts, k: Kinds, between: Fifos) -> F:
    """Flip-flops of one layer without weights.

    A scaled element is registered as datum, product and sum. In io_parallel a process holds what it
    hands to FIFOs: the reports of two ReLU say 15 bits for each of 2048 and of 64 elements. ReLU
    that rounds holds datum and sum where the period is too short for both (17 modules say 26 to 33
    bits of 16). A look-up registers its result, in Vitis HLS its address as well (hls4ml's tests).
    """
    n = parallel_elements(c)
    held = k.relu & (c.stream == 0) & (between.ff > 0)
    registers = np.where(held, n * c.output_bits, 0.0)
    rounded = k.relu & (c.rounds == 1) & (c.stream == 0)
    registers = registers + rounded * 2 * n * c.data_bits * np.floor(ROUND_NS / c.period_ns)
    addressed = np.where(c.vivado == 1, 0.0, np.log2(c.table_size))
    table = n * (c.output_bits + addressed)
    registers = np.where(c.is_type(*TABLES), table, registers)
    registers = registers + rule("pool_ff", c, f, k.pool) + rule("softmax_ff", c, f, k.softmax)
    stages = 2 * c.data_bits + c.weight_bits + c.output_bits
    multiplied = _multiplied(c) * (c.data_bits + c.weight_bits)
    return np.where(k.batchnorm, n * stages, registers) + multiplied


def _softmax_tables(c: Columns) -> tuple[F, F]:
    """Block RAMs of a softmax in the C-synthesis report, and after logic synthesis.

    Vivado HLS lets two classes share a table of exponentials, beside that of inverses: 4 for five
    classes. Vitis HLS counts one per class in 2021.1, and from 2022.2 twice the shared ones: 8.
    A block RAM has two ports: after logic synthesis two classes always share one.
    """
    shared = np.ceil(c.n_out / 2) + 1
    vitis = np.where(c.year < 2022, c.n_out, 2 * shared)
    # One softmax for each position, all at once in io_parallel.
    each = np.where(c.stream == 1, 1.0, c.out_height * c.out_width)
    return each * np.where(c.vivado == 1, shared, vitis), each * shared


def around(c: Columns, f: Facts, k: Kinds) -> Around:
    """Return what every layer costs beside its multipliers."""
    per_state = sum(count * c.is_type(kind) for kind, count in _LOOKUPS.items())
    lookups = np.where(c.is_type(*TABLES), parallel_elements(c), per_state * c.n_out)
    # Activations of a stream may state their elements only; channels then say how many positions.
    positions = c.out_height * c.out_width
    passing = c.is_type("relu", "batchnorm", "linear", "merge")
    silent = (c.stream == 1) & (positions == 1) & passing
    elements = np.maximum(c.n_out / np.maximum(c.channels, 1), 1)
    positions = np.where(silent, np.ceil(elements), positions)
    state = np.where(k.recurrent, c.n_out * c.data_bits, 0.0)
    steps = np.where(k.recurrent & (c.stream == 0) & (c.n_sequence > 1), c.n_sequence, 0.0)
    between = fifos(c, k, positions)
    later = ~between.fitted
    ff = _registers(c, f, k, between) + _results(c, f, k, between) + _CELL["ff"] * state
    per_bit = np.where(c.is_type("elu"), _ELU_LUT, _LOOKUP_LUT)
    lut = _glue_lut(c, f, k) + _CELL["lut"] * state + per_bit * lookups * c.data_bits
    lines, ports, chain = _lines(c, k), _ports(c, k, between), chains(c)
    lut, ff = lut + lines[0] + chain.lut, ff + lines[1] + chain.ff
    selected = steps * c.n_in**2 * c.data_bits
    # A block RAM has two ports: two look-ups share a table.
    tables = np.ceil(lookups / 2)
    # From 2024.2 on, Vitis HLS shares one table among all elements of an io_parallel activation.
    one = (c.year >= 2024.2) & (c.stream == 0) & (c.vivado == 0)
    tables = np.where(one, np.minimum(tables, 1), tables)
    softmax = _softmax_tables(c)
    return Around(
        dsp=_dsp(c, f, k),
        hls_bram18=np.where(k.softmax, softmax[0], 0.0) + tables + between.hls_bram18,
        synthesis_bram18=np.where(k.softmax, softmax[1], 0.0) + tables + between.synthesis_bram18,
        hls_lut=lut + ports + between.lut + _STEP_LUT["hls"] * selected,
        synthesis_lut=(lut + between.lut * later) / LUT_RATIO + _STEP_LUT["synthesis"] * selected,
        hls_ff=ff + between.ff,
        synthesis_ff=(ff + between.ff * later) / FF_RATIO,
        chain_stages=chain.stages,
    )
