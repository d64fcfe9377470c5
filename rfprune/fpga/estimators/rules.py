"""What each layer costs, and how layers add up to a network.

One vectorised rule per quantity. Rules without fitted constants: DSP, block RAM, cycles, interval.
Rules with (look-up tables, flip-flops): sums of terms, see `rfprune.fpga.estimators.terms`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.fpga.estimators.glue import FF_RATIO, LUT_RATIO, Around, around
from rfprune.fpga.estimators.layer_columns import TABLES, Columns, Kinds, kinds
from rfprune.fpga.estimators.terms import Facts, facts, rule
from rfprune.hardware.memory import ROM_MIN_BITS, bram18_blocks
from rfprune.hardware.operators import add_lut, saturated_sum_lut
from rfprune.hardware.timing import COMPARE_NS, ROUND_NS, SERIES7

__all__ = ["LayerCosts", "layer_costs", "network_cycles"]

F = NDArray[np.float64]
B = NDArray[np.bool_]


@dataclass
class LayerCosts:
    """Costs per layer, arrays (n_layers,); NaN where not known.

    Attributes:
        hls_dsp, hls_bram18, hls_lut, hls_ff: as the C-synthesis report.
        synthesis_dsp, synthesis_bram18, synthesis_lut, synthesis_ff: after logic synthesis.
        latency, ii: cycles.
        multiplies: the layer has weights that are multiplied.
        staged: a register stands behind the layer, since its kernel fills half a period or more.
        period: ns of the longest path that HLS cannot cut, 0 where it can cut all.
        delay: ns of a layer without stages, which HLS chains with the next.
        bounded: some quantities of the layer are only bounded, since its weights are unknown.
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
    staged: B
    period: F
    delay: F
    bounded: B


#: Deepest memory of weights that Vivado keeps in look-up tables.
_LUT_RAM_DEPTH = 16


def _bram(c: Columns, f: Facts, k: Kinds) -> tuple[F, F]:
    """Block RAMs of weights and index tables in both kinds of report.

    Vitis HLS ignores the ROM directive of hls4ml's Resource kernels: in 49 of 71 synthesised
    networks exactly the index tables were left as block RAMs and the weights went into look-up
    tables.
    """
    # An entry of the index table says which output comes next; there is none where RF <= n_in.
    index = np.ceil(np.log2(np.maximum(c.reuse_factor / c.n_in, 1)))
    # What is filled in a loop is as wide as C's ``int``.
    index = np.where(f.looped, 32.0, index)
    weights = bram18_blocks(f.all_multipliers * c.weight_bits, c.reuse_factor)
    table = (c.reuse_factor * index >= ROM_MIN_BITS).astype(np.float64)
    # Freed columns are seen after logic synthesis only; the C-synthesis report keeps them.
    live = bram18_blocks(f.multipliers * c.weight_bits, c.reuse_factor)
    vitis_rom = (c.vivado == 0) & ~k.unrolled
    # Vivado makes look-up tables of what is at most 16 words deep: 36 and 33 blocks are left of 589
    # and 177, those of the FIFOs.
    shallow = (c.reuse_factor <= _LUT_RAM_DEPTH) & ~k.unrolled
    after = np.where(vitis_rom | shallow, 0.0, live) + table * bram18_blocks(index, c.reuse_factor)
    return np.where(k.memory, weights + table, 0.0), np.where(k.memory, after, 0.0)


#: Widest datum whose product with a constant takes one DSP block.
_ONE_BLOCK_BITS = 26


def _dsp(c: Columns, f: Facts, k: Kinds) -> tuple[F, F]:
    """DSP blocks of multipliers in both kinds of report."""
    wanted = f.uniq3 * f.dsp_share
    # With a reuse factor the multipliers take turns: hls4ml sets a limit on how many there are.
    used = np.where(c.reuse_factor > 1, np.minimum(wanted, f.limit), wanted)
    constants = used * np.where(c.data_bits > _ONE_BLOCK_BITS, 2.0, 1.0) * c.parallelization
    products = f.multipliers * f.tiles * k.memory
    constants = np.where(k.constant, constants, 0.0)
    # Vivado builds constants that take two blocks from look-up tables: 24 of 2742 are left.
    kept = np.where(c.data_bits > _ONE_BLOCK_BITS, 0.0, constants)
    return constants + products * f.hls_dsp, kept + products * f.synthesis_dsp


#: Copies of the window in front of a Latency kernel on a stream.
_WINDOWS = 3.0


def _held_bits(c: Columns) -> F:
    """Registers around a kernel: a stream's window or packed vector, an image and its result."""
    positions = c.out_height * c.out_width
    image = (
        c.in_height * c.in_width * c.channels_in * c.data_bits + positions * c.n_out * c.accum_bits
    )
    parallel = np.where(positions > 1, image, c.n_in * c.data_bits * (1 - c.first))
    # The window, its copy in the kernel and the one that is written to: six designs on a stream.
    window = np.where(c.is_strategy("latency"), _WINDOWS, 1.0)
    return np.where(c.stream == 1, window * c.n_in * c.data_bits, parallel)


#: LUTs per bit of a saturating sum that logic synthesis leaves (three designs of one project).
_SATURATION_LUT = 1.3
#: Digits of a constant with at least three of them, on average.
_DIGITS = 3.4


def _lut(c: Columns, f: Facts, k: Kinds, glue: Around) -> tuple[F, F]:
    # One partition after the other reads its window out of an image held in registers.
    positions = c.out_height * c.out_width
    partitions = np.where(c.stream == 1, 1.0, np.ceil(positions / c.parallelization))
    image = c.parallelization * c.n_in * c.data_bits * (partitions - 1) / 3
    sums = np.where(k.constant, f.nnz, np.where(k.memory, f.multipliers, 0.0)) * c.saturates
    saturated = saturated_sum_lut(c.accum_bits, c.year)
    # The rule of Latency kernels counts one of its additions.
    saturated = sums * (saturated - np.where(k.constant, add_lut(c.accum_bits, c.year), 0.0))
    constant = rule("latency_lut", c, f, k.constant) + np.where(k.constant, image, 0.0)
    memory = rule("resource_lut", c, f, k.memory)
    after = rule("resource_lut_synthesis", c, f, k.memory)
    # Constants that lose their DSP blocks become adders, one per digit but the first.
    lost = k.constant & (c.data_bits > _ONE_BLOCK_BITS)
    after = after + np.where(lost, f.uniq3 * f.dsp_share * (_DIGITS - 1) * (c.data_bits + 12), 0.0)
    after = after + constant / LUT_RATIO + _SATURATION_LUT * sums * c.accum_bits
    hls = glue.hls_lut + constant + memory + saturated
    return hls, glue.synthesis_lut + after


#: Flip-flops per bit of a multiplier's sum and further stage of a Resource kernel.
_STAGE_FF = 0.6


def _ff(c: Columns, f: Facts, k: Kinds, glue: Around) -> tuple[F, F]:
    # The ports of a kernel without stages are registered; one with stages holds no less.
    ports = c.n_in * c.data_bits * (c.first == 1)
    held = np.where(k.multiplies & ~k.recurrent, _held_bits(c), 0.0)
    kernel = np.maximum(rule("latency_ff", c, f, k.constant), ports)
    constant = np.where(k.constant, kernel + held, 0.0)
    deeper = np.maximum(memory_stages(c) - 6, 0)
    stages = np.where(k.memory, _STAGE_FF * f.multipliers * c.accum_bits * deeper, 0.0)
    memory = rule("resource_ff", c, f, k.memory) + np.where(k.memory, held + stages, 0.0)
    after = rule("resource_ff_synthesis", c, f, k.memory)
    return glue.hls_ff + constant + memory, glue.synthesis_ff + constant / FF_RATIO + after


def _positions(c: Columns) -> F:
    """How often a kernel runs for one inference: pixels on a stream, else partitions."""
    streamed = c.in_height * c.in_width
    return np.where(
        c.stream == 1, streamed, np.ceil(c.out_height * c.out_width / c.parallelization)
    )


def _interval(c: Columns, f: Facts, k: Kinds, latency: F) -> F:
    """Cycles between two runs of a layer's kernel.

    A Latency kernel is started again at its reuse factor, or once it is through if that is sooner:
    all 30 layers with RF > 2. A Resource kernel with RF 1 is no pipeline: the next run waits for
    the end of the last (28 layers); one with a loop of its own for the table of outputs goes
    through both.
    """
    vector = c.out_height * c.out_width == 1
    single = np.where(c.is_strategy("resource") & vector, f.stages + 1, 1.0)
    constant = np.where(c.reuse_factor > 1, np.minimum(c.reuse_factor, latency + 1), single)
    return np.where(k.constant, constant, np.where(k.memory, c.reuse_factor * (1 + f.looped), 1.0))


#: Cycles from the last product of multipliers that take turns to the sum: per level of the tree of
#: adders, and those in which earlier products are added. Least squares over 11 shapes.
_TAIL_PER_LEVEL, _TAIL_BEFORE = 0.55, 1.2


def _constant_latency(c: Columns, f: Facts) -> F:
    """Cycles of a Latency kernel: its stages, or those in which its multipliers take turns.

    A multiplier is used ``uniq3 / multipliers`` times, less than the reuse factor asks for when
    constants repeat or vanish; one more cycle fills it (55 layers). Where a directive binds it, the
    sum takes its last product in within cycles that grow with the levels of the tree (22 layers of
    four networks, one left out at a time: 10 of 11 shapes exact). A DSP that is slower than the
    period takes two more; one that takes all products in turn is built with five stages, so four
    more, whatever the clock (two layers, whose reports list ``mul_8s_9s_16_5_1``).
    """
    turns = np.ceil(f.uniq3 / np.maximum(f.shared, 1))
    only = (c.binding == 1) & (f.shared == 1) & (turns > 1)
    slow = (c.binding == 1) & (c.product_ns > c.period_ns)
    deep = np.where(only, 4.0, 2.0 * slow)
    levels = np.log2(np.maximum(c.n_in, 1))
    tail = np.maximum(np.rint(_TAIL_PER_LEVEL * levels - _TAIL_BEFORE), 0.0)
    filling = np.where(c.binding > 0, tail + deep, 1.0)
    stock = f.stages + ((f.stages > 0) & (c.binding == 0))
    shared = np.maximum(np.where(turns > 1, turns + filling, 0.0), stock)
    return np.where(c.reuse_factor > 1, shared, f.stages)


def memory_stages(c: Columns) -> F:
    """Cycles of a Resource kernel on a stream beside its reuse factor.

    Vivado HLS says 6 at 5 ns, 4 at 10 ns and 9 at 3.33 ns (three projects): the path takes about 25
    ns. A saturating accumulator costs five more, and cannot be cut at a slower clock (one project).
    """
    faster = np.ceil(5.0 * (5.0 / c.clock_ns - 1))
    return 6.0 + np.where(c.saturates == 1, np.maximum(faster, 0.0) + 5, np.maximum(faster, -2.0))


def _per_pixel(c: Columns, f: Facts, k: Kinds, ii: F) -> F:
    """Cycles for each pixel of a stream.

    Vitis HLS does not overlap two runs of a convolution's kernel, but those of a depthwise one. A
    saturating accumulator takes two cycles. Pooling takes two where it changes the type.
    """
    overlaps = (c.vivado == 1) | c.is_type("depthwise_conv2d") | (f.nnz == 0)
    constant = np.where(overlaps, np.maximum(ii, 1 + c.saturates), ii + 2)
    glue = np.where(k.pool & (c.data_bits != c.output_bits) & (c.out_height > 1), 2.0, 1.0)
    memory = c.reuse_factor + memory_stages(c)
    return np.where(k.constant, constant, np.where(k.memory, memory, glue))


def _glue_latency(c: Columns, k: Kinds, chain_stages: F) -> F:
    """Cycles of a layer without weights that handles all elements side by side.

    Look-ups take a cycle each to address and to read, tables of inverses and exponentials follow
    each other. A product in a DSP that is slower than the period takes three cycles.
    """
    piped = np.where(c.product_ns > c.period_ns, 3.0, 1.0)
    lookup = np.where(c.product_ns > c.period_ns, 2.0, 1.0)
    trees = np.ceil(np.log2(np.maximum(c.n_out, 2))) * (COMPARE_NS + c.add_ns) / c.period_ns
    bound = np.where(c.binding > 0, 8.0, 0.0)
    softmax = np.floor(2 * lookup + trees + piped) + bound
    table = np.where(c.vivado == 1, 2.0, 3.0)
    relu = np.where(c.rounds == 1, np.floor(ROUND_NS / c.period_ns), 0.0)
    latency = np.where(k.softmax, softmax, np.where(k.relu, relu, chain_stages))
    # Of two tensors: a product, a tree of sums, and the turns that multipliers take.
    sums = np.ceil(np.log2(np.maximum(c.n_in, 1))) * c.add_ns / c.period_ns
    product = np.floor(piped + sums) + c.reuse_factor - 1
    latency = np.where(c.is_type("product"), product, latency)
    return np.where(c.is_type(*TABLES), table, latency)


def _cycles(c: Columns, f: Facts, k: Kinds, chain_stages: F) -> tuple[F, F]:
    """Latency and interval of each layer."""
    constant = _constant_latency(c, f)
    ii = _interval(c, f, k, constant)
    immediate = ((c.reuse_factor == 2 * c.n_in) & ~f.hls_dsp) | (c.reuse_factor == c.n_in)
    memory = c.reuse_factor + np.where(immediate & (c.vivado == 1), 0.0, 1.0)
    memory = memory + np.maximum(memory_stages(c) - 6, 0) + c.reuse_factor * f.looped
    kernel = np.where(k.constant, constant, memory)
    positions = _positions(c)
    many, stream = positions > 1, c.stream == 1
    streamed = positions * _per_pixel(c, f, k, ii) + 1 + ~k.multiplies
    # Vitis HLS waits for the last position before the first of the next image.
    parallel = positions * np.where(k.constant, ii, c.reuse_factor) + 2 + f.stages
    layer = np.where(many & stream, streamed, np.where(many, parallel, kernel))
    steps = np.where(k.recurrent, c.n_sequence * (np.maximum(c.reuse_factor, f.depth) + 9), 0.0)
    glue = np.where(many & stream, streamed, _glue_latency(c, k, chain_stages))
    latency = np.where(k.recurrent, steps, np.where(k.multiplies, layer, glue))
    overlapped = np.where(many & ~stream & (c.vivado == 1), layer - 2 - f.stages, layer)
    interval = np.where(many & k.multiplies & ~k.recurrent, overlapped, ii)
    interval = np.where(c.is_type("product"), c.reuse_factor, interval)
    interval = np.where(many & stream & ~k.multiplies, np.maximum(interval, glue), interval)
    # Vitis HLS starts a process of a stream again when it has read, worked and written.
    alone = stream & ~many & (c.vivado == 0) & ~c.is_type("reshape", "concatenate")
    interval = np.where(alone, np.maximum(interval, np.maximum(latency + 1, 2)), interval)
    return latency, np.where(k.recurrent, steps, interval)


def layer_costs(c: Columns) -> LayerCosts:
    """Return the cost of every layer."""
    f, k = facts(c), kinds(c)
    glue = around(c, f, k)
    dsp, bram = _dsp(c, f, k), _bram(c, f, k)
    lut, ff = _lut(c, f, k, glue), _ff(c, f, k, glue)
    latency, ii = _cycles(c, f, k, glue.chain_stages)
    return LayerCosts(
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
        staged=k.constant & (f.delay > c.period_ns / 2),
        period=_longest_path(c, f, k),
        delay=_chained_delay(c, f, k),
        bounded=k.constant & ~f.known,
    )


#: ns that HLS states for each of the saturating sums in a row that it cannot cut: one design of
#: Kintex UltraScale+ states 58.5 ns for 32 of them.
_SATURATED_PATH_NS = 1.83
#: On 7 series: a product in a DSP (3.64 ns, three designs), in look-up tables where a directive
#: binds it (5.28 ns, 37 layers), and of the 18-bit tables of a softmax (7.95 ns, 12 layers).
_SERIES7_NS = {"dsp": 3.64, "fabric": 5.28, "softmax": 7.95}


def _longest_path(c: Columns, f: Facts, k: Kinds) -> F:
    """Longest path of each layer that HLS cannot cut, in ns; 0 where it meets every clock."""
    series7 = c.dsp_type == 0
    sums = f.multipliers / np.maximum(f.fan_out, 1) * c.saturates
    chain = sums * _SATURATED_PATH_NS * np.where(series7, SERIES7, 1.0)
    product = np.where(c.binding == 2, _SERIES7_NS["fabric"], _SERIES7_NS["dsp"])
    used = (k.memory & f.hls_dsp) | (k.constant & (c.binding > 0))
    path = np.where(series7 & used, product, 0.0)
    path = np.where(series7 & k.softmax & (c.binding == 2), _SERIES7_NS["softmax"], path)
    return np.maximum(np.where(k.memory, chain, 0.0), path)


def _chained_delay(c: Columns, f: Facts, k: Kinds) -> F:
    """Delay in ns of the layers that take no cycle of their own."""
    addends = f.nnz / np.maximum(c.n_out, 1)
    tree = np.ceil(np.log2(addends + 1)) * c.add_ns
    combined = k.constant & (f.delay <= c.period_ns / 2)
    relu = np.where(c.rounds == 1, ROUND_NS, COMPARE_NS) * k.relu
    return np.where(combined, tree, np.where(relu < c.period_ns, relu, 0.0))


def network_cycles(c: Columns, costs: LayerCosts) -> tuple[F, F]:
    """Return latency and interval of each network, (n_designs,).

    Layers follow each other with one register between two of those that multiply (71 networks of
    two layers: ``sum RF + 2 L - 1``); layers that take no cycle are chained while their delays fit
    into the period. Image layers on a stream overlap, so the slowest one decides.
    """
    pixels = (c.stream == 1) & (_positions(c) > 1)
    reused = costs.multiplies & (costs.staged | (c.reuse_factor > 1) | c.is_strategy("resource"))
    relu = c.is_type("relu") & (costs.latency > 0)
    chained = costs.latency + (reused | relu)
    starts = c.starts
    in_line = np.add.reduceat(np.where(pixels, 0.0, chained), starts) - 1
    # Layers that take no cycle of their own still add up to whole ones.
    rest = np.add.reduceat(np.where(pixels, 0.0, costs.delay), starts)
    in_line = np.maximum(in_line, 0.0) + np.floor(rest / c.period_ns[starts])
    # The first element is read from a stream before anything else.
    in_line = in_line + c.stream[starts]
    # On a stream the layers work side by side: the slowest decides.
    overlapped = np.maximum.reduceat(np.where(pixels, costs.latency, 0.0), starts)
    ii = np.maximum.reduceat(costs.ii, starts)
    return np.maximum(in_line + overlapped, 0.0), ii
