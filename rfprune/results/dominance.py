"""Which points no other point beats.

Knows arrays of losses (smaller is better) and nothing of what they mean.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.errors import DataError

__all__ = ["pareto_mask"]


def pareto_mask(values: FloatArray) -> BoolArray:
    """Return which rows no other row dominates; of equal rows only the first.

    A row dominates another one if it is nowhere larger and somewhere smaller. Rows with NaN are
    never on the front and dominate nothing. Up to three columns cost O(N log N) (Kung, Luccio and
    Preparata 1975, "On finding the maxima of a set of vectors"); more cost O(N * front).

    Args:
        values: losses, (N, M), to be minimised.

    Raises:
        DataError: another shape.
    """
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"values has shape {values.shape}. Allowed: (N, M) with M >= 1.")
    mask = np.zeros(len(values), dtype=np.bool_)
    # A row with an unknown objective beats nobody and is on no front.
    known = np.flatnonzero(~np.isnan(values).any(axis=1))
    # In lexicographic order whatever dominates or equals a row comes before it, and lexsort is
    # stable, so a row stays exactly if no row kept before it is nowhere larger.
    order = known[np.lexsort(values[known].T[::-1])]
    # A staircase over the second objective serves up to three.
    kept = _staircase(values[order]) if values.shape[1] <= 3 else _sieve(values[order])
    mask[order[kept]] = True
    return mask


def _staircase(ordered: FloatArray) -> NDArray[np.intp]:
    """Return the kept rows of lexicographically ordered losses with at most three columns."""
    last_two = np.zeros((len(ordered), 2))
    last_two[:, : ordered.shape[1] - 1] = ordered[:, 1:]
    # Corners of the region that the rows so far dominate: second ascending, third descending.
    seconds: list[float] = []
    thirds: list[float] = []
    kept = []
    for row, (second, third) in enumerate(last_two.tolist()):
        place = bisect_right(seconds, second)
        if place and thirds[place - 1] <= third:
            continue
        kept.append(row)
        start = bisect_left(seconds, second)
        end = start
        while end < len(seconds) and thirds[end] >= third:
            end += 1
        seconds[start:end] = [second]
        thirds[start:end] = [third]
    return np.asarray(kept, dtype=np.intp)


def _sieve(ordered: FloatArray) -> NDArray[np.intp]:
    """Return the kept rows of lexicographically ordered losses with any number of columns."""
    rest = np.arange(len(ordered))
    kept = []
    while len(rest):
        kept.append(rest[0])
        # The row just kept is first in order, so it removes itself and all that it dominates.
        rest = rest[(ordered[rest] < ordered[rest[0]]).any(axis=1)]
    return np.asarray(kept, dtype=np.intp)
