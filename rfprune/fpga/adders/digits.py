"""Signed digits: sums of a few powers of two, each with a sign.

A product with a constant is one addition per non-zero digit. In canonical form (no two neighbouring
digits, Reitwiesner 1960) a number has the fewest.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rfprune.core.arrays import FloatArray

__all__ = ["digit_counts", "digit_levels", "level_table", "places"]

#: Fraction bits up to which digits are counted; far below every grid in use.
_FINEST = 16
#: Weights are held within so many bits before the point.
_WHOLE = 6


@lru_cache(maxsize=4)
def level_table(most: int, fraction: int) -> Tensor:
    """Return (most + 1, n) the nearest value with 0, 1, ... digits for every half step of a grid.

    Two values of the grid are equally far from a multiple of half a step, so that the nearest one
    is the same between two of these. Row k is asked at `places` of a weight.
    """
    limit = 2 ** (_WHOLE + fraction)
    whole = np.arange(-limit, limit + 1)
    counts = digit_counts(whole / 2.0**_FINEST)
    middles = (np.arange(-2 * limit, 2 * limit) + 0.5) / 2
    rows = []
    for digits in range(most + 1):
        allowed = whole[counts <= digits]
        nearest = np.searchsorted((allowed[1:] + allowed[:-1]) / 2, middles)
        rows.append(allowed[nearest] / 2.0**fraction)
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def places(weight: Tensor, fraction: int) -> Tensor:
    """Return where weights of any shape stand in a row of `level_table`."""
    limit = 2 ** (_WHOLE + fraction + 1)
    place = torch.floor(weight * 2.0 ** (fraction + 1)).clamp_(-limit, limit - 1)
    return place.add_(limit).to(torch.int64)


def digit_levels(weight: Tensor, most: int, fraction: int) -> Tensor:
    """Return (most + 1, ...) the nearest value with at most 0, 1, ... digits, for each weight.

    Args:
        weight: any shape.
        most: digits at most.
        fraction: bits behind the point.
    """
    table = level_table(most, fraction).to(weight)
    return table[:, places(weight, fraction)]


def digit_counts(value: FloatArray) -> FloatArray:
    """Return the digits of each value in canonical form, same shape.

    ``(3 n) xor n`` has a one for each digit (Prodinger, On binary representations of integers with
    digits -1, 0, 1, 2000).
    """
    whole = np.abs(np.rint(value * 2.0**_FINEST)).astype(np.uint64)
    # The digits of 3 n and n differ exactly where the canonical form of n has one.
    return np.asarray(np.bitwise_count((3 * whole) ^ whole), dtype=np.float64)
