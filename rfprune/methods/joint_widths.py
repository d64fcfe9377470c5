"""A value for every weight and a width for every type, under several budgets at once, with a bound.

A place is where numbers are rounded to one type: what a layer's activations, or the network's
inputs, have in common. A layer's weights are on one grid, which decides how wide its sums are. At
prices p (R,) on one unit of each resource the problem splits by place: for each width b, every
layer l that reads it takes its own best grid g and every weight of it its own best entry, and the
best width is the least of ::

    loss_m(b) + p . own_m(b)
        + sum_{l reads m} min_g sum_{w in l} min_e  loss_w(g, e) + p . cost_w(g, e, b)

The sum over places, less ``p . budget``, bounds the loss of every choice of weights, grids and
widths together, for every p >= 0 (the Lagrangian dual). It is concave in p; its greatest value is
found with the cutting planes that its own subgradients are (Kelley 1960). The choice keeps the
widths and grids found there and takes the weights by one `solve_menu` under all budgets.
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
#: Types that are tried next to those of the best prices, in rounds over all places and layers.
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
    """The weights of one layer: G grids, K entries, N weights, C kinds of values.

    Attributes:
        place: number of the place that the layer reads.
        loss: (G, K, N) what each entry of each weight loses on each grid, the coarsest first; entry
            0 is zero.
        kind: (G, K, N) kind of its value.
        cost: (G, B, C, R) what a value of each kind costs where what it reads has each of its
            widths.
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
        grid: (L,) the grid of each layer.
        cost: (R,) of all of it, at most the budgets.
        loss: of all of it.
        bound: no choice of weights, grids and widths within the budgets loses less.
        prices: (R,) loss that one unit of each resource is worth.
    """

    entry: list[IntArray]
    width: IntArray
    grid: IntArray
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
    """Choose an entry for every weight, a grid for every layer and a width for every place.

    Args:
        places: M of them.
        layers: the weights that read them.
        budget: (R,), inf = no limit.
        near: (R,) prices to look at first, those of a choice before.
        quick: few prices, and no types beside those that they name.
        names: (R,) of the resources, for messages.

    Raises:
        BudgetError: the narrowest types alone cost more.
    """
    problem = _Problem(places, layers, budget)
    priced = _best_prices(problem, near, 12 if quick else _PLANES)
    bound = max(each.bound for each in priced)
    found: _Filled | None = None
    tried: set[tuple[int, ...]] = set()
    # The nearer the bound, the better the types that the prices name.
    for each in sorted(priced, key=lambda p: -p.bound)[: 2 if quick else 4]:
        found = _better(found, problem, each.types, tried)
    found = _better(found, problem, problem.narrowest(), tried) if found is None else found
    if found is None:
        least = problem.own(problem.narrowest()[: len(places)])
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
        width=found.types[: len(places)],
        grid=found.types[len(places) :],
        cost=found.cost,
        loss=found.loss,
        bound=bound,
        prices=problem.spread(best.prices),
    )


@dataclass(frozen=True)
class _Filled:
    """A choice within the budgets; `types` are the widths of all places, then all grids."""

    types: IntArray
    entry: list[IntArray]
    cost: FloatArray
    loss: float


@dataclass(frozen=True)
class _Priced:
    """The best choice at prices: its types, its cost, and the bound that it proves."""

    prices: FloatArray
    types: IntArray
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
        """Return (M + L,) the widths that cost least by themselves, and the coarsest grids."""
        widths = [int(each.own.sum(axis=1).argmin()) for each in self.places]
        return np.array(widths + [0] * len(self.layers))

    def sizes(self) -> list[int]:
        """Return (M + L,) how many widths each place and grids each layer has."""
        return [len(p.rounding) for p in self.places] + [len(each.loss) for each in self.layers]

    def own(self, width: IntArray) -> FloatArray:
        """Return what places of these widths cost by themselves, of what is limited."""
        rows = [each.own[w] for each, w in zip(self.places, width, strict=True)]
        return np.asarray(np.sum(rows, axis=0))[self.limited]

    def at(self, prices: FloatArray) -> _Priced:
        """Return the best choice at prices of what is limited."""
        every = self.spread(prices)
        worth = [each.rounding + each.own @ every for each in self.places]
        taken = []
        for layer in self.layers:
            least, held = _at_types(layer, layer.cost @ every, self.limited)
            # Whatever the width of what it reads, each layer has its own best grid.
            grid = least.argmin(axis=0)
            widths = np.arange(least.shape[1])
            worth[layer.place] = worth[layer.place] + least[grid, widths]
            taken.append((grid, held[grid, widths]))
        width = np.array([int(each.argmin()) for each in worth])
        cost, grids = self.own(width), []
        for layer, (grid, held) in zip(self.layers, taken, strict=True):
            cost = cost + held[width[layer.place]]
            grids.append(int(grid[width[layer.place]]))
        total = sum(float(each[w]) for each, w in zip(worth, width, strict=True))
        types = np.concatenate([width, np.array(grids, dtype=width.dtype)])
        return _Priced(prices, types, cost, total - float(prices @ self.budget))


def _at_types(
    layer: Readers, priced: FloatArray, limited: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return (G, B) the least loss and price of all weights, and (G, B, R) what they hold then."""
    least = np.empty(priced.shape[:2])
    held = np.empty((*least.shape, len(limited)))
    weights = np.arange(layer.loss.shape[2])
    for grid, width in np.ndindex(least.shape):
        price, kind = priced[grid, width], layer.kind[grid]
        worth = layer.loss[grid] + price[kind]
        entry = worth.argmin(axis=0)
        least[grid, width] = worth[entry, weights].sum()
        kinds = np.bincount(kind[entry, weights], minlength=len(price))
        held[grid, width] = kinds @ layer.cost[grid, width][:, limited]
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
    found: _Filled | None, problem: _Problem, types: IntArray, tried: set[tuple[int, ...]]
) -> _Filled | None:
    """Return the better one of a choice and that of other types."""
    key = tuple(types.tolist())
    if key in tried:
        return found
    tried.add(key)
    other = _filled(problem, types)
    if other is None or (found is not None and found.loss <= other.loss):
        return found
    return other


def _beside(
    found: _Filled, problem: _Problem, tried: set[tuple[int, ...]], bound: float
) -> _Filled:
    """Return a choice in which no type gains from being a step narrower or wider."""
    for _ in range(_ROUNDS):
        before = found
        for number, size in enumerate(problem.sizes()):
            for step in (-1, 1):
                if found.loss - bound <= 1e-3 * found.loss:
                    return found
                types = found.types.copy()
                types[number] += step
                if 0 <= types[number] < size:
                    found = _better(found, problem, types, tried) or found
        if found is before:
            break
    return found


def _filled(problem: _Problem, types: IntArray) -> _Filled | None:
    """Return the entries that lose least with these types, or None if nothing fits."""
    from rfprune.knapsack import solve_menu

    width, grids = types[: len(problem.places)], types[len(problem.places) :]
    budget = problem.budget - problem.own(width)
    if (budget < 0).any():
        return None
    losses, costs, sizes = [], [], []
    for layer, grid in zip(problem.layers, grids, strict=True):
        losses.append(layer.loss[grid].T.ravel())
        costs.append(layer.cost[grid, width[layer.place]][layer.kind[grid].T.ravel()])
        sizes.append(np.full(layer.loss.shape[2], layer.loss.shape[1]))
    loss, cost, size = (np.concatenate(each) for each in (losses, costs, sizes))
    start = np.concatenate([[0], np.cumsum(size)])
    # An entry is worth what it loses less than the worst of its menu.
    value = np.repeat(np.maximum.reduceat(loss, start[:-1]), size) - loss
    try:
        solved = solve_menu(value, cost[:, problem.limited], budget, start, max_gap=1e-4)
    except BudgetError:
        return None
    ends = np.cumsum([len(each) for each in sizes])[:-1]
    rounding = sum(float(p.rounding[w]) for p, w in zip(problem.places, width, strict=True))
    own = np.sum([p.own[w] for p, w in zip(problem.places, width, strict=True)], axis=0)
    return _Filled(
        types=types,
        entry=np.split(solved.choice - start[:-1], ends),
        cost=own + cost[solved.choice].sum(axis=0),
        loss=rounding + float(loss[solved.choice].sum()),
    )
