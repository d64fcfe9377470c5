"""The best selection known so far, whatever it selects from, and what is proven of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from rfprune.knapsack.prices import ROUNDING

__all__ = ["BestKnown", "need", "settled"]


@dataclass(frozen=True)
class BestKnown:
    """What the best selection known is worth, and what bounds all of them.

    Attributes:
        gain: its value against the best at the prices; -inf if none is known.
        bound: no selection is worth more; -inf: there is no selection.
        proven: no selection is worth more than this one.
    """

    gain: float
    bound: float
    proven: bool


Known = TypeVar("Known", bound=BestKnown)


def need(known: BestKnown, step: float) -> float:
    """Return by how much a selection must be better to be better at all.

    Args:
        known: the best so far.
        step: all values are whole multiples of it; 0 if there is no such step.
    """
    # Totals are whole steps but for rounding, so that 0.9 of one tells two of them apart.
    return 0.9 * step if step else ROUNDING / 4 * known.bound


def settled(known: Known, base: float, step: float, gain: float) -> Known:
    """Return the best after learning that no selection gains more than it and `gain`.

    Args:
        known: the best so far.
        base: value that gains are counted from.
        step: as in `need`.
        gain: what was learned; inf teaches nothing.
    """
    least = need(known, step)
    bound = min(known.bound, base + max(gain, known.gain + least))
    if step and np.isfinite(bound):
        # 0.01 of a step is far above rounding (`reduction` allows 2^40 steps) and below one.
        bound = step * np.floor(bound / step + 0.01)
    proven = np.isfinite(bound) and bound - base - known.gain <= 1.05 * least
    return replace(known, bound=float(bound), proven=bool(known.proven or proven))
