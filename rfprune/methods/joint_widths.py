"""A value for every weight and a width for every type, under several budgets at once, with a bound.

A place is where numbers are rounded to one type: what a layer's activations, or the network's
inputs, have in common. At prices p (R,) on one unit of each resource the problem splits by
place: for each width b, every weight that reads it takes its own best entry, and the best width is
the least of ::

    loss_m(b) + p . own_m(b)  +  sum_{w reads m} min_e  loss_w(e) + p . cost_w(e, b)

The sum over places, less ``p . budget``, bounds the loss of every choice of weights and widths
together, for every p >= 0 (the Lagrangian dual). It is concave in p; its greatest value is found
with the cutting planes that its own subgradients are (Kelley 1960). The choice keeps the widths
found there and takes the weights by one `solve_menu` under all budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.errors import BudgetError

__all__ = ["JointChoice", "Place", "Readers", "choose_jointly"]

#: Cutting planes at most, and how near the bound they come to the greatest one.
_PLANES, _NEAR = 40, 1e-4
#: Widths that are tried next to those of the best prices, in rounds over all places.
_ROUNDS = 2


@dataclass(frozen=True)
class Place:
    """Numbers of one type: B widths, R resources.

    Attributes:
        rounding: (B,) what rounding them so loses.
        own: (B, R) what they cost by themselves.
    """

    rounding: FloatArray
    own: FloatArray


@dataclass(frozen=True)
class Readers:
    """The weights of one layer: K entries, N weights, C kinds of values.

    Attributes:
        place: number of the place that the layer reads.
        loss: (K, N) what each entry of each weight loses; entry 0 is zero.
        kind: (K, N) kind of its value.
        cost: (B, C, R) what a value of each kind costs where what it reads has each of its widths.
    """

    place: int
    loss: FloatArray
    kind: IntArray
    cost: FloatArray


@dataclass(frozen=True)
class JointChoice:
    """What was chosen.

    Attributes:
        entry: per layer (N,) the entry of each weight.
        width: (M,) the width of each place.
        cost: (R,) of all of it, at most the budgets.
        loss: of all of it.
        bound: no choice of weights and widths within the budgets loses less.
        prices: (R,) loss that one unit of each resource is worth.
    """

    entry: list[IntArray]
    width: IntArray
    cost: FloatArray
    loss: float
    bound: float
    prices: FloatArray

    @property
    def gap(self) -> float:
        """``(loss - bound) / loss``: by which part the choice could lose less at most."""
        return max(0.0, self.loss - self.bound) / max(self.loss, float(np.finfo(float).tiny))


def choose_jointly(
    places: Sequence[Place],
    layers: Sequence[Readers],
    budget: FloatArray,
    *,
    near: FloatArray | None = None,
    quick: bool = False,
    names: Sequence[str] = (),
) -> JointChoice:
    """Choose an entry for every weight and a width for every place.

    Args:
        places: M of them.
        layers: the weights that read them.
        budget: (R,), inf = no limit.
        near: (R,) prices to look at first, those of a choice before.
        quick: few prices, and no widths beside those that they name.
        names: (R,) of the resources, for messages.

    Raises:
        BudgetError: the narrowest types alone cost more.
    """
    problem = _Problem(places, layers, budget)
    priced = _best_prices(problem, near, 12 if quick else _PLANES)
    bound = max(each.bound for each in priced)
    found: _Filled | None = None
    tried: set[tuple[int, ...]] = set()
    # The nearer the bound, the better the widths that the prices name.
    for each in sorted(priced, key=lambda p: -p.bound)[: 2 if quick else 4]:
        found = _better(found, problem, each.width, tried)
    found = _better(found, problem, problem.narrowest(), tried) if found is None else found
    if found is None:
        least = problem.own(problem.narrowest())
        over = int(np.flatnonzero(least > problem.budget)[0])
        number = int(problem.limited[over])
        name = names[number] if names else f"resource {number}"
        raise BudgetError(
            f"a budget of {problem.budget[over]:.6g} {name} cannot be met: the narrowest types "
            f"alone cost {least[over]:.6g}."
        )
    if not quick:
        found = _beside(found, problem, tried, bound)
    best = max(priced, key=lambda p: p.bound)
    return JointChoice(
        entry=found.entry,
        width=found.width,
        cost=found.cost,
        loss=found.loss,
        bound=bound,
        prices=problem.spread(best.prices),
    )


@dataclass(frozen=True)
class _Filled:
    width: IntArray
    entry: list[IntArray]
    cost: FloatArray
    loss: float


@dataclass(frozen=True)
class _Priced:
    """The best choice at prices: its widths, its cost, and the bound that it proves."""

    prices: FloatArray
    width: IntArray
    cost: FloatArray
    bound: float


class _Problem:
    """The menus, and the resources that have a limit."""

    def __init__(
        self, places: Sequence[Place], layers: Sequence[Readers], budget: FloatArray
    ) -> None:
        self.places, self.layers = places, layers
        self.limited = np.flatnonzero(np.isfinite(budget))
        self.budget = budget[self.limited]
        self.everything = budget

    def spread(self, prices: FloatArray) -> FloatArray:
        """Return prices of the limited resources as prices of all."""
        found = np.zeros(len(self.everything))
        found[self.limited] = prices
        return found

    def narrowest(self) -> IntArray:
        """Return (M,) the widths that cost least by themselves."""
        return np.array([int(each.own.sum(axis=1).argmin()) for each in self.places])

    def own(self, width: IntArray) -> FloatArray:
        """Return what places of these widths cost by themselves, of what is limited."""
        rows = [each.own[w] for each, w in zip(self.places, width, strict=True)]
        return np.asarray(np.sum(rows, axis=0))[self.limited]

    def at(self, prices: FloatArray) -> _Priced:
        """Return the best choice at prices of what is limited."""
        every = self.spread(prices)
        worth = [each.rounding + each.own @ every for each in self.places]
        taken: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in self.places]
        for layer in self.layers:
            least, held = _at_widths(layer, layer.cost @ every, self.limited)
            worth[layer.place] = worth[layer.place] + least
            taken[layer.place].append((least, held))
        width = np.array([int(each.argmin()) for each in worth])
        cost = self.own(width)
        for place, chosen in enumerate(width):
            cost = cost + sum(held[chosen] for _, held in taken[place])
        total = sum(float(each[w]) for each, w in zip(worth, width, strict=True))
        return _Priced(prices, width, cost, total - float(prices @ self.budget))


def _at_widths(
    layer: Readers, priced: FloatArray, limited: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return (B,) the least loss and price of all weights, and (B, R) what they hold then."""
    least, held = np.empty(len(priced)), np.empty((len(priced), len(limited)))
    weights = np.arange(layer.loss.shape[1])
    for width, price in enumerate(priced):
        worth = layer.loss + price[layer.kind]
        entry = worth.argmin(axis=0)
        least[width] = worth[entry, weights].sum()
        kinds = np.bincount(layer.kind[entry, weights], minlength=len(price))
        held[width] = kinds @ layer.cost[width][:, limited]
    return least, held


def _best_prices(problem: _Problem, near: FloatArray | None, planes: int) -> list[_Priced]:
    """Return choices at prices among which are those of the greatest bound, or near to it."""
    size = len(problem.limited)
    # At the prices 0 everything is as wide as it likes; if that fits, it is the optimum.
    tried = [problem.at(np.zeros(size))]
    if (tried[0].cost <= problem.budget).all():
        return tried
    if near is not None and near[problem.limited].any():
        tried.append(problem.at(near[problem.limited]))
    while len(tried) < planes:
        prices, above = _next_prices(problem, tried)
        best = max(each.bound for each in tried)
        if above <= best + _NEAR * max(abs(best), abs(above)):
            break
        tried.append(problem.at(prices))
    return tried


def _next_prices(problem: _Problem, tried: list[_Priced]) -> tuple[FloatArray, float]:
    """Return the prices at which all planes allow most, and how much that is."""
    from rfprune.knapsack.planes import next_prices

    slopes = [each.cost - problem.budget for each in tried]
    return next_prices([each.prices for each in tried], [each.bound for each in tried], slopes)


def _better(
    found: _Filled | None, problem: _Problem, width: IntArray, tried: set[tuple[int, ...]]
) -> _Filled | None:
    """Return the better one of a choice and that of other widths."""
    key = tuple(width.tolist())
    if key in tried:
        return found
    tried.add(key)
    other = _filled(problem, width)
    if other is None or (found is not None and found.loss <= other.loss):
        return found
    return other


def _beside(
    found: _Filled, problem: _Problem, tried: set[tuple[int, ...]], bound: float
) -> _Filled:
    """Return a choice in which no place gains from being a step narrower or wider."""
    for _ in range(_ROUNDS):
        before = found
        for place, menu in enumerate(problem.places):
            for step in (-1, 1):
                if found.loss - bound <= 1e-3 * found.loss:
                    return found
                width = found.width.copy()
                width[place] += step
                if 0 <= width[place] < len(menu.rounding):
                    found = _better(found, problem, width, tried) or found
        if found is before:
            break
    return found


def _filled(problem: _Problem, width: IntArray) -> _Filled | None:
    """Return the entries that lose least at these widths, or None if nothing fits."""
    from rfprune.knapsack import solve_menu

    budget = problem.budget - problem.own(width)
    tables = [layer.cost[width[layer.place]] for layer in problem.layers]
    entries = [len(layer.loss) for layer in problem.layers]
    loss = np.concatenate([layer.loss.T.ravel() for layer in problem.layers])
    cost = np.concatenate(
        [t[layer.kind.T.ravel()] for t, layer in zip(tables, problem.layers, strict=True)]
    )
    sizes = np.concatenate(
        [np.full(layer.loss.shape[1], k) for layer, k in zip(problem.layers, entries, strict=True)]
    )
    start = np.concatenate([[0], np.cumsum(sizes)])
    if (budget < 0).any():
        return None
    # An entry is worth what it loses less than the worst of its menu.
    value = np.repeat(np.maximum.reduceat(loss, start[:-1]), sizes) - loss
    try:
        solved = solve_menu(value, cost[:, problem.limited], budget, start, max_gap=1e-4)
    except BudgetError:
        return None
    places = np.split(
        solved.choice - start[:-1], np.cumsum([layer.loss.shape[1] for layer in problem.layers])
    )[:-1]
    rounding = sum(float(p.rounding[w]) for p, w in zip(problem.places, width, strict=True))
    own = np.sum([p.own[w] for p, w in zip(problem.places, width, strict=True)], axis=0)
    return _Filled(
        width=width,
        entry=places,
        cost=own + cost[solved.choice].sum(axis=0),
        loss=rounding + float(loss[solved.choice].sum()),
    )
