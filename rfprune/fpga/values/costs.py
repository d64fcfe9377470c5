"""What a weight costs by its value and by the width of what it reads.

With strategy ``latency`` HLS builds a product with a constant from shifts and adds, up to two
signed digits; with more digits it is a multiplier, a DSP where the datum is wide or the constant
is, look-up tables elsewhere (`rfprune.hardware.multiplier`, `rfprune.fpga.estimators.weights`).
Each is one term of the rule ``latency_lut`` of the analytic estimator, after logic synthesis. Equal
constants that read the same datum share what they need, which no weight by itself can know: it is
corrected when the whole network has been estimated. In a graph of adders a digit costs the bits of
what it reads and one, once for each position that is unrolled (`rfprune.fpga.adders`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import numpy as np

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.adders.digits import digit_counts
from rfprune.fpga.estimators.constants import rule_constants
from rfprune.fpga.estimators.glue import LUT_RATIO
from rfprune.fpga.estimators.weights import NARROW_BITS, NARROW_CODES, WIDE_CODE
from rfprune.fpga.layers import UNROLLED, LayerPlan
from rfprune.hardware.multiplier import HLS_WIDE_BITS, MIN_BITS

__all__ = ["activation_cost", "kinds_of_values", "value_costs"]

_DSP, _LUT = RESOURCES.index("dsp"), RESOURCES.index("lut")
#: Kinds of constants of strategy latency, by what HLS makes of them.
_ZERO, _SHIFT, _TWO, _NARROW, _PRODUCT, _WIDE = range(6)
#: LUTs of one bit of a ReLU in a graph of adders.
_RELU_BIT = 1.5
#: LUTs of one bit of a ReLU that HLS builds: compared and selected (Vitis HLS from 2023 on).
_COMPARED_BIT = 2.0


def kinds_of_values(values: FloatArray, strategy: str, fraction: int) -> IntArray:
    """Return the kind of each value, same shape: a row of `value_costs`.

    Args:
        values: on the grid of `fraction` bits behind the point.
        strategy: of the layer.
        fraction: of the layer's type: HLS looks at the whole numbers that it holds.
    """
    digits = digit_counts(values).astype(np.int64)
    if strategy == UNROLLED:
        return digits
    codes = np.rint(values * 2.0**fraction)
    kinds = np.select(
        [digits <= 2, np.isin(codes, NARROW_CODES), np.abs(codes) >= WIDE_CODE],
        [digits, np.full_like(digits, _NARROW), np.full_like(digits, _WIDE)],
        _PRODUCT,
    )
    return np.asarray(kinds)


def value_costs(layer: LayerPlan, data_bits: Sequence[int], most: int) -> FloatArray:
    """Return (B, C, R) what a weight of each kind costs, if what it reads has so many bits.

    Args:
        layer: with the type of its weights.
        data_bits: (B,) widths, signs included.
        most: digits of a weight at most.
    """
    bits = np.asarray(data_bits, dtype=np.float64)
    if layer.strategy == UNROLLED:
        found = np.zeros((len(bits), most + 1, len(RESOURCES)))
        digits = np.arange(most + 1)
        found[:, :, _LUT] = layer.layer.positions * digits[None] * (bits[:, None] + 1)
        return found
    return _latency_costs(layer, bits)


def _latency_costs(layer: LayerPlan, bits: FloatArray) -> FloatArray:
    terms = ("adder", "shift_add", "fabric", "dsp")
    adder, shift_add, fabric, dsp = rule_constants("latency_lut", terms) / LUT_RATIO
    found = np.zeros((len(bits), _WIDE + 1, len(RESOURCES)))
    weight = layer.weight.width
    # As wide as the sum of the products has to be (`LayerPlan.accumulator`).
    sums = weight + bits + ceil(log2(layer.layer.n_in)) + 1
    lut = found[:, :, _LUT]
    lut[:, _SHIFT:] = (adder * sums * (layer.layer.n_in > 1))[:, None]
    lut[:, _TWO] += shift_add * bits
    lut[:, _NARROW] += fabric * bits * np.where(bits >= HLS_WIDE_BITS, NARROW_BITS, weight)
    # Wide data: every product; narrow data: those of wide constants.
    for kind, least in ((_PRODUCT, HLS_WIDE_BITS), (_WIDE, MIN_BITS)):
        blocks = bits >= least
        lut[:, kind] += np.where(blocks, dsp * bits, fabric * bits * weight)
        found[:, kind, _DSP] = blocks
    return found


def activation_cost(elements: int, strategy: str) -> FloatArray:
    """Return (R,) what one bit more of so many activations costs by itself."""
    found = np.zeros(len(RESOURCES))
    if strategy == UNROLLED:
        found[_LUT] = _RELU_BIT * elements
    else:
        found[_LUT] = _COMPARED_BIT * elements / LUT_RATIO
    return found
