"""The terms whose sums are LUTs and flip-flops: one function per rule.

Each function maps layers to ``{term: (n_layers,)}``; a rule's cost is the sum of constant times
term. The terms say where the logic is: adders, multiplexers, registers, products in look-up tables.
They were read off the kernels of hls4ml (`nnet_dense_resource.h`, `nnet_dense_latency.h`) and off
how HLS reports what it builds, so they hold for any size; only their constants are fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.fpga.estimators.chains import LARGEST
from rfprune.fpga.estimators.constants import rule_constants
from rfprune.fpga.estimators.fifo import next_power
from rfprune.fpga.estimators.layer_columns import Columns
from rfprune.fpga.estimators.weights import MEAN_WIDE_DIGITS, NARROW_BITS, NARROW_CODES, WIDE_CODE
from rfprune.hardware.multiplier import (
    DSP_PORTS,
    DSP_SHIFT,
    HLS_WIDE_BITS,
    MIN_BITS,
    SYNTHESIS_MIN_SUM,
)
from rfprune.hardware.operators import add_lut, compare_lut
from rfprune.hardware.timing import SATURATED_NS, SERIES7

__all__ = [
    "OLD_VIVADO_HLS",
    "RULES",
    "Facts",
    "dsp_tiles",
    "facts",
    "parallel_elements",
    "relu_lut",
    "rule",
    "softmax_elements",
]

F = NDArray[np.float64]
B = NDArray[np.bool_]
Terms = dict[str, F]

#: Most weights whose sum hls4ml lets HLS unroll and balance (`nnet_common.h`, 4096).
UNROLL_LIMIT = 4096

#: Longest table of outputs that HLS fills while it compiles: one layer with RF 20,480 has a loop of
#: so many cycles for it, those with up to 9,216 have none.
_MOST_TABULATED = 16384

#: Most inputs of a Resource layer of which each multiplier selects by itself.
OWN_SELECTOR_INPUTS = 256

#: Up to this version (2019.1) Vivado HLS keeps the lines of a stream in look-up tables, not RAM.
OLD_VIVADO_HLS = 2019.15

#: LUTs of the flags of one cast that rounds and saturates: two selections of a bit, *and*, *or*.
_FLAGS = 8.0

#: Wide port, narrow port and shift of each DSP type, (n_types, 3).
_PORTS = np.array([(*DSP_PORTS[name], DSP_SHIFT[name]) for name in DSP_PORTS], dtype=np.float64)


@dataclass(frozen=True)
class Facts:
    """What several rules need, one array (n_layers,) each.

    Attributes:
        multipliers: multipliers that hls4ml builds, live ones only in ResourceUnrolled.
        all_multipliers: the same without pruning.
        weights: weights of the layer.
        fan_in, fan_out, depth: inputs, outputs and reuse factor; of the larger matrix if recurrent.
        gates: matrices side by side in a recurrent layer, 0 in any other.
        nnz, uniq2, uniq3: counts over constants; without weights, those of a dense random layer.
        known: the weights are known.
        tiles: DSP blocks per product.
        hls_dsp: C synthesis gives products of memory and data a DSP.
        synthesis_dsp: logic synthesis does.
        narrow: constants of `NARROW_CODES` that are sums of shifts, not counted in `uniq3`.
        dsp_share: share of the products of constants and data that get a DSP.
        shared: multipliers of constants that are left when one is used `reuse_factor` times.
        stages: pipeline stages of the kernel of a Latency layer at its clock, see `_stages`.
        delay: ns through that kernel.
        constant_data: the data are constants, since a Latency layer before has no weight but 0.
        looped: a Resource kernel fills its table of outputs in a loop before it starts.
        limit: multipliers that hls4ml allows a Latency layer, ceil(T / RF) - floor(zeros / RF).
    """

    multipliers: F
    all_multipliers: F
    weights: F
    fan_in: F
    fan_out: F
    depth: F
    gates: F
    nnz: F
    uniq2: F
    uniq3: F
    known: B
    tiles: F
    hls_dsp: B
    synthesis_dsp: B
    narrow: F
    dsp_share: F
    shared: F
    limit: F
    stages: F
    delay: F
    constant_data: B
    looped: B


def _tiles(a: F, b: F, ports: F) -> F:
    across: F = np.maximum(1, 1 + np.ceil((a - ports[:, 0]) / ports[:, 2]))
    down: F = np.maximum(1, 1 + np.ceil((b - ports[:, 1]) / ports[:, 2]))
    return across * down


def dsp_tiles(c: Columns, a: F, b: F) -> F:
    """Return (n_layers,) DSP blocks of a product of `a` and `b` bits."""
    ports = _PORTS[c.dsp_type.astype(np.intp)]
    # Either operand may take the wide port.
    return np.minimum(_tiles(a, b, ports), _tiles(b, a, ports))


def _multipliers(c: Columns, gates: F) -> tuple[F, F]:
    """Multipliers before and after pruning, all copies; both matrices of a recurrent layer."""
    recurrent = np.where(c.recurrent_rf > 0, gates * c.n_out**2, 0.0)
    per_copy = np.ceil(gates * c.n_in * c.n_out / c.reuse_factor)
    per_copy = per_copy + np.ceil(recurrent / np.maximum(c.recurrent_rf, 1))
    live = np.where(np.isnan(c.live_groups), per_copy, np.minimum(c.live_groups, per_copy))
    # Only unrolled code names its multipliers one by one, so that dead ones are left out.
    unrolled = c.is_strategy("resource_unrolled") & (c.reuse_factor > 1)
    return per_copy * c.parallelization, np.where(unrolled, live, per_copy) * c.parallelization


def _digit_counts(c: Columns, weights: F) -> tuple[F, F, F]:
    """Non-zero weights, and distinct constants per input with exactly two and with three digits.

    Where only the digits in all are known, the weights with three or more have as many on average
    as all constants with one bit less than the largest; where nothing is known, a dense layer whose
    weights fill a quarter of their type's range.
    """
    # Without counts no weight is taken to be zero.
    nnz = np.where(np.isnan(c.nnz), weights, c.nnz)
    rest = nnz - np.where(np.isnan(c.pow2), 0.0, c.pow2)
    digits = np.where(np.isnan(c.naf_digits), np.nan, c.naf_digits - c.pow2)
    span = 2.0 ** np.clip(c.weight_bits - 2, 1, 20)
    typical = np.where(c.weight_bits >= 5, 1 - 2.0 ** (4 - c.weight_bits), 0.0)
    excess = MEAN_WIDE_DIGITS[np.maximum(_code_bits(c) - 1, 0).astype(np.intp)] - 2
    counted = np.clip((digits - 2 * rest) / excess, 0, rest)
    three = np.where(np.isnan(digits), typical * nnz, counted)
    per_input = three / np.maximum(c.n_in, 1)
    distinct = c.n_in * span * (1 - np.exp(-per_input / span))
    uniq3 = np.where(np.isnan(c.uniq3), np.minimum(distinct, three), c.uniq3)
    two = np.where(np.isnan(digits), (1 - typical) * nnz / 2, rest - three)
    return nnz, np.where(np.isnan(c.uniq2), two, c.uniq2), uniq3


def _code_bits(c: Columns) -> F:
    """Significant bits of the largest weight, without weights those of the typical one."""
    return np.where(np.isnan(c.max_bits), np.maximum(c.weight_bits - 3, 0), c.max_bits)


def _narrow(c: Columns, uniq3: F) -> F:
    """Narrow constants that take no multiplier, or where they are not counted the likeliest number.

    A shared multiplier takes them too: 18 layers with RF > 1 have the interval that this says.
    A code near 0 is as frequent as an average power of two. Where it is not, and zeros are more
    than twice as many, small weights were pruned away and narrow constants with them.
    """
    each = c.pow2 / np.maximum(2 * c.max_bits, 1)
    inputs = len(NARROW_CODES) * c.n_in
    likeliest = np.floor(inputs * (1 - np.exp(-each / np.maximum(c.n_in, 1))))
    spread = c.count - c.nnz <= 2 * (each + 1)
    guess = np.where(spread, np.minimum(likeliest, uniq3), 0.0)
    counted = np.where(np.isnan(c.narrow3), guess, c.narrow3)
    alone = (c.binding == 0) & (c.reuse_factor == 1) & (c.data_bits >= HLS_WIDE_BITS)
    return np.where(alone, counted, 0.0)


def _dsp_share(c: Columns, uniq3: F) -> F:
    """Share of the multipliers of constants that are DSPs where no directive binds them.

    Wide data: all. Narrow data: those of wide constants; where these are not counted, as many as if
    the sizes were spread evenly up to one and a half times the largest power of two.
    """
    some = np.maximum(uniq3, 1)
    spread = np.clip(1 - WIDE_CODE / (0.75 * 2.0 ** _code_bits(c)), 0, 1)
    wide = np.where(np.isnan(c.wide3), spread, c.wide3 / some)
    return np.where(c.data_bits >= HLS_WIDE_BITS, 1.0, wide * (c.data_bits >= MIN_BITS))


def _stages(c: Columns, nnz: F, products: F, dsp: F) -> tuple[F, F]:
    """Pipeline stages and ns of a Latency kernel: delays over the period that HLS schedules for.

    A product, then a tree of adders over the mean number of addends. A DSP block that
    takes longer than the period gets two more registers. Sums that saturate cannot be regrouped, so
    they follow each other. Where a directive binds the multipliers, every level of the tree is
    registered, one more stage on each side below 4 ns (74 layers), but not of products in look-up
    tables that take turns, which reports list without stages. Above 4096 weights, hls4ml's limit
    for unrolling, its adders are a chain of three inputs each instead.
    """
    addends = nnz / np.maximum(c.n_out, 1)
    levels = np.ceil(np.log2(np.maximum(addends, 1)))
    in_dsp, in_fabric = dsp > 0, (products > 0) & (dsp == 0)
    piped = in_dsp & (c.product_ns > c.period_ns)
    add_ns = c.add_ns * np.where(c.dsp_type == 0, SERIES7, 1.0)
    # Products in look-up tables add the shifted data of each digit: three digits, two levels.
    product = np.where(in_dsp & ~piped, c.product_ns, np.where(in_fabric, 2 * add_ns, 0.0))
    sums = np.where(c.saturates == 1, addends * SATURATED_NS, levels * add_ns)
    delay = np.where(nnz > 0, product + sums + np.where(piped, c.product_ns, 0.0), 0.0)
    stock = np.floor((product + sums) / c.period_ns) + np.where(piped, 3.0, 0.0)
    turned = (c.binding == 2) & (c.reuse_factor > 1)
    around = np.where((c.clock_ns < 4) & ~turned, 2, 0)
    bound = np.floor(np.log2(np.maximum(c.n_in, 2))) + around
    chain = np.maximum(np.floor(addends / 2), bound)
    bound = np.where(c.n_in * c.n_out > UNROLL_LIMIT, chain, bound)
    return np.where(nnz > 0, np.where(c.binding > 0, bound, stock), 0.0), delay


def _constant_data(c: Columns, nnz: F) -> B:
    """Which layers read constants: those behind a Latency layer whose weights are all 0."""
    silent = c.is_strategy("latency") & (c.count > 0) & (nnz == 0)
    # Counted over all designs: more than at the start of its own means one before this layer.
    before = np.cumsum(silent) - silent
    found: B = before > before[c.starts][c.design]
    return found


def facts(c: Columns) -> Facts:
    """Return the facts of every layer."""
    gates = np.where(c.is_type("gru"), 3.0, np.where(c.is_type("lstm"), 4.0, 1.0))
    recurrent = gates > 1
    weights = gates * c.n_out * (c.n_in + np.where(recurrent, c.n_out, 0.0))
    built, live = _multipliers(c, gates)
    nnz, uniq2, uniq3 = _digit_counts(c, weights)
    narrow = _narrow(c, uniq3)
    uniq3 = uniq3 - narrow
    tiles = dsp_tiles(c, c.weight_bits, c.data_bits)
    narrower = np.minimum(c.weight_bits, c.data_bits)
    wider = np.maximum(c.weight_bits, c.data_bits)
    both = c.weight_bits + c.data_bits
    # hls4ml sets its limit by the whole matrix, of which HLS may see a part.
    whole = np.where(np.isnan(c.count), weights, np.maximum(c.count, weights))
    zeros = np.maximum(whole - nnz, 0.0)
    limit = np.ceil(whole / c.reuse_factor) - np.floor(zeros / c.reuse_factor)
    dsp_share = np.where(c.binding == 0, _dsp_share(c, uniq3), c.binding == 1)
    stages, delay = _stages(c, nnz, uniq3, uniq3 * dsp_share)
    return Facts(
        multipliers=live,
        all_multipliers=built,
        weights=weights,
        fan_in=np.where(recurrent, c.n_out, c.n_in),
        fan_out=gates * c.n_out,
        depth=np.where(recurrent, c.recurrent_rf, c.reuse_factor),
        gates=np.where(gates > 1, gates, 0.0),
        nnz=nnz,
        uniq2=uniq2,
        uniq3=uniq3,
        known=~np.isnan(c.uniq3) | ~np.isnan(c.naf_digits),
        tiles=tiles,
        hls_dsp=(narrower >= MIN_BITS) & (wider >= HLS_WIDE_BITS),
        synthesis_dsp=(narrower >= MIN_BITS) & (both >= SYNTHESIS_MIN_SUM),
        narrow=narrow,
        dsp_share=dsp_share,
        shared=np.where(c.reuse_factor > 1, np.minimum(uniq3, limit), uniq3),
        limit=limit,
        stages=stages,
        delay=delay,
        constant_data=_constant_data(c, nnz),
        looped=(c.reuse_factor > np.maximum(_MOST_TABULATED, c.n_in)) & ~recurrent,
    )


def resource_lut(c: Columns, f: Facts) -> Terms:
    """C-synthesis LUTs of Resource layers.

    Choices of old and new data per input (`input`) and of sums per output (`output`), each of which
    HLS charges by how many there are to choose from, not by bits. Vivado HLS since 2019.2 builds a
    kernel of a convolution on a stream into its loop, where data need none (three projects), nor do
    they in a kernel of two loops. A selector of the accumulator per multiplier when RF > 2 n_in
    (`select`) or of one datum in RF when RF < n_in (`pick`), an adder each; a sum that saturates
    has a rule of its own. Multipliers that select the same datum have a selector of their own up to
    256 inputs (54, 80, 128 and 256), and share one above (288 and 3200; two projects each).
    """
    turns = f.depth / f.fan_in
    own = (turns < 1) & (f.fan_in <= OWN_SELECTOR_INPUTS)
    select = np.where(turns > 2, next_power(f.fan_out) - 1, 0.0)
    return {
        "input": f.fan_in * ~(_built_in(c) | f.looped),
        "output": f.fan_out,
        "select": f.multipliers * c.accum_bits * select,
        "pick": f.multipliers * c.data_bits * next_power(f.depth) * own,
        "adder": f.multipliers * c.accum_bits * (turns <= 2) * (1 - c.saturates),
        "product": f.multipliers * c.weight_bits * c.data_bits * ~f.hls_dsp,
        "index": ((turns > 1) & (c.vivado == 1) & ~f.looped).astype(np.float64) * c.first,
    }


def _built_in(c: Columns) -> B:
    positions = c.in_height * c.in_width
    found: B = (c.stream == 1) & (positions > 1) & (c.vivado == 1) & (c.year > OLD_VIVADO_HLS)
    return found


def resource_ff(c: Columns, f: Facts) -> Terms:
    """C-synthesis flip-flops of Resource layers.

    Accumulators, weight words, one more stage when RF > 2 n_in, held inputs when RF <= n_in.
    """
    turns = f.depth / f.fan_in
    return {
        "one": np.ones_like(turns),
        "output": f.fan_out * c.accum_bits,
        "word": f.multipliers * c.weight_bits,
        "stage": f.multipliers * c.weight_bits * (turns > 2),
        "held_input": f.fan_in * c.data_bits * (turns <= 1),
    }


def resource_lut_synthesis(c: Columns, f: Facts) -> Terms:
    """LUTs of Resource layers after logic synthesis; Vitis keeps most weights in LUTs.

    RF > n_in: outputs take turns at the multipliers (`output`, `adder`). RF <= n_in: each
    multiplier has its own, and only sums are left, since those that select the same datum share the
    selector (`sum`). Products too small for a DSP are logic.
    """
    live = f.multipliers / np.maximum(f.all_multipliers, 1)
    several = (f.depth > f.fan_in).astype(np.float64)
    return {
        "output": f.fan_out * c.accum_bits * several,
        "weight_bits": f.weights * live * c.weight_bits * (c.vivado == 0),
        "weights": f.weights * live * (c.vivado == 0),
        "adder": f.multipliers * c.accum_bits * several,
        "sum": f.multipliers * c.accum_bits * (1 - several),
        "product": f.multipliers * c.weight_bits * c.data_bits * ~f.synthesis_dsp,
    }


def resource_ff_synthesis(c: Columns, f: Facts) -> Terms:
    """Flip-flops of Resource layers after synthesis: ports, buffers, accumulators, held data."""
    return {
        "port": c.n_in * c.data_bits * c.first,
        "buffer": c.n_in * c.data_bits * (1 - c.first),
        "output": f.fan_out * c.accum_bits,
        "pick": f.multipliers * c.data_bits * (f.depth <= f.fan_in),
    }


def latency_lut(c: Columns, f: Facts) -> Terms:
    """C-synthesis LUTs of Latency layers: adders of the sums, shift-adds, products of constants.

    A single input has no sum.
    """
    copies = c.parallelization
    constant_bits = f.shared * (1 - f.dsp_share) * c.weight_bits + f.narrow * NARROW_BITS
    return {
        "adder": f.nnz * c.accum_bits * copies * (c.n_in > 1),
        "shift_add": f.uniq2 * c.data_bits * copies,
        "fabric": c.data_bits * constant_bits * copies,
        "dsp": f.uniq3 * c.data_bits * f.dsp_share * copies,
    }


def latency_ff(c: Columns, f: Facts) -> Terms:
    """C-synthesis flip-flops of Latency layers: inputs, sums and products, once per stage.

    All stages of the tree where a directive binds the multipliers.
    """
    copies = c.parallelization
    bound = c.binding > 0
    stages = np.where(bound, 0.0, f.stages) * copies
    return {
        "input": c.n_in * c.data_bits * stages,
        "sum": f.nnz * stages,
        "product": f.uniq3 * c.data_bits * stages,
        "stage": f.nnz * c.accum_bits * bound * copies,
        "full_rate": f.nnz * c.accum_bits * (bound & (c.reuse_factor == 1)) * copies,
        "turns": f.uniq3 * c.accum_bits * ((stages > 0) & (c.reuse_factor > 1)) * copies,
    }


def relu_lut(c: Columns) -> F:
    """C-synthesis LUTs of ReLU, operator by operator (`rfprune.hardware.operators`).

    Every element is compared with 0 and selected. A type that rounds and saturates takes an
    addition, three comparisons of the bits that go and two more selections, with their flags: 74
    LUTs from 16 to 6 bits in Vitis HLS 2022.2, 78 to 4 bits in Vivado HLS 2019.2.
    """
    gone = np.maximum(c.data_bits - c.output_bits, 1) / 2
    cast = add_lut(c.output_bits, c.year) + 3 * compare_lut(gone, c.year) + c.output_bits + _FLAGS
    each = compare_lut(c.data_bits, c.year) + c.output_bits + c.rounds * cast
    return parallel_elements(c) * each


def parallel_elements(c: Columns) -> F:
    """Return the elements that a layer without weights handles side by side."""
    return np.where(c.stream == 1, c.channels, c.n_out * c.out_height * c.out_width)


def softmax_elements(c: Columns) -> F:
    """Return the numbers that softmax makes side by side: in io_parallel, of all positions."""
    positions = np.where(c.stream == 1, 1.0, c.out_height * c.out_width)
    elements: F = c.n_out * positions
    return elements


def pool_lut(c: Columns, _f: Facts) -> Terms:
    """C-synthesis LUTs of pooling: a comparison or sum per further element of each window.

    A stream's kernel holds one window, with the logic that moves it; in io_parallel there is one
    for every output.
    """
    largest = c.is_type(*LARGEST)
    work = _pool_bits(c)
    parallel = (c.stream == 0) * work
    return {
        "window": work * (c.stream == 1),
        "larger": parallel * largest * (c.vivado == 0),
        "larger_vivado": parallel * largest * (c.vivado == 1),
        "sum": parallel * ~largest,
    }


def pool_ff(c: Columns, _f: Facts) -> Terms:
    """C-synthesis flip-flops of pooling: the window's registers."""
    # In io_parallel the elements are read into registers, unless their layer's FIFO holds them.
    held = _window_bits(c) * (c.stream == 0) * ~c.is_type("globalpool")
    return {"window": _window_bits(c) * (c.stream == 1), "held": held}


def softmax_lut(c: Columns, _f: Facts) -> Terms:
    """C-synthesis LUTs of softmax: tables and sums per class; products where bound to fabric."""
    classes = softmax_elements(c)
    return {"class": classes, "fabric": classes * (c.binding == 2)}


def softmax_ff(c: Columns, _f: Facts) -> Terms:
    """C-synthesis flip-flops of softmax: stages per class, more where a directive binds them."""
    classes = softmax_elements(c)
    return {"class": classes, "bound": classes * (c.binding > 0)}


def _pool_bits(c: Columns) -> F:
    """Bits that the comparisons or sums of pooling take, those of one window on a stream."""
    # On a stream, a global pool compares each datum with the one it holds.
    whole = np.where(c.stream == 1, 2.0, c.n_in)
    window = np.where(c.is_type("globalpool"), whole, c.kernel_height * c.kernel_width)
    outputs = np.where(c.stream == 1, 1.0, c.out_height * c.out_width)
    bits: F = c.channels * outputs * np.maximum(window - 1, 1) * c.data_bits
    return bits


def _window_bits(c: Columns) -> F:
    everything = np.where(c.is_type("globalpool"), c.n_in, c.in_height * c.in_width)
    window = np.where(c.stream == 1, c.kernel_height * c.kernel_width, everything)
    return c.channels * window * c.data_bits


#: Rule -> terms of a layer.
RULES = {
    "resource_lut": resource_lut,
    "resource_ff": resource_ff,
    "resource_lut_synthesis": resource_lut_synthesis,
    "resource_ff_synthesis": resource_ff_synthesis,
    "latency_lut": latency_lut,
    "latency_ff": latency_ff,
    "pool_lut": pool_lut,
    "pool_ff": pool_ff,
    "softmax_lut": softmax_lut,
    "softmax_ff": softmax_ff,
}


def rule(name: str, c: Columns, f: Facts, of: B) -> F:
    """Return the sum of constant times term of one fitted rule, (n_layers,).

    Args:
        name: of the rule, a key of `RULES`.
        c: layers.
        f: their facts.
        of: (n_layers,) which layers the rule is about; 0 for all others.
    """
    total = np.zeros(c.n_out.shape)
    # Of a single design most rules are about no layer.
    if not of.any():
        return total
    terms = RULES[name](c, f)
    fitted = rule_constants(name, tuple(terms))
    for constant, term in zip(fitted.tolist(), terms.values(), strict=True):
        if constant:
            total += constant * term
    return np.where(of, total, 0.0)
