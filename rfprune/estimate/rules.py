"""What each layer costs, and how layers add up to a network.

One vectorised rule per quantity. Rules without fitted constants: DSP, block RAM, cycles, interval.
Rules with (look-up tables, flip-flops): sums of terms, see `rfprune.estimate.terms`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rfprune.estimate.glue import FF_RATIO, LUT_RATIO, Around, around
from rfprune.estimate.layers import Columns, Kinds, kinds
from rfprune.estimate.terms import Facts, facts, rule
from rfprune.hardware.memory import ROM_MIN_BITS, bram18_blocks

__all__ = ["LayerCosts", "layer_costs", "network_cycles"]

F = NDArray[np.float64]
B = NDArray[np.bool_]

#: Cycles of the stable softmax: 32 published module reports (medians).
_SOFTMAX = {"latency": 6.0, "bound_latency": 13.0}


@dataclass
class LayerCosts:
    """Costs per layer, arrays (n_layers,); NaN where not known.

    Attributes:
        hls_dsp, hls_bram18, hls_lut, hls_ff: as the C-synthesis report.
        synthesis_dsp, synthesis_bram18, synthesis_lut, synthesis_ff: after logic synthesis.
        latency, ii: cycles.
        multiplies: the layer has weights that are multiplied.
        bounded: some quantities of the layer are only bounded, since its weights are unknown.
        bounds: quantity -> (low, high), equal to the estimate where nothing is unknown.
    """

    hls_dsp: F
    hls_bram18: F
    hls_lut: F
    hls_ff: F
    synthesis_dsp: F
    synthesis_bram18: F
    synthesis_lut: F
    synthesis_ff: F
    latency: F
    ii: F
    multiplies: B
    bounded: B
    bounds: dict[str, tuple[F, F]] = field(default_factory=dict)


def _index_bits(c: Columns) -> F:
    """Bits of one entry of the output index table; 0 where RF <= n_in."""
    turns = np.maximum(c.reuse_factor / c.n_in, 1)
    return np.ceil(np.log2(turns))


def _bram(c: Columns, f: Facts, k: Kinds) -> tuple[F, F]:
    """Block RAMs of weights and index tables in both kinds of report.

    Vitis HLS ignores the ROM directive of hls4ml's Resource kernels: in 49 of 71 synthesised
    networks exactly the index tables were left as block RAMs and the weights went into look-up
    tables.
    """
    index = _index_bits(c)
    weights = bram18_blocks(f.all_multipliers * c.weight_bits, c.reuse_factor)
    table = (c.reuse_factor * index >= ROM_MIN_BITS).astype(np.float64)
    live = bram18_blocks(f.multipliers * c.weight_bits, c.reuse_factor)
    vitis_rom = (c.vivado == 0) & ~k.unrolled
    after = np.where(vitis_rom, 0.0, live) + table * bram18_blocks(index, c.reuse_factor)
    return np.where(k.memory, weights + table, 0.0), np.where(k.memory, after, 0.0)


def _dsp(c: Columns, f: Facts, k: Kinds) -> tuple[F, F]:
    """DSP blocks of multipliers in both kinds of report."""
    wanted = f.uniq3 * f.dsp_share
    used = np.where(c.reuse_factor > 1, np.minimum(wanted, f.limit), wanted)
    constants = used * np.where(c.data_bits > 26, 2.0, 1.0) * c.parallelization
    products = f.multipliers * f.tiles * k.memory
    constants = np.where(k.constant, constants, 0.0)
    return constants + products * f.hls_dsp, constants + products * f.synthesis_dsp


def _held_bits(c: Columns) -> F:
    """Registers around a kernel: a stream's window or packed vector, an image and its result."""
    positions = c.out_height * c.out_width
    image = (
        c.in_height * c.in_width * c.channels_in * c.data_bits + positions * c.n_out * c.accum_bits
    )
    parallel = np.where(positions > 1, image, c.n_in * c.data_bits * (1 - c.first))
    return np.where(c.stream == 1, c.n_in * c.data_bits, parallel)


def _lut(c: Columns, f: Facts, k: Kinds, glue: Around) -> tuple[F, F]:
    # One partition after the other reads its window out of an image held in registers.
    positions = c.out_height * c.out_width
    partitions = np.where(c.stream == 1, 1.0, np.ceil(positions / c.parallelization))
    image = c.parallelization * c.n_in * c.data_bits * (partitions - 1) / 3
    constant = np.where(k.constant, rule("latency_lut", c, f) + image, 0.0)
    memory = np.where(k.memory, rule("resource_lut", c, f), 0.0)
    after = np.where(k.memory, rule("resource_lut_synthesis", c, f), 0.0)
    return glue.hls_lut + constant + memory, glue.synthesis_lut + constant / LUT_RATIO + after


def _ff(c: Columns, f: Facts, k: Kinds, glue: Around) -> tuple[F, F]:
    ports = c.n_in * c.data_bits * (k.constant & (c.first == 1) & ~f.staged)
    held = np.where(k.multiplies & ~k.recurrent, _held_bits(c) + ports, 0.0)
    constant = np.where(k.constant, rule("latency_ff", c, f) + held, 0.0)
    memory = np.where(k.memory, rule("resource_ff", c, f) + held, 0.0)
    after = np.where(k.memory, rule("resource_ff_synthesis", c, f), 0.0)
    return glue.hls_ff + constant + memory, glue.synthesis_ff + constant / FF_RATIO + after


def _positions(c: Columns) -> F:
    """How often a kernel runs for one inference: pixels on a stream, else partitions."""
    streamed = c.in_height * c.in_width
    return np.where(
        c.stream == 1, streamed, np.ceil(c.out_height * c.out_width / c.parallelization)
    )


def _depth(c: Columns, f: Facts) -> F:
    """Pipeline stages of a Latency kernel.

    Stock hls4ml at 5 ns fits product and adder tree into one stage (28 layers); a few inputs fit
    into none. Where a directive binds the multipliers, every level of the adder tree is registered
    (74 layers), one more stage on each side below 4 ns.
    """
    stock = f.staged.astype(np.float64)
    levels = np.floor(np.log2(np.maximum(c.n_in, 2))) + np.where(c.clock_ns < 4, 2, 0)
    return np.where(c.binding > 0, levels, stock)


def _interval(c: Columns, f: Facts, k: Kinds) -> F:
    """Cycles between two runs of a layer's kernel.

    A multiplier of a Latency layer is used ``uniq3 / multipliers`` times, less than the reuse
    factor asks for when constants repeat or vanish; two more cycles fill and drain it (55 layers),
    four where a directive binds it to a DSP (37 layers). A Resource kernel with RF 1 is no
    pipeline: the next run waits for the end of the last (28 layers).
    """
    turns = np.ceil(f.uniq3 / np.maximum(f.shared, 1))
    filling = np.where(c.binding == 1, 4.0, 2.0)
    waits = np.where(turns > 1, turns + filling, np.where(f.staged, 3.0, 1.0))
    single = np.where(c.is_strategy("resource"), _depth(c, f) + 1, 1.0)
    constant = np.where(c.reuse_factor > 1, np.minimum(c.reuse_factor, waits), single)
    return np.where(k.constant, constant, np.where(k.memory, c.reuse_factor, 1.0))


def _cycles(c: Columns, f: Facts, k: Kinds) -> tuple[F, F]:
    """Latency and interval of each layer."""
    ii = _interval(c, f, k)
    immediate = ((c.reuse_factor == 2 * c.n_in) & ~f.hls_dsp) | (c.reuse_factor == c.n_in)
    memory = c.reuse_factor + np.where(immediate & (c.vivado == 1), 0.0, 1.0)
    constant = np.where(c.reuse_factor > 1, np.maximum(ii - 1, _depth(c, f)), _depth(c, f))
    kernel = np.where(k.constant, constant, memory)
    positions = _positions(c)
    per_pixel = np.where(k.constant, ii + 2.0 * (c.vivado == 0), c.reuse_factor + 5)
    many = positions > 1
    streamed = np.where(k.multiplies, positions * per_pixel + 1, positions + 2)
    parallel = positions * np.where(k.constant, ii, c.reuse_factor) + 2
    layer = np.where(many & (c.stream == 1), streamed, np.where(many, parallel, kernel))
    steps = np.where(k.recurrent, c.n_sequence * (np.maximum(c.reuse_factor, f.depth) + 9), 0.0)
    bound = c.binding > 0
    softmax = np.where(bound, _SOFTMAX["bound_latency"], _SOFTMAX["latency"])
    activation = np.where(k.relu & bound, 2.0, 0.0)
    glue = np.where(k.softmax, softmax, np.where(many & (c.stream == 1), streamed, activation))
    latency = np.where(k.recurrent, steps, np.where(k.multiplies, layer, glue))
    interval = np.where(many & k.multiplies & ~k.recurrent, layer, ii)
    return latency, np.where(
        k.recurrent, steps, np.where(many, np.maximum(interval, glue), interval)
    )


def _bounds(c: Columns, f: Facts, k: Kinds, costs: LayerCosts) -> dict[str, tuple[F, F]]:
    """Bounds of what unknown weights leave open: from no weight left to every weight distinct."""
    most = np.where(c.reuse_factor > 1, np.ceil(f.weights / c.reuse_factor), f.weights)
    dsp = most * np.where(c.data_bits > 26, 2.0, 1.0) * c.parallelization
    wide = c.accum_bits + c.data_bits * np.where(f.dsp_share > 0, 1.0, c.weight_bits)
    open_ = costs.bounded
    return {
        "dsp": (np.where(open_, 0.0, costs.hls_dsp), np.where(open_, dsp, costs.hls_dsp)),
        "lut": (
            np.where(open_, 0.0, costs.hls_lut),
            np.where(open_, 1.5 * f.weights * wide * c.parallelization, costs.hls_lut),
        ),
        "ff": (
            np.where(open_, 0.0, costs.hls_ff),
            np.where(open_, 3.0 * f.weights * c.accum_bits * c.parallelization, costs.hls_ff),
        ),
        "ii_cycles": (np.where(open_, 1.0, costs.ii), np.where(open_, c.reuse_factor, costs.ii)),
    }


def layer_costs(c: Columns) -> LayerCosts:
    """Return the cost of every layer."""
    f, k = facts(c), kinds(c)
    glue = around(c, f, k)
    dsp, bram = _dsp(c, f, k), _bram(c, f, k)
    lut, ff = _lut(c, f, k, glue), _ff(c, f, k, glue)
    latency, ii = _cycles(c, f, k)
    costs = LayerCosts(
        hls_dsp=dsp[0] + glue.dsp,
        hls_bram18=bram[0] + glue.hls_bram18,
        hls_lut=lut[0],
        hls_ff=ff[0],
        synthesis_dsp=dsp[1] + glue.dsp,
        synthesis_bram18=bram[1] + glue.synthesis_bram18,
        synthesis_lut=lut[1],
        synthesis_ff=ff[1],
        latency=latency,
        ii=ii,
        multiplies=k.multiplies,
        bounded=k.constant & ~f.known,
    )
    costs.bounds = _bounds(c, f, k, costs)
    return costs


def network_cycles(c: Columns, costs: LayerCosts) -> tuple[F, F]:
    """Return latency and interval of each network, (n_designs,).

    Layers follow each other with one register between two of those that multiply (71 networks of
    two layers: ``sum RF + 2 L - 1``); image layers on a stream overlap, so the slowest one decides.
    """
    pixels = (c.stream == 1) & (_positions(c) > 1)
    chained = costs.latency + costs.multiplies
    starts = c.starts
    in_line = np.add.reduceat(np.where(pixels, 0.0, chained), starts) - 1
    overlapped = np.maximum.reduceat(np.where(pixels, costs.latency, 0.0), starts)
    ii = np.maximum.reduceat(costs.ii, starts)
    return np.maximum(in_line + overlapped, 0.0), ii
