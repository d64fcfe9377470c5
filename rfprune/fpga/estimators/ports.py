"""Numbers as the bits of a port: one after the other, lowest bit first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray

__all__ = ["Port", "packed", "unpacked"]


@dataclass(frozen=True)
class Port:
    """The numbers of one port, in order.

    Attributes:
        signs: 1 where a number has a sign bit.
        integers: bits before the point, without the sign; may be negative.
        fractions: bits behind the point; may be negative.
    """

    signs: Sequence[int]
    integers: Sequence[int]
    fractions: Sequence[int]

    @property
    def widths(self) -> list[int]:
        """Bits of each number; 0 where it is always zero."""
        parts = zip(self.signs, self.integers, self.fractions, strict=True)
        return [max(int(sum(part)), 0) for part in parts]

    @property
    def width(self) -> int:
        """Bits of the port."""
        return sum(self.widths)


def packed(x: FloatArray, port: Port) -> BoolArray:
    """Return (rows, width) bits of numbers (rows, n), rounded down and wrapped to their types."""
    columns = []
    for index, (width, fraction) in enumerate(zip(port.widths, port.fractions, strict=True)):
        code = np.floor(np.ldexp(x[:, index], int(fraction))).astype(np.int64)
        columns.append((code[:, None] >> np.arange(width)) & 1)
    return np.concatenate(columns, axis=1).astype(bool)


def unpacked(bits: BoolArray, port: Port) -> FloatArray:
    """Return (rows, n) numbers of the bits (rows, width) of a port."""
    found = np.zeros((len(bits), len(port.widths)))
    start = 0
    for index, width in enumerate(port.widths):
        if width == 0:
            continue
        code = bits[:, start : start + width].astype(np.int64) @ (1 << np.arange(width))
        if port.signs[index]:
            code -= (code >> (width - 1)) << width
        found[:, index] = np.ldexp(code.astype(np.float64), -int(port.fractions[index]))
        start += width
    return found
