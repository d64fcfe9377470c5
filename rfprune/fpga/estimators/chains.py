"""Pools of the largest element in io_parallel: comparisons that follow each other.

hls4ml's kernel compares one element after the other, and HLS keeps that order: as many comparisons
as fit into a period, then a register. A pool of 128 elements takes 42 cycles at 5 ns and one of
four takes one at 3.33 ns (Vitis HLS 2024.1 and 2022.2), while four fit into 5 ns (hls4ml's tests).
What it does not know: whether a global pool is one of averages, which it takes to be of the
largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfprune.fpga.estimators.layer_columns import Columns
from rfprune.hardware.operators import DELAY_FF, DELAY_LUT
from rfprune.hardware.timing import COMPARE_NS

__all__ = ["LARGEST", "Chains", "chains"]

F = NDArray[np.float64]

#: Pools of the largest element.
LARGEST = ("maxpool1d", "maxpool2d", "globalpool")
#: Cycles that an element waits in registers; those that wait longer do so in look-up tables (118 of
#: 127 elements of a pool of which three are compared per cycle).
_REGISTERED = 3


@dataclass(frozen=True)
class Chains:
    """What the order of comparisons costs beside them, (n_layers,) each; `stages` in cycles."""

    stages: F
    lut: F
    ff: F


def chains(c: Columns) -> Chains:
    """Return the stages of every pool and what elements that wait for their turn are held in."""
    pools = c.is_type(*LARGEST) & (c.stream == 0)
    if not pools.any():
        return Chains(*[np.zeros(c.n_out.shape)] * 3)
    whole = c.is_type("globalpool")
    window = np.where(whole, c.n_in, c.kernel_height * c.kernel_width)
    compared = np.where(pools, np.maximum(window - 1, 0), 0.0)
    each = np.maximum(np.floor(c.period_ns / COMPARE_NS), 1.0)
    stages = np.maximum(np.ceil(compared / each) - 1, 0.0)
    waiting = sum(g * np.clip(compared - g * each, 0, each) for g in range(1, _REGISTERED))
    late = np.maximum(compared - _REGISTERED * each, 0.0)
    copies = c.channels * c.out_height * c.out_width
    # A delay in look-up tables has a register on either side.
    ff = c.data_bits * (stages + waiting + 2 * late) + DELAY_FF * late
    # A process of several stages holds what it has read.
    held = np.where(whole & (stages > 0), c.n_in * c.data_bits, 0.0)
    return Chains(stages=stages, lut=copies * DELAY_LUT * late, ff=copies * (ff + held))
