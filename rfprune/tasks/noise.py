"""How far a score is known: its standard error on the rows it was measured on.

A score on a few hundred rows is a sample. Two networks whose scores differ by less than that cannot
be told apart by these rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rfprune.core.arrays import IntArray

__all__ = ["standard_error"]

#: Groups of the jackknife: its own relative error is about 1 / sqrt(2 * groups).
_GROUPS = 20


def standard_error(score: Callable[[IntArray], float], rows: int) -> float:
    """Return the standard error of a score by the jackknife that leaves out a group at a time.

    With the rows in G groups, ``sqrt((G - 1) / G * sum((s_g - mean(s))^2))`` where s_g is the score
    without group g (Quenouille 1956; Tukey 1958). It holds for means, such as an accuracy, where
    it estimates the binomial error, and for smooth functions of the rows, such as an AUC or a
    root mean square.

    Args:
        score: of the rows with these numbers.
        rows: how many there are; of fewer than two nothing is known, and the error is NaN.
    """
    groups = min(_GROUPS, rows)
    if groups < 2:
        return math.nan
    # Shuffled, always the same way: rows that belong together often lie together in a file.
    order = np.random.default_rng(0).permutation(rows)
    place = np.arange(rows) % groups
    parts = np.array([score(np.sort(order[place != group])) for group in range(groups)])
    return float(np.sqrt((groups - 1) / groups * ((parts - parts.mean()) ** 2).sum()))
