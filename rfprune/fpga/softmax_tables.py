"""Softmax as hls4ml computes it: the largest number off, two tables, and a product.

``softmax_stable`` of ``nnet_activation.h`` (1.3). With the types that hls4ml takes by itself it is
off by 0.1 to 0.3; here each is as wide as what it has to hold. Exponentials of ``scale * (x -
max)`` are read by ten bits, down to ``exp(-16)`` or less, inverses of their sum in steps of 1/64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from rfprune.hardware.precision import FixedType

__all__ = ["SoftmaxTypes", "tables_of"]

#: Bits that a table of exponentials is read by, and what the least of them has to reach.
_PLACES, _REACH = 10, 16.0
#: Bits behind the point of the sum that the table of inverses is read by.
_SUM_BITS = 6
#: Numbers from 0 to 1, as wide as hls4ml's tables are.
_ENTRY = FixedType(18, 1, signed=False, rounding="RND", saturation="SAT")


@dataclass(frozen=True)
class SoftmaxTypes:
    """The types between input and output, by hls4ml's names for them.

    Attributes:
        inp_norm: how far a number is below the largest one.
        exp_table: exponentials.
        accum: their sum.
        inv_inp: the same, as the table of inverses is read.
        inv_table: inverses.
    """

    inp_norm: FixedType
    exp_table: FixedType
    accum: FixedType
    inv_inp: FixedType
    inv_table: FixedType

    @classmethod
    def of(cls, n: int, scale: float) -> SoftmaxTypes:
        """Return the types of a softmax of `n` numbers, each times `scale`."""
        reach = math.ceil(math.log2(_REACH / scale))
        # The sum is n at most, which takes as many bits as n itself.
        more = n.bit_length()
        return cls(
            FixedType(_PLACES, reach, signed=False, rounding="RND", saturation="SAT"),
            _ENTRY,
            FixedType(_ENTRY.fractional + more, more, signed=False),
            FixedType(more + _SUM_BITS, more, signed=False, rounding="RND", saturation="SAT"),
            _ENTRY,
        )

    def by_name(self) -> dict[str, FixedType]:
        """Return the types by hls4ml's names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def tables_of(types: SoftmaxTypes, scale: float) -> tuple[Tensor, Tensor]:
    """Return (2**inp_norm.width,) exponentials and (2**inv_inp.width,) inverses, in their types.

    As ``init_exp_table`` and ``init_invert_table`` fill them: in single precision, then rounded.
    The sum is 1 or more, so that no inverse of less is ever read; there, that of 1 stands.
    """
    below = np.arange(2**types.inp_norm.width, dtype=np.float32) * np.float32(types.inp_norm.step)
    exponents = -(below * np.float32(scale))
    exponentials = np.exp(exponents.astype(np.float64)).astype(np.float32)
    sums = np.arange(2**types.inv_inp.width, dtype=np.float32) * np.float32(types.inv_inp.step)
    inverses = np.float32(1) / np.maximum(sums, np.float32(1))
    return (
        types.exp_table.quantize(torch.from_numpy(exponentials).double()),
        types.inv_table.quantize(torch.from_numpy(inverses).double()),
    )
