"""Menus of weights between neurons: what a neuron that is removed frees with it.

A group reads a neuron, writes to one, both or neither. If a neuron is removed, what writes to it
holds nothing and loses nothing, so that it is worth its most valuable entry; what reads it can
only take an entry that holds nothing. At prices p (R,) each group is worth ``A = max v - p . c``
over its entries while both of its neurons are there, ``D``, the most valuable entry that holds
nothing, while the one that it reads is not, and ``F = max v`` while the one that it writes to is
not. As ``A >= D``, the sum over groups is supermodular in which neurons are there, and its greatest
value is that of a smallest cut (Picard 1976): the bound at these prices is exact. The greatest
bound is found by cutting planes; which neurons are there is decided by branch and bound, the
entries of what is left by `solve_menu`.

For reading: Picard, Maximal closure of a graph and applications to combinatorial problems, 1976.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rfprune.errors import DataError
from rfprune.knapsack.instance import Bools, Floats, Ints, integers
from rfprune.knapsack.menus.instance import MenuInstance
from rfprune.knapsack.planes import next_prices
from rfprune.knapsack.prices import ROUNDING
from rfprune.knapsack.selection import MenuSelection

__all__ = ["Neurons", "choose_connected", "read_neurons"]

#: Cutting planes for one bound, and how near to the best one they come.
_PLANES, _NEAR = 30, 1e-7
#: Capacities of a cut are whole numbers whose sum is at most this.
_CAPACITY = 2**30
#: Branches at most, and choices of neurons whose entries are looked for at the root.
_BRANCHES, _LOOKED_AT = 400, 8
#: What a group is: both of its neurons are there, the one that it reads is not, the other is not.
_ALIVE, _READER, _LOST_WRITER = 0, 1, 2

Solve = Callable[[Floats, Floats, Floats, Ints], MenuSelection]


@dataclass(frozen=True)
class Neurons:
    """Which neuron each group reads and writes to, -1 for none, and how many there are."""

    reads: Ints
    writes: Ints
    count: int


def read_neurons(reads: Any, writes: Any, instance: MenuInstance) -> Neurons:
    """Check the caller's arrays.

    Raises:
        DataError: an array is misshapen, or a group that may lose its neuron has no entry that
            holds nothing.
    """
    size = instance.size
    parts = {}
    for name, given in (("reads", reads), ("writes", writes)):
        own = np.full(size, -1) if given is None else np.asarray(given)
        if own.shape != (size,) or (own < -1).any():
            raise DataError(
                f"{name} has shape {own.shape} and values from {own.min(initial=-1)}; allowed is "
                f"({size},): the number of a neuron, or -1 for none."
            )
        # All but the -1, which no other array of whole numbers may have.
        parts[name] = np.where(own == -1, -1, integers(name, np.where(own == -1, 0, own)))
    free = ~instance.columns.any(axis=0)
    bound = (parts["reads"] >= 0) | (parts["writes"] >= 0)
    has = np.logical_or.reduceat(free, instance.start[:-1]) if size else np.zeros(0, dtype=bool)
    lacking = np.flatnonzero(bound & ~has)
    if len(lacking):
        raise DataError(
            f"group {lacking[0]} reads or writes to a neuron, and each of its entries holds "
            f"something; allowed is a menu with an entry that holds nothing."
        )
    count = int(max(parts["reads"].max(initial=-1), parts["writes"].max(initial=-1))) + 1
    return Neurons(parts["reads"], parts["writes"], count)


def choose_connected(
    instance: MenuInstance, neurons: Neurons, max_gap: float, solve: Solve
) -> MenuSelection:
    """Return a choice, and which neurons are removed for it.

    Args:
        instance: the menus and the budgets.
        neurons: what each group reads and writes to.
        max_gap: stop at this relative gap.
        solve: chooses from menus (value, cost, budget, start) under the budgets.
    """
    problem = _Connected(instance, neurons)
    known: dict[bytes, _Choice] = {}

    def look(there: Bools) -> _Choice:
        key = there.tobytes()
        if key not in known:
            known[key] = problem.filled(there, solve)
        return known[key]

    root = problem.bounded({})
    for there in root.promising(_LOOKED_AT):
        look(there)
    # By the bound, then by age, as nodes have no order.
    waiting, closed, branches = [(-root.bound, 0, root)], -np.inf, 0
    while waiting and branches < _BRANCHES:
        best = max(choice.objective for choice in known.values())
        if -waiting[0][0] <= best + max_gap * abs(best):
            break
        node = heapq.heappop(waiting)[2]
        if len(node.fixed) == neurons.count:
            # Nothing is left to branch on: what the entries' own search proves.
            closed = max(closed, min(node.bound, look(node.there[0]).bound))
            continue
        for value in (True, False):
            branches += 1
            child = problem.bounded({**node.fixed, node.undecided(): value})
            for there in child.promising(2):
                look(there)
            heapq.heappush(waiting, (-child.bound, branches, child))
    found = max(known.values(), key=lambda choice: choice.objective)
    bound = max(found.objective, closed, *(-each[0] for each in waiting[:1]))
    return MenuSelection(
        choice=found.choice,
        objective=found.objective,
        bound=bound,
        prices=root.prices,
        status="optimal" if bound <= found.objective * (1 + ROUNDING) else "gap",
        removed=~found.there,
    )


@dataclass(frozen=True)
class _Choice:
    there: Bools
    choice: Ints
    objective: float
    bound: float


@dataclass(frozen=True)
class _Node:
    """Neurons that are decided, and the best bound for the others.

    Attributes:
        fixed: which neurons are decided, and how.
        bound: no choice with these is worth more.
        prices: (R,) of the bound.
        there: (K, N) which neurons are there in the smallest cut at each of the prices tried, best
            bound first.
    """

    fixed: dict[int, bool]
    bound: float
    prices: Floats
    there: Bools

    def promising(self, most: int) -> list[Bools]:
        """Return so many of the different rows of `there`, best bound first."""
        return list({row.tobytes(): row for row in self.there}.values())[:most]

    def undecided(self) -> int:
        """Return the neuron that the prices disagree on most."""
        share = self.there.mean(axis=0)
        open_ = [n for n in range(self.there.shape[1]) if n not in self.fixed]
        return min(open_, key=lambda n: abs(share[n] - 0.5))


class _Connected:
    """The values of a problem's groups, with and without their neurons."""

    def __init__(self, instance: MenuInstance, neurons: Neurons) -> None:
        self.instance, self.neurons = instance, neurons
        start = instance.start[:-1]
        free = ~instance.columns.any(axis=0)
        self.whole = np.maximum.reduceat(instance.value, start)
        dropped = np.where(free, instance.value, -1.0)
        self.dropped = np.maximum.reduceat(dropped, start)
        # The first of the free entries that are worth most.
        group = np.repeat(np.arange(instance.size), np.diff(instance.start))
        is_it = np.flatnonzero(free & (dropped == self.dropped[group]))
        self.free = np.full(instance.size, -1)
        self.free[group[is_it[::-1]]] = is_it[::-1]
        self.group = group
        self.limited = np.flatnonzero(np.isfinite(instance.budget))

    def bounded(self, fixed: dict[int, bool]) -> _Node:
        """Return the best bound where some neurons are decided."""
        budget = self.instance.budget[self.limited]
        prices, bounds, slopes, there = [np.zeros(len(budget))], [], [], []
        while True:
            total, held, now = self._at(prices[-1], fixed)
            # As a bound that falls with the price of what is left over, in the form of a maximum.
            bounds.append(-(total + float(prices[-1] @ budget)))
            slopes.append(held - budget)
            there.append(now)
            if len(bounds) == 1 and (held <= budget).all():
                break
            following, limit = next_prices(prices, bounds, slopes)
            near = _NEAR * max(abs(max(bounds)), 1e-300)
            if len(bounds) >= _PLANES or limit <= max(bounds) + near:
                break
            prices.append(following)
        order = np.argsort(-np.array(bounds), kind="stable")
        every = np.zeros(len(self.instance.budget))
        every[self.limited] = prices[order[0]]
        return _Node(fixed, -bounds[order[0]], every, np.array(there)[order])

    def _at(self, prices: Floats, fixed: dict[int, bool]) -> tuple[float, Floats, Bools]:
        """Return the greatest worth at prices, what it holds, and (N,) which neurons are there."""
        instance = self.instance
        worth = instance.value - instance.cost[:, self.limited] @ prices
        alive = np.maximum.reduceat(worth, instance.start[:-1])
        there, total = self._cut(alive, fixed)
        # One more sum in floats than the cut knows of.
        total += ROUNDING * abs(total)
        taken = np.flatnonzero(worth == alive[self.group])
        entry = np.empty(instance.size, dtype=np.int64)
        entry[self.group[taken[::-1]]] = taken[::-1]
        held = instance.cost[entry[self._states(there) == _ALIVE]][:, self.limited].sum(axis=0)
        return total, held, there

    def _states(self, there: Bools) -> Ints:
        """Return (G,) whether each group is alive, reads what is removed, or writes to it."""
        reads, writes = self.neurons.reads, self.neurons.writes
        padded = np.append(there, True)  # number -1
        return np.where(~padded[writes], _LOST_WRITER, np.where(padded[reads], _ALIVE, _READER))

    def _cut(self, alive: Floats, fixed: dict[int, bool]) -> tuple[Bools, float]:
        """Return which neurons are there where the sum is greatest, and a bound on the sum.

        ``F - f`` is, with y_w and y_r one where a neuron is there,
        ``y_w ((F - A) + (A - D) (1 - y_r))``: a cut of edges.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        count, reads, writes = self.neurons.count, self.neurons.reads, self.neurons.writes
        source, sink = count, count + 1
        lost, gained = self.whole - alive, alive - self.dropped
        # Whoever writes nowhere is always there to read.
        tails = [np.where(writes >= 0, writes, source), np.where(writes >= 0, writes, source)]
        heads = [np.full(len(reads), sink), np.where(reads >= 0, reads, source)]
        tail, head = np.concatenate(tails), np.concatenate(heads)
        capacity = np.concatenate([lost, np.maximum(gained, 0.0)])
        sure = float(capacity[(tail == source) & (head == sink)].sum())
        real = (tail != head) & ~((tail == source) & (head == sink)) & (head != source)
        tail, head, capacity = tail[real], head[real], capacity[real]
        scale = (_CAPACITY - 1) / max(float(capacity.sum()), 1e-300)
        # Rounded down, so that the flow is a bound whatever it loses.
        whole = np.floor(capacity * scale).astype(np.int64)
        ties = [(source, n) if value else (n, sink) for n, value in fixed.items()]
        for tied in ties:
            tail, head = np.append(tail, tied[0]), np.append(head, tied[1])
            whole = np.append(whole, _CAPACITY)
        edges = coo_array((whole, (tail, head)), shape=(count + 2, count + 2)).tocsr()
        edges.sum_duplicates()
        edges.data = np.minimum(edges.data, 2 * _CAPACITY - 1).astype(np.int32)
        flow = maximum_flow(edges.astype(np.int32), source, sink)
        rest = (edges - flow.flow).tocsr()
        rest.data = np.where(rest.data > 0, rest.data, 0)
        rest.eliminate_zeros()
        reached = breadth_first_order(rest, source, return_predecessors=False)
        there = np.zeros(count + 2, dtype=bool)
        there[reached] = True
        return there[:count], float(self.whole.sum()) - sure - flow.flow_value / scale

    def filled(self, there: Bools, solve: Solve) -> _Choice:
        """Return the best entries where these neurons are there."""
        instance, states = self.instance, self._states(there)
        open_ = np.flatnonzero(states == _ALIVE)
        sizes = np.diff(instance.start)[open_]
        entries = np.flatnonzero((states == _ALIVE)[self.group])
        choice = self.free.copy()
        start = np.concatenate([[0], np.cumsum(sizes)])
        value, cost = instance.value[entries], instance.cost[entries]
        solved = solve(value, cost, instance.budget, start)
        choice[open_] = entries[solved.choice]
        sure = float(self.whole[states == _LOST_WRITER].sum())
        sure += float(self.dropped[states == _READER].sum())
        # Sums in another order: what they differ by is in the bound.
        bound = (solved.bound + sure) * (1 + ROUNDING)
        return _Choice(there, choice, solved.objective + sure, bound)
