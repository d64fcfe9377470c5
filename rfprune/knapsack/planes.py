"""Cutting planes: the prices at which a concave bound may still be greater (Kelley 1960)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["next_prices"]

#: Prices are looked for up to so many units of bound per unit of the steepest slope.
_FARTHEST = 1e4


def next_prices(
    prices: Sequence[NDArray[np.float64]],
    bounds: Sequence[float],
    slopes: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], float]:
    """Return the prices >= 0 at which all planes allow most, and how much that is.

    Args:
        prices: (K, R) where the bound is known.
        bounds: (K,) its values there.
        slopes: (K, R) its slopes there: nowhere is it above ``bound + slope . (p - prices)``.
    """
    from scipy.optimize import linprog

    at, steep = np.array(prices), np.array(slopes)
    # In units of what the budget could be worth, or prices and bounds differ by orders.
    unit = max(abs(each) for each in bounds) or 1.0
    scale = unit / np.maximum(np.abs(steep).max(axis=0), 1e-12)
    ends = np.array(bounds) - (steep * at).sum(axis=1)
    found = linprog(
        np.array([*np.zeros(len(scale)), -1.0]),
        A_ub=np.column_stack([-steep * scale / unit, np.ones(len(at))]),
        b_ub=ends / unit,
        bounds=[*[(0.0, _FARTHEST)] * len(scale), (None, 1e9)],
        method="highs",
    )
    if not found.success:
        return at[-1], -np.inf
    # A price below 0 would prove nothing, and the program is right to 1e-7 alone.
    return np.maximum(found.x[:-1], 0.0) * scale, float(found.x[-1]) * unit
