"""What the best groups of a cost class are worth, by their number, and concave bounds on it.

Of rows with one vector of costs an optimum keeps the most valuable groups, so that a class is one
integer n and its worth F(n) is concave: each further group is worth at most what the last one was.
Between two *marks*, numbers at which F is taken as it is, the tangents at both bound it from above.
A few dozen marks thus stand for a hundred thousand groups, and more are set where they matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfprune.knapsack.core_problem import Base
from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.reduction import Pool, equal_columns

__all__ = ["Curve", "curves"]

#: Distances of the first marks from where the relaxation lies, in groups; then it doubles.
_NEAR = (0, 1, 2, 3, 4, 6, 8, 12)
#: Distances of the marks that are added around a number.
_CLOSER = (0, 1, 2, 4, 8)


@dataclass(frozen=True)
class Curve:
    """Rows with one vector of costs, the most valuable first.

    Attributes:
        rows: (n,) rows of the pool.
        value: (n,) value of one group of each.
        ends: (n + 1,) groups before each row, and all.
        worth: (n + 1,) what the best so many groups are worth.
        cost: (R,) of one group.
        usual: groups of these rows in the base.
    """

    rows: Ints
    value: Floats
    ends: Floats
    worth: Floats
    cost: Floats
    usual: float

    def gain(self, number: Floats | float) -> Floats:
        """Return what keeping this many groups is worth against the base, same shape."""
        worth = np.interp(number, self.ends, self.worth)
        return np.asarray(worth - np.interp(self.usual, self.ends, self.worth))

    def taken(self, number: float) -> Floats:
        """Return (n,) how many groups of each row are kept."""
        return np.asarray(np.clip(number - self.ends[:-1], 0, np.diff(self.ends)))

    def marks(self, middle: float) -> Floats:
        """Return the first marks: close ones near `middle`, far ones elsewhere, and both ends."""
        # The doublings reach 2^51 groups, beyond any class; `_within` cuts what is too far.
        steps = np.append(_NEAR, 16 * 2.0 ** np.arange(48))
        return self._within(np.concatenate([middle - steps, middle + steps]))

    def closer(self, marks: Floats, number: float) -> Floats:
        """Return the marks with some more around a number."""
        steps = np.array(_CLOSER)
        return self._within(np.concatenate([marks, number - steps, number + steps]))

    def _within(self, marks: Floats) -> Floats:
        # Both ends are always marks: without them the outermost pieces would bound nothing beyond.
        return np.unique(np.append(np.clip(marks, 0, self.ends[-1]), [0, self.ends[-1]]))

    def pieces(self, marks: Floats) -> tuple[Floats, Floats]:
        """Return the bound as pieces: (P,) how many groups long, (P,) worth per group.

        It starts at 0 groups, is exact at the marks and nowhere below the worth.
        """
        # Between two marks the bound is the lower of two lines: from the left mark on with the
        # value of the next group, from the right mark back with that of the last. They cross at
        # `length`.
        low, high = marks[:-1], marks[1:]
        after = self.value[np.searchsorted(self.ends, low, "right") - 1]
        before = self.value[np.searchsorted(self.ends, high, "left") - 1]
        rise = self.gain(high) - self.gain(low)
        # Worths fall, so that this is not negative but for rounding; 0 means one straight piece.
        bend = np.maximum(after - before, 0)
        length = np.divide(rise - before * (high - low), bend, out=high - low, where=bend > 0)
        length = np.clip(length, 0, high - low)
        lengths = np.stack([length, high - low - length], axis=1).ravel()
        worths = np.stack([after, before], axis=1).ravel()
        # Pieces of no length would become variables of CBC that can only be 0.
        return lengths[lengths > 0], worths[lengths > 0]

    def bounded_gain(self, marks: Floats, number: float) -> float:
        """Return the bound on `gain` that the pieces between the marks say, at one number."""
        lengths, worths = self.pieces(marks)
        ends = np.append(0.0, np.cumsum(lengths))
        total = np.append(0.0, np.cumsum(lengths * worths))
        # `gain` counts from the base, the pieces from keeping none.
        return float(np.interp(number, ends, total) + self.gain(0.0))


def curves(pool: Pool, base: Base, rows: Ints) -> list[Curve]:
    """Return the curves of some rows; all other rows stay as they are in the base."""
    # Sorted by value before by cost: `equal_columns` is stable, so that each class stays sorted.
    rows = rows[np.argsort(-pool.value[rows], kind="stable")]
    order, start = equal_columns(pool.cost[:, rows])
    ends = np.append(start, len(rows))[1:]
    found = []
    for first, last in zip(start, ends, strict=True):
        alike = rows[order[first:last]]
        value, count = pool.value[alike], pool.count[alike]
        found.append(
            Curve(
                rows=alike,
                value=value,
                ends=np.append(0.0, np.cumsum(count)),
                worth=np.append(0.0, np.cumsum(count * value)),
                cost=pool.cost[:, alike[0]],
                usual=float(base.taken[alike].sum()),
            )
        )
    return found
