"""What C synthesis charges for one operator: the LUTs in the *Expression* table of its report.

HLS adds up a library of operators by width, whatever logic synthesis makes of them later. The
entries were read off some 60 published reports of eight tool versions, in which every operator is
listed with its widths. What it does not know: why one project with Vitis HLS 2021.1 on a Zynq part
lists its operators without their constant part, so that this may be the part and not the version.
"""

from __future__ import annotations

import numpy as np

from rfprune.core.arrays import FloatArray

__all__ = [
    "DELAY_FF",
    "DELAY_LUT",
    "HANDSHAKE_LUT",
    "add_lut",
    "compare_lut",
    "saturated_sum_lut",
]

#: What every adder has beside its bits: 12 bits are 19 LUTs, 16 are 23, 32 are 39.
_ADDER = 7.0
#: LUTs of a control signal of one port (``blk_n``, an entry of the *Multiplexer* table).
HANDSHAKE_LUT = 9.0
#: What a word that waits in a shift register has in the report since version 2019.2, at 4 to 16
#: bits and any depth: a line of an image or a datum that a pipeline delays (seven designs).
DELAY_LUT, DELAY_FF = 32.0, 64.0
#: Selections and additions of one saturating sum and of the cast before it, and the LUTs of their
#: flags: 6.1, 2.6 to 3 and 40 to 46 in two designs of 24 and 28 bits (Vivado HLS 2020.1).
_SATURATION = {"select": 6.0, "add": 3.0, "flags": 46.0}


def _lean(year: FloatArray) -> FloatArray:
    return np.where(np.floor(year) == 2021, 1.0, 0.0)


def add_lut(bits: FloatArray, year: FloatArray) -> FloatArray:
    """Return the LUTs of an addition or subtraction by itself.

    Two that HLS merges to one sum of three have a LUT per bit each.

    Args:
        bits: (n,) width of the wider operand.
        year: (n,) generation of the tool as year.release.
    """
    return bits + _ADDER * (1 - _lean(year))


def compare_lut(bits: FloatArray, year: FloatArray) -> FloatArray:
    """Return the LUTs of a comparison.

    Up to 2022, 3 bits are 8 or 9 LUTs, 6 are 10 or 11, 16 are 13 and 32 are 18 to 20; from 2023 on
    a comparison is an adder. Version 2021.1: 2 for 3 and 4 bits, 7 for 16.

    Args:
        bits: (n,) width of the wider operand.
        year: (n,) generation of the tool as year.release.
    """
    older = np.where(_lean(year) == 1, np.maximum(bits / 2 - 1, 2.0), 8 + bits / 3)
    return np.where(year >= 2023, add_lut(bits, year), older)


def saturated_sum_lut(bits: FloatArray, year: FloatArray) -> FloatArray:
    """Return the LUTs of adding one product to a sum that saturates, rounding the product first.

    Args:
        bits: (n,) width of the sum.
        year: (n,) generation of the tool as year.release.
    """
    chosen, flags = _SATURATION["select"] * bits, _SATURATION["flags"]
    return chosen + _SATURATION["add"] * add_lut(bits, year) + flags
