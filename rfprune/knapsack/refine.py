"""From prices to a selection whose distance from the bound is as small as asked for.

A greedy selection comes first. Then the rows of least margin are searched for selections that lose
no more against the bound than one more row would by itself. Either there is one, and the best of
them is the optimum; or the bound falls by as much, and more rows are taken. On the way better
selections turn up, which lose more. It ends when nothing is open, when the gap is small enough, or
when there is too much to look at; what is open then is the residual core, and goes to CBC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rfprune.knapsack.best_known import BestKnown, need, settled
from rfprune.knapsack.core_problem import Base, CostClass, cost_classes, take
from rfprune.knapsack.curves import curves
from rfprune.knapsack.greedy import greedy
from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.meet_in_the_middle import SearchProblem, search
from rfprune.knapsack.prices import Prices
from rfprune.knapsack.reduction import Pool
from rfprune.knapsack.residual_core import ResidualCore, solve_residual

__all__ = ["Incumbent", "Limits", "refine"]


#: Rows in the core, round by round: a third more each time.
_ROUNDS = (24, 32, 43, 57, 76, 101, 135, 180, 240, 320, 427, 569, 759, 1012, 1349, 1799)
#: CBC takes long even to start on more cost classes than this.
_CLASSES_FOR_CBC = 300
#: Groups that may be summed over in one round where only the caller's own sum can tell.
_SUMMED = 4_000_000


@dataclass(frozen=True)
class Limits:
    """When to stop: at this relative gap, or after this many nodes of CBC."""

    gap: float
    nodes: int


@dataclass(frozen=True)
class Incumbent(BestKnown):
    """The best selection known, as its difference from the base.

    Attributes:
        rows: (n,) rows that differ from the base.
        taken: (n,) groups kept of these.
    """

    rows: Ints
    taken: Floats

    def chosen(self, base: Base) -> Floats:
        """Return (N,) groups kept of every row."""
        chosen = base.taken.copy()
        chosen[self.rows] = self.taken
        return chosen


def refine(
    pool: Pool, prices: Prices, base: Base, limits: Limits, check: Callable[[Floats], bool]
) -> Incumbent:
    """Return the best selection found, and the bound on all of them.

    Args:
        pool: the open rows.
        prices: the minimum of the dual.
        base: the base at these prices.
        limits: when to stop.
        check: tells for groups kept of every row (N,) whether they are within the budgets, where
            rounding leaves it open. It is a sum over all groups, so it is not asked too often.
    """
    work = _Refiner(pool, prices, base, limits, check)
    best = work.start()
    for rows in _ROUNDS:
        if work.done(best):
            break
        better = work.search(best, rows)
        if better is None:
            break
        best = better
    if not work.done(best) and limits.nodes:
        best = work.residual(best)
    return best


@dataclass(frozen=True)
class _Refiner:
    """One problem at its prices; each step takes the best so far and returns a better one."""

    pool: Pool
    prices: Prices
    base: Base
    limits: Limits
    check: Callable[[Floats], bool]

    def start(self) -> Incumbent:
        """Return the greedy selection, bounded by the prices."""
        found = greedy(self.pool, self.base)
        # Values are not negative: a negative bound says that the floors cannot be met.
        bound = self.prices.bound if self.prices.bound >= 0 else -np.inf
        best = Incumbent(-np.inf, bound, False, np.zeros(0, dtype=np.int64), np.zeros(0))
        return best if found is None else self._settled(self._changed(best, *found), np.inf)

    def done(self, best: Incumbent) -> bool:
        """Tell whether nothing is left to do: proven, impossible, or close enough."""
        # The base and the gain add up to what the best selection is worth.
        distance = best.bound - self.base.value - best.gain
        return best.proven or best.bound == -np.inf or distance <= self.limits.gap * best.bound

    def search(self, best: Incumbent, rows: int) -> Incumbent | None:
        """Look at all selections that lose no more than the core's reach.

        If there is none, the bound falls by the reach. None if there are too many to look at.
        """
        core = take(self.base.margin, self._open(best), rows)
        found, reach = cost_classes(self.pool, self.base, core, self.prices, rows)
        # The bound less what the base is worth: a selection gains `top` minus its loss.
        top = float(self.prices.price @ self.base.left)

        def selection(options: list[int]) -> Incumbent:
            return self._changed(best, *_rows(self.pool, found, options))

        problem = SearchProblem(
            left=self.base.left,
            grain=self.pool.grain,
            price=self.prices.price,
            reach=reach,
            below=top - best.gain - self._need(best),
            check=lambda options: self.check(selection(options).chosen(self.base)),
            checks=max(4, _SUMMED // len(self.pool.order)),
        )
        result = search(found, problem)
        # Too much to look at; the rounds after this one would have more.
        if result is None:
            return None
        # Outside the core and beyond the options looked at, every selection loses at least this.
        # Hence nothing that was left out can be better than this.
        certain = min([reach, *(each.beyond for each in found)])
        if result.loss < np.inf:
            best = selection(result.options)
        # All of the distance was searched and nothing fits: the floors cannot be met.
        elif best.gain == -np.inf and min(result.least, certain) >= self._open(best):
            return replace(best, bound=-np.inf)
        ceiling = self.prices.bound - self.base.value
        return self._settled(best, max(top - result.least, ceiling - certain))

    def residual(self, best: Incumbent) -> Incumbent:
        """Hand what is still open to CBC."""
        distance = self._open(best)
        rows = np.flatnonzero(abs(self.base.margin) <= distance)
        open_curves = curves(self.pool, self.base, rows)
        # No open class leaves nothing to decide.
        if not 0 < len(open_curves) <= _CLASSES_FOR_CBC:
            return best
        mixed = self.prices.shares(self.pool.value, self.pool.cost) * self.pool.count
        core = ResidualCore(
            pool=self.pool,
            base=self.base,
            curves=open_curves,
            middle=np.array([np.rint(mixed[curve.rows].sum()) for curve in open_curves]),
            distance=min(distance, self.prices.bound),
            allowed=self.limits.gap / 2 * best.bound,
            nodes=self.limits.nodes,
            check=lambda rows, taken: self.check(
                self._changed(best, rows, taken).chosen(self.base)
            ),
        )
        answer = solve_residual(core)
        # Half of what counts as better: gains differ by whole steps but for rounding.
        if answer.gain > best.gain + self._need(best) / 2:
            best = self._changed(best, *core.chosen(answer.number))
        return self._settled(best, answer.bound)

    def _changed(self, best: Incumbent, rows: Ints, taken: Floats) -> Incumbent:
        """Return the best with another selection: the base, but for these rows."""
        gain = float(((taken - self.base.taken[rows]) * self.pool.value[rows]).sum())
        return replace(best, gain=gain, rows=rows, taken=taken)

    def _open(self, best: Incumbent) -> float:
        """Return what a better selection can lose at most against the bound of the prices.

        `best.bound` would be wrong here even where it is lower: margins are losses at the prices.
        """
        if best.gain == -np.inf:
            return self.prices.bound * (1 + 1e-9)  # all of it: values are not negative
        return max(0.0, self.prices.bound - self.base.value - best.gain - self._need(best))

    def _need(self, best: Incumbent) -> float:
        return need(best, self.pool.step)

    def _settled(self, best: Incumbent, gain: float) -> Incumbent:
        return settled(best, self.base.value, self.pool.step, gain)


def _rows(pool: Pool, found: Sequence[CostClass], options: Sequence[int]) -> tuple[Ints, Floats]:
    """Return the rows of all classes and the groups kept of them, with one option per class."""
    rows, taken = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for each, option in zip(found, options, strict=True):
        rows.append(each.rows)
        taken.append(each.taken(pool.count[each.rows], option))
    return np.concatenate(rows), np.concatenate(taken)
