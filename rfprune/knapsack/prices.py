"""Shadow prices: the minimum of the Lagrangian dual, by column generation.

With a price ``p_r >= 0`` on every resource the budgets can be dropped, and each group is worth
keeping exactly if its value exceeds what it holds at these prices. For every ``p``::

    L(p) = p . room + sum_g max(0, value_g - p . cost_g)

is an upper bound on what any selection within the budgets is worth; ``L`` is convex and its
minimum is the optimum of the linear relaxation (e.g. Kellerer, Pferschy, Pisinger: Knapsack
Problems, 2004, section 9.2). The relaxation is solved as Dantzig and Wolfe do it: a master problem
with R + 1 rows mixes the selections seen so far so that the mixture is within the budgets; its
multipliers are the next prices; the selection that is best at these prices enters the basis. The
basis is a matrix of (R + 1) x (R + 1) numbers, so that all work is in evaluating ``L``.

With very many rows the prices are found on a sample first. Rows whose decision is the same for all
prices in a box around these are summed up once, and the master problem runs on the few that are
left. Whether the box was large enough is seen from the result: the bound, evaluated over all rows,
has to meet the value of the mixture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from rfprune.knapsack.instance import Floats
from rfprune.knapsack.reduction import Pool

__all__ = ["CLOSE", "ROUNDING", "Dual", "Prices", "generate", "minimise"]

#: Relative error that a bound may have collected: pairwise sums of any length err by less than 64
#: units in the last place, the products in front of them by R + 2.
ROUNDING = 2.0**-44
_CONVERGED = 1e-13
#: The box was large enough if bound and mixture agree this well; far below any gap that is asked
#: for.
CLOSE = 1e-11
_SAMPLE = 16384
#: Share of the rows that the box leaves open: several times the sampling error, 1 / sqrt(_SAMPLE).
_UNDECIDED = 0.1
_WIDENINGS = 3


@dataclass(frozen=True)
class Prices:
    """The minimum of the dual, in the scaled units of the pool.

    Attributes:
        price: (R,) prices of one unit of each resource.
        bound: the value of no selection exceeds it.
        weights: (W,) and
        corners: (W, R) the mixture that solves the relaxation: with these weights, the selections
            that are best at these prices.
    """

    price: Floats
    bound: float
    weights: Floats
    corners: Floats

    def shares(self, value: Floats, cost: Floats) -> Floats:
        """Return (N,) the share of rows of this value (N,) and cost (R, N) in the mixture."""
        # Strictly greater, as in `Base.at`: rows of margin 0 are dropped in both.
        return np.asarray(self.weights @ (value > self.corners @ cost))


class Dual(Protocol):
    """A Lagrangian dual, as column generation needs it."""

    @property
    def room(self) -> Floats:
        """(R,) what is left of each budget."""

    @property
    def base(self) -> float:
        """What is worth something whatever the prices are."""

    @property
    def total(self) -> float:
        """The values of two selections differ by no more."""

    @property
    def first(self) -> tuple[Floats, float]:
        """What a selection to begin with holds (R,), and what it is worth beyond `base`."""

    def at(self, price: Floats) -> tuple[float, Floats]:
        """Return ``L(price)`` and (R,) what the best selection leaves of the room."""


@dataclass(frozen=True)
class _Dual:
    """``L`` over some rows; the others, decided, are in `room` and `base`."""

    value: Floats
    cost: Floats
    count: Floats
    room: Floats
    base: float

    @property
    def total(self) -> float:
        """What all groups together are worth."""
        return float((self.count * self.value).sum())

    @property
    def first(self) -> tuple[Floats, float]:
        """Keeping nothing."""
        return np.zeros(len(self.room)), 0.0

    def at(self, price: Floats) -> tuple[float, Floats]:
        """Return ``L(price)`` and (R,) what the best selection leaves of the room."""
        margin = self.value - price @ self.cost
        taken = self.count * (margin > 0)
        left = self.room - self.cost @ taken
        return self.base + float(price @ self.room) + float((taken * margin).sum()), left


def minimise(pool: Pool) -> Prices:
    """Find the prices with the least bound."""
    # Rooms wide by the grain: the bound must hold for what only the caller's sum lets in.
    whole = _Dual(pool.value, pool.cost, pool.count, pool.room + pool.grain, 0.0)
    if pool.size <= 2 * _SAMPLE:
        return _certified(whole, generate(whole)[0])
    # A first guess: its prices are checked on all rows, so that a poor sample costs time only.
    sample = _sampled(whole)
    best = _certified(whole, generate(sample)[0])
    half = _box(sample, best.price)
    for _ in range(_WIDENINGS):
        found, mixed = generate(_narrowed(whole, best.price, half))
        found = _certified(whole, found)
        if found.bound - mixed <= CLOSE * abs(found.bound):
            return found
        # Too narrow a box can lead anywhere: go on from the better of the two.
        best = min(best, found, key=lambda each: each.bound)
        half = half * 4
    return _certified(whole, generate(whole)[0])


def _sampled(whole: _Dual) -> _Dual:
    """Return rows that stand for all, picked by their number and by what they hold.

    A few memory words can hold as much as a hundred thousand single weights: of rows picked by
    number alone they would be too few to say a price.
    """
    held = abs(whole.cost) * whole.count
    # Rows that hold much of a scarce resource decide its price, however few they are.
    weight = whole.count / whole.count.sum() + (held.T / held.sum(axis=1)).sum(axis=1)
    ends = np.cumsum(weight)
    # Evenly spaced in the weights and not drawn: equal input gives equal output.
    pick = np.searchsorted(ends, (np.arange(_SAMPLE) + 0.5) * (ends[-1] / _SAMPLE))
    count = whole.count[pick] * (ends[-1] / _SAMPLE) / weight[pick]
    return _Dual(whole.value[pick], whole.cost[:, pick], count, whole.room, 0.0)


def _certified(whole: _Dual, found: Prices) -> Prices:
    """Evaluate the bound over all rows and add what rounding can have taken from it."""
    bound, left = whole.at(found.price)
    # What was added and taken away on the way to `left`, in value: rounding goes with that.
    turnover = float(found.price @ (abs(whole.room) + 2 * abs(whole.room - left)))
    return replace(found, bound=bound + ROUNDING * (abs(bound) + turnover))


def _box(sample: _Dual, price: Floats) -> Floats:
    """Return (R,) half widths within which the decision changes for `_UNDECIDED` of a sample."""
    # A price of 0 has no width of its own; it gets a tenth of the price at which the room would be
    # worth all groups together.
    least = 0.1 * sample.total / np.maximum(abs(sample.room), 1e-300)
    # The decision of a row changes where its margin is within the swing of the prices.
    wide = np.maximum(price, least)
    swing = np.maximum(wide @ abs(sample.cost), 1e-300)
    share = np.quantile(abs(sample.value - price @ sample.cost) / swing, _UNDECIDED)
    return np.asarray(wide * max(float(share), 1e-6))


def _narrowed(whole: _Dual, price: Floats, half: Floats) -> _Dual:
    """Sum up the rows whose decision is the same for all prices within `half` of `price`."""
    low, high = np.maximum(price - half, 0), price + half
    negative = (whole.cost < 0).any(axis=1)
    # A floor's cost is negative, so that there a high price makes a group cheap.
    most, least = np.where(negative, low, high), np.where(negative, high, low)
    inside = whole.value > most @ whole.cost
    maybe = np.flatnonzero(~inside & (whole.value >= least @ whole.cost))
    taken = whole.count * inside
    return _Dual(
        value=whole.value[maybe],
        cost=whole.cost[:, maybe],
        count=whole.count[maybe],
        room=whole.room - whole.cost @ taken,
        base=float((whole.value * taken).sum()),
    )


def generate(dual: Dual) -> tuple[Prices, float]:
    """Run the master problem to its optimum; return the prices and the value of the mixture.

    Columns of the basis are selections (what they hold, 1) or slack (a unit vector, 0). Where
    there is no room to begin with, the first column buys room at a price that no optimum pays.
    """
    number = len(dual.room)
    # The basis to begin with: slack of every resource, and one selection.
    use, gain = dual.first
    lacking = np.append(dual.room < use, False)
    # Where the first selection overdraws, an artificial column stands in, at a value so low (the
    # big M) that the mixture drops it as soon as it can.
    basis = np.diag(np.where(lacking, -1.0, 1.0))
    basis[:-1, -1] = use
    worth = np.where(lacking, -1e4 * (dual.total + 1.0), 0.0)
    worth[-1] = gain
    amount: Floats = np.append(abs(dual.room - use), 1.0)
    corners: Floats = np.full((number + 1, number), np.nan)
    seen: list[tuple[float, Floats]] = []
    best = np.inf
    # Degenerate steps could go on for ever; whatever prices it ends with make a valid bound.
    for _ in range(100 + 60 * number):
        try:
            # Solved anew in each round: R is small, and no error of an updated inverse builds up.
            multiplier = np.linalg.solve(basis.T, worth)
        except np.linalg.LinAlgError:
            break
        column, gain, corner = _entering(dual, multiplier, seen)
        best = min(best, seen[-1][0]) if seen else best
        mixed = dual.base + float(worth @ amount)
        if gain <= 0 or best - mixed <= _CONVERGED * abs(best):
            break
        change = np.linalg.solve(basis, column)
        # The ratio test of the simplex method: the first amount to reach 0 leaves the basis.
        steps = np.divide(amount, change, out=np.full(number + 1, np.inf), where=change > 1e-12)
        leaving = int(steps.argmin())
        if not np.isfinite(steps[leaving]):
            break
        # Rounding can leave an amount just below 0, which would make the next step negative.
        amount = np.maximum(amount - steps[leaving] * change, 0)
        amount[leaving] = steps[leaving]
        basis[:, leaving], corners[leaving] = column, corner
        worth[leaving] = gain + float(multiplier @ column)
    # The dual is not monotone along the way: the last prices need not be the best.
    bound, price = min(seen, key=lambda each: each[0])
    # Slack and artificial columns have no prices; the mixture consists of selections alone.
    real = ~np.isnan(corners).any(axis=1) & (amount > 0)
    mixed = dual.base + float(worth @ amount)
    return Prices(price, bound, amount[real], corners[real]), mixed


def _entering(
    dual: Dual, multiplier: Floats, seen: list[tuple[float, Floats]]
) -> tuple[Floats, float, Floats]:
    """Return the column that improves the mixture most, by how much, and its prices.

    A resource with a negative multiplier is not worth filling: its slack enters, without any price.
    """
    number = len(dual.room)
    price = multiplier[:-1]
    # A negative price would pay for leaving room empty; slack of that resource enters in its place.
    if number and price.min() < -1e-14 * abs(multiplier).max():
        worst = int(price.argmin())
        return np.eye(number + 1)[worst], -float(price[worst]), np.full(number, np.nan)
    price = np.maximum(price, 0)
    bound, left = dual.at(price)
    seen.append((bound, price))
    column = np.append(dual.room - left, 1.0)
    gain = bound - dual.base - float(price @ dual.room) - float(multiplier[-1])
    return column, gain if gain > 1e-15 * abs(bound) else 0.0, price
