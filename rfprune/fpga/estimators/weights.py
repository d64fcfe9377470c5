"""What the real weights of a layer say about the hardware that they need.

In the Latency strategy every weight is a constant in the circuit. A constant c costs: nothing when
it is 0, a shift when its non-adjacent form (NAF) has one digit, one adder when it has two, a
multiplier when it has three or more; equal constants on one input share what they need (no manual
says so: published reports of Latency layers do). A multiplier takes a DSP unless its constant is
narrow (`NARROW_CODES`) or both operands are (`rfprune.hardware.multiplier`). In the strategy
ResourceUnrolled a multiplier goes when all its reuse-factor many weights are exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from rfprune.errors import DataError
from rfprune.hardware.precision import FixedType

__all__ = [
    "MEAN_WIDE_DIGITS",
    "NARROW_BITS",
    "NARROW_CODES",
    "WIDE_CODE",
    "WeightStatistics",
    "naf_digits",
    "quantized_codes",
    "summed",
    "weight_statistics",
]

#: Positive constants of four bits with three digits. HLS builds them from look-up tables whatever
#: the data: a published layer of 34-bit data holds 261 constants with three digits and 259 pairs of
#: DSPs; +11 and +13 stand in it once each, and its report lists both four-bit products without.
#: Their negatives have five bits in two's complement and do take a DSP.
NARROW_CODES = (11, 13)
NARROW_BITS = 4


def _mean_wide_digits(bits: int) -> float:
    """Mean digits of the constants with at least three, over all non-adjacent forms of `bits`.

    There are ``C(bits - k + 1, k) 2^k`` forms of k digits: k places of which no two are adjacent.
    """
    forms = {k: comb(bits - k + 1, k) << k for k in range(3, (bits + 1) // 2 + 1)}
    return sum(k * n for k, n in forms.items()) / sum(forms.values()) if forms else 3.0


#: Mean digits of constants with at least three by their bits. The largest weight of a trained layer
#: has a bit more than most: 32 of 36 published layers whose digits are counted lie within 8 % of
#: the mean of one bit less.
MEAN_WIDE_DIGITS = np.array([_mean_wide_digits(bits) for bits in range(65)])
#: Least size of a constant with `HLS_WIDE_BITS` bits, sign counted.
WIDE_CODE = 512


class WeightStatistics(BaseModel):
    """Counts over the quantised weights of one layer; None where not known.

    Attributes:
        count: weights of the layer.
        nnz: weights that are not 0 on the fixed-point grid.
        live_groups: runs of reuse-factor many weights in HLS order with a weight that is not
            exactly 0.
        uniq3: distinct signed constants per input with at least three NAF digits, summed over
            inputs.
        uniq2: the same with exactly two.
        narrow3: those of `uniq3` that are in `NARROW_CODES`.
        wide3: those of `uniq3` of at least `WIDE_CODE`.
        pow2: weights with one digit.
        naf_digits: NAF digits of all weights.
        max_bits: significant bits of the largest code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: NonNegativeInt
    nnz: NonNegativeInt
    live_groups: NonNegativeInt | None = None
    uniq3: NonNegativeInt | None = None
    uniq2: NonNegativeInt | None = None
    narrow3: NonNegativeInt | None = None
    wide3: NonNegativeInt | None = None
    pow2: NonNegativeInt | None = None
    naf_digits: NonNegativeInt | None = None
    max_bits: Annotated[int, Field(ge=0, le=64)] | None = None

    @model_validator(mode="after")
    def _nested(self) -> WeightStatistics:
        """Raise where a part is larger than its whole."""
        for part, whole in _PARTS:
            few, many = getattr(self, part), getattr(self, whole)
            if few is not None and many is not None and few > many:
                raise ValueError(f"{part} {few} is more than {whole} {many}")
        return self


#: Counts and what they are part of.
_PARTS = (
    ("nnz", "count"),
    ("live_groups", "count"),
    ("uniq3", "nnz"),
    ("uniq2", "nnz"),
    ("pow2", "nnz"),
    ("narrow3", "uniq3"),
    ("wide3", "uniq3"),
)
_POPCOUNT16 = np.array([bin(i).count("1") for i in range(1 << 16)], dtype=np.uint8)


def naf_digits(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of non-zero digits in the non-adjacent form of each integer, any shape.

    The digits stand where ``|c|`` and ``3 |c|`` differ (Reitwiesner 1960). Codes up to 61 bits.
    """
    size = np.abs(codes).astype(np.uint64)
    digits = size ^ (size * np.uint64(3))
    mask, total = np.uint64(0xFFFF), np.zeros(codes.shape, dtype=np.int64)
    for shift in (0, 16, 32, 48):
        rest = digits >> np.uint64(shift)
        if not rest.any():
            break
        total += _POPCOUNT16[(rest & mask).astype(np.int64)]
    return total


def quantized_codes(weights: NDArray[np.floating[Any]], precision: FixedType) -> NDArray[np.int64]:
    """Return the integer codes of `weights` on the grid of `precision`, same shape."""
    import torch

    values = torch.from_numpy(np.array(weights, dtype=np.float64))
    return (precision.quantize(values) / precision.step).numpy().astype(np.int64)


def _distinct_per_column(codes: NDArray[np.int64], chosen: NDArray[np.bool_]) -> int:
    inputs = np.broadcast_to(np.arange(codes.shape[1]), codes.shape)[chosen]
    values = codes[chosen]
    if values.size == 0:
        return 0
    span = int(values.max()) - int(values.min()) + 1
    return int(np.unique(inputs * span + (values - values.min())).size)


def weight_statistics(
    weight_hls: NDArray[np.floating[Any]], precision: FixedType, reuse_factor: int = 1
) -> WeightStatistics:
    """Return the counts of one layer's weights.

    Args:
        weight_hls: (n_out, n_in) weights in HLS order (output index slowest), pruned ones exactly
            0.
        precision: type of the weights.
        reuse_factor: weights per multiplier, consecutive in HLS order.

    Raises:
        DataError: not two axes, or values that are not finite.
    """
    weight = np.asarray(weight_hls)
    if weight.ndim != 2 or weight.size == 0:
        raise DataError(f"weights have shape {weight.shape}. Allowed: (n_out, n_in), not empty.")
    if not np.isfinite(weight).all():
        raise DataError("weights are not all finite. Allowed: finite numbers.")
    codes = quantized_codes(weight, precision)
    digits = naf_digits(codes)
    starts = np.arange(0, weight.size, reuse_factor)
    live = np.logical_or.reduceat(weight.reshape(-1) != 0, starts)
    return WeightStatistics(
        count=weight.size,
        nnz=int(np.count_nonzero(codes)),
        live_groups=int(np.count_nonzero(live)),
        uniq3=_distinct_per_column(codes, digits >= 3),
        uniq2=_distinct_per_column(codes, digits == 2),
        narrow3=_distinct_per_column(codes, np.isin(codes, NARROW_CODES)),
        wide3=_distinct_per_column(codes, (digits >= 3) & (np.abs(codes) >= WIDE_CODE)),
        pow2=int(np.count_nonzero(digits == 1)),
        naf_digits=int(digits.sum()),
        max_bits=int(np.abs(codes).max()).bit_length(),
    )


def summed(counted: Sequence[WeightStatistics]) -> WeightStatistics:
    """Return the counts of several matrices together, each of which is known in full."""
    found = {
        name: sum(getattr(each, name) for each in counted) for name in WeightStatistics.model_fields
    }
    return WeightStatistics(**{**found, "max_bits": max(each.max_bits or 0 for each in counted)})
