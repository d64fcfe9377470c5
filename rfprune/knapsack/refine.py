"""From prices to a selection whose distance from the bound is as small as asked for.

A greedy selection comes first. Then the distance between bound and best selection decides which
rows are open, the core of them is searched, a better selection makes the distance smaller and the
next core shorter, and so on with more effort, until nothing is open, the gap is small enough, or
the effort ends. What the search leaves open is the residual core, and goes to CBC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rfprune.knapsack.core import Base, Block, Kind, blocks, kinds, take
from rfprune.knapsack.greedy import greedy
from rfprune.knapsack.mip import solve_core
from rfprune.knapsack.pool import Pool, equal_columns
from rfprune.knapsack.prices import ROUNDING, Prices
from rfprune.knapsack.problem import Floats, Ints
from rfprune.knapsack.search import Task, search

__all__ = ["Best", "Limits", "refine"]


@dataclass(frozen=True)
class _Effort:
    """How much one round of search may do: rows in the core, numbers per kind, states, prices."""

    rows: int
    width: int
    states: int
    prices: int


_ROUNDS = (
    _Effort(40, 4, 100, 6),
    _Effort(80, 8, 400, 6),
    _Effort(160, 12, 1600, 16),
    _Effort(320, 24, 6400, 16),
    _Effort(1000, 4096, 25600, 16),
)
#: After so many rounds CBC may take over, which takes long even to start on more rows than this.
_SHORT_ROUNDS, _ROWS_FOR_CBC = 3, 700
_FEW_KINDS = 16
#: Groups that may be summed over in one round where only the caller's own sum can tell.
_SUMMED = 4_000_000


@dataclass(frozen=True)
class Limits:
    """When to stop: at this relative gap, or after this many nodes of CBC."""

    gap: float
    nodes: int


@dataclass(frozen=True)
class Best:
    """The best selection known, as its difference from the base, and what bounds it.

    Attributes:
        gain: its value against the base; -inf if none is known.
        rows: (n,) rows that differ from the base.
        taken: (n,) groups kept of these.
        bound: no selection is worth more (the base included).
        proven: no selection is worth more than this one.
    """

    gain: float
    rows: Ints
    taken: Floats
    bound: float
    proven: bool

    def chosen(self, base: Base) -> Floats:
        """Return (N,) groups kept of every row."""
        chosen = base.taken.copy()
        chosen[self.rows] = self.taken
        return chosen


def refine(
    pool: Pool, prices: Prices, base: Base, limits: Limits, check: Callable[[Floats], bool]
) -> Best:
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
    for number, effort in enumerate(_ROUNDS):
        if work.done(best) or not work.worth_a_round(best, number):
            break
        best = work.search(best, effort)
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

    def start(self) -> Best:
        """Return the greedy selection, bounded by the prices."""
        found = greedy(self.pool, self.base)
        # Values are not negative: a negative bound says that the floors cannot be met.
        bound = self.prices.bound if self.prices.bound >= 0 else -np.inf
        nothing = Best(-np.inf, np.zeros(0, dtype=np.int64), np.zeros(0), bound, False)
        if found is None:
            return nothing
        rows, taken = found
        gain = float(((taken - self.base.taken[rows]) * self.pool.value[rows]).sum())
        return self._settled(Best(gain, rows, taken, self.prices.bound, False), np.inf)

    def done(self, best: Best) -> bool:
        """Tell whether nothing is left to do: proven, impossible, or close enough."""
        distance = best.bound - self.base.value - best.gain
        return best.proven or best.bound == -np.inf or distance <= self.limits.gap * best.bound

    def worth_a_round(self, best: Best, number: int) -> bool:
        """Tell whether round `number` of the search is better than CBC, or than nothing.

        Many kinds, or kinds with many equal groups, are what the search is slow on.
        """
        if number < _SHORT_ROUNDS:
            return True
        core = take(self.base.margin, self._open(best), _ROWS_FOR_CBC)
        _, start = equal_columns(self.pool.cost[:, core.rows])
        equal = self.pool.count[core.rows].max(initial=0) > 1
        if len(start) <= _FEW_KINDS and not equal:
            return True
        return not core.covers and number == _SHORT_ROUNDS

    def search(self, best: Best, effort: _Effort) -> Best:
        """Search the core once."""
        distance = self._open(best)
        core = take(self.base.margin, distance, effort.rows)
        found = kinds(self.pool, self.base, core.rows, self.prices, distance, effort.width)
        parts = blocks(found, distance)

        def selection(options: list[int]) -> Best:
            rows, taken = _rows(self.pool, found, parts, options)
            return replace(best, rows=rows, taken=taken)

        task = Task(
            left=self.base.left,
            grain=self.pool.grain,
            prices=self.prices.nearby[: effort.prices],
            target=best.gain + self._need(best),
            most=effort.states,
            check=lambda options: self.check(selection(options).chosen(self.base)),
            checks=max(4, _SUMMED // len(self.pool.order)),
        )
        outcome = search(parts, task)
        if outcome.gain > best.gain:
            best = replace(selection(outcome.options), gain=outcome.gain)
        sure = core.covers and not any(kind.cut for kind in found)
        return self._settled(best, outcome.bound if sure else np.inf)

    def residual(self, best: Best) -> Best:
        """Hand what is still open to CBC."""
        distance = self._open(best)
        core = take(self.base.margin, distance, _ROWS_FOR_CBC)
        if not core.covers:
            return best
        answer = solve_core(
            self.pool,
            self.base,
            core.rows,
            (min(distance, self.prices.bound), self.limits.gap / 2 * best.bound, self.limits.nodes),
            lambda taken: self.check(replace(best, rows=core.rows, taken=taken).chosen(self.base)),
        )
        if answer.gain > best.gain + self._need(best) / 2:
            best = replace(best, gain=answer.gain, rows=core.rows, taken=answer.taken)
        return self._settled(best, answer.bound)

    def _open(self, best: Best) -> float:
        """Return what a better selection can lose at most against the bound of the prices.

        `best.bound` would be wrong here even where it is lower: margins are losses at the prices.
        """
        return max(0.0, self.prices.bound - self.base.value - best.gain - self._need(best))

    def _need(self, best: Best) -> float:
        """Return by how much a selection must be better to be better at all."""
        return 0.9 * self.pool.step if self.pool.step else ROUNDING / 4 * best.bound

    def _settled(self, best: Best, gain: float) -> Best:
        """Return the best after learning that no selection gains more than it and `gain`."""
        need, step = self._need(best), self.pool.step
        bound = min(best.bound, self.base.value + max(gain, best.gain + need))
        if step and np.isfinite(bound):
            bound = step * np.floor(bound / step + 0.01)
        proven = np.isfinite(bound) and bound - self.base.value - best.gain <= 1.05 * need
        return replace(best, bound=float(bound), proven=bool(best.proven or proven))


def _rows(
    pool: Pool, found: Sequence[Kind], parts: Sequence[Block], options: Sequence[int]
) -> tuple[Ints, Floats]:
    """Return the rows of all kinds and the groups kept of them, under one option per block."""
    rows, taken = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for part, choice in zip(parts, options, strict=True):
        for place, option in zip(part.members, part.option[:, choice], strict=True):
            kind = found[place]
            rows.append(kind.rows)
            taken.append(kind.taken(pool.count[kind.rows], int(option)))
    return np.concatenate(rows), np.concatenate(taken)
