"""What one multiplier and one memory word of a layer hold, from one table of sourced constants.

DSP and BRAM18 are exact counts of what hls4ml asks for. LUT and FF are first-order: the product's
logic where no DSP is used, and the registers of operands and product; the estimator, not this
table, predicts totals. The selection needs only how layers compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.core.quantities import RESOURCES, Resources
from rfprune.fpga.layers.plan import UNROLLED, LayerPlan
from rfprune.hardware.memory import bram18_column_bits, multipliers_per_word
from rfprune.hardware.multiplier import dsp_per_product

__all__ = ["UnitCost", "unit_cost"]

#: A w x d array multiplier in logic takes about one LUT per partial-product bit; two rows share a
#: carry chain (AMD UG574, CLB carry logic), hence one half.
_LUT_PER_PRODUCT_BIT = 0.5
#: LUTs around a DSP multiplier (operand selection per data bit): slope of LUT over data bits in the
#: Resource designs of the public wa-hls4ml set.
_LUT_PER_DATA_BIT = 1.0


#: A constant of w bits has about w / 3 signed digits that are not zero, each an adder as wide as
#: the data (Booth recoding; Avizienis 1961).
_BITS_PER_DIGIT = 3


@dataclass(frozen=True)
class UnitCost:
    """Resources of one multiplier and of one memory word, each (R,) in the order of RESOURCES.

    Attributes:
        per_multiplier: of one live multiplier.
        multipliers_per_word: multipliers that share whole BRAM columns; 0 without memory.
        per_word: of one such set of columns.
    """

    per_multiplier: FloatArray
    multipliers_per_word: int
    per_word: FloatArray


def unit_cost(plan: LayerPlan) -> UnitCost:
    """Return what one multiplier and one memory word of this layer hold."""
    w, d = plan.weight.width, plan.data.width
    if plan.strategy == UNROLLED:
        adders = _vector(Resources(dsp=0, bram18=0, lut=w / _BITS_PER_DIGIT * d, ff=0))
        return UnitCost(adders, 0, _vector(Resources(0, 0, 0, 0)))
    # What is left after logic synthesis, as the analytic estimator predicts by default.
    dsp = dsp_per_product(w, d, plan.dsp_type, predicts="synthesis")
    lut = _LUT_PER_DATA_BIT * d if dsp else _LUT_PER_PRODUCT_BIT * w * d
    multiplier = _vector(Resources(dsp=dsp, bram18=0, lut=lut, ff=w + d))
    # No memory: weights of these layers are constants or sit in registers.
    if plan.strategy == "latency" or plan.reuse_factor == 1:
        return UnitCost(multiplier, 0, _vector(Resources(0, 0, 0, 0)))
    column = bram18_column_bits(plan.reuse_factor)
    sharing = multipliers_per_word(w, plan.reuse_factor)
    # `sharing` multipliers fill whole columns, so that this is a whole number.
    word = _vector(Resources(dsp=0, bram18=sharing * w / column, lut=0, ff=0))
    return UnitCost(multiplier, sharing, word)


def _vector(resources: Resources) -> FloatArray:
    return np.array([getattr(resources, name) or 0.0 for name in RESOURCES])
