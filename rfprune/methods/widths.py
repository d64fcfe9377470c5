"""A value for every weight and a width for every activation under one budget, with a bound.

A weight that is a constant costs adders: its signed digits times the bits of what it reads. An
activation's bits cost what its readers' digits make of them. With a price p on one unit of cost the
problem splits by neuron: for each width b of neuron i, every weight that reads it takes its
own best entry, and the best width is then the least of ::

    loss_i(b) + p own b  +  sum_{w reads i} min_e  loss_w(e) + p digits_w(e) (b + overhead)

The sum over neurons, less p times the budget, bounds the loss of every choice of weights and widths
together, for every p >= 0 (the Lagrangian dual); the greatest of these bounds is found by
bisection. The choice keeps the widths found there and takes the weights by `solve_menu` under what
the budget leaves, so that it is within it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.errors import BudgetError

__all__ = ["LayerMenus", "WidthChoice", "choose_widths"]

_BISECTIONS = 60


@dataclass(frozen=True)
class LayerMenus:
    """One layer of weights and the activations that it reads: K entries, B widths.

    Attributes:
        loss: (K, n_out, n_in) what each entry of each weight loses; entry 0 is zero.
        digits: (K, n_out, n_in) its signed digits, rising with the entry.
        bits: (B, n_in) bits of each activation at each width, > 0.
        rounding: (B, n_in) what rounding the activation so loses.
        own: what one bit of an activation costs by itself.
    """

    loss: FloatArray
    digits: FloatArray
    bits: FloatArray
    rounding: FloatArray
    own: float


@dataclass(frozen=True)
class WidthChoice:
    """What was chosen, in all layers.

    Attributes:
        entry: per layer (n_out, n_in) the entry of each weight.
        width: per layer (n_in,) the width of each activation.
        cost: of all of it, at most the budget.
        loss: of all of it.
        bound: no choice of weights and widths within the budget loses less.
        price: loss that one unit of cost is worth.
    """

    entry: list[IntArray]
    width: list[IntArray]
    cost: float
    loss: float
    bound: float
    price: float

    @property
    def gap(self) -> float:
        """``(loss - bound) / loss``: by which part the choice could lose less at most."""
        return max(0.0, self.loss - self.bound) / max(self.loss, float(np.finfo(float).tiny))


def choose_widths(
    layers: Sequence[LayerMenus],
    budget: float,
    overhead: float = 1.0,
    *,
    near: float | None = None,
    slack: float = 0.0,
) -> WidthChoice:
    """Choose an entry for every weight and a width for every activation.

    Args:
        layers: their menus.
        budget: of digits times bits read, plus the bits' own cost.
        overhead: bits that a digit costs beyond those that it reads.
        near: a price to look around first, that of a choice before; None = none is known.
        slack: part of the budget that may be left over; 0 asks for the weights that fill it best.

    Raises:
        BudgetError: the narrowest activations alone cost more.
    """
    least = sum(float((each.own * each.bits.min(axis=0)).sum()) for each in layers)
    # Narrower than the narrowest is not in the menu, whatever the weights are.
    if least > budget:
        raise BudgetError(
            f"the budget is {budget:g}, but the narrowest activations alone cost {least:g}."
        )
    flat = _Flat(layers, overhead)
    # At the price 0 everything is as wide as it likes; if that fits, it is the optimum.
    tried = [_Priced(flat, 0.0)]
    if tried[0].cost > budget:
        tried += _bracket(flat, budget, near or 1e-6)
        for turn in range(_BISECTIONS):
            inside = min((t for t in tried if t.cost <= budget), key=lambda t: t.price)
            outside = max((t for t in tried if t.cost > budget), key=lambda t: t.price)
            close = inside.price <= outside.price * (1 + 1e-6)
            if close or inside.cost >= budget * (1 - max(slack, 1e-9)):
                break
            # Prices are of any size: go part of the way in their logarithm, but for the price 0.
            low = outside.price or inside.price / 16
            part = _part(outside.cost, inside.cost, budget * (1 - slack / 2)) if turn % 3 else 0.5
            price = low * (inside.price / low) ** part
            tried.append(_Priced(flat, float(price)))
    inside = min((t for t in tried if t.cost <= budget), key=lambda t: t.price)
    # Every price gives a valid bound; the greatest is the closest.
    bound = max(each.total - each.price * budget for each in tried)
    return _settled(layers, inside, budget, overhead, bound, slack)


def _part(above: float, below: float, aim: float) -> float:
    """Return which part of the way between two prices leads to a cost, if costs fall by a power."""
    if min(below, aim) <= 0 or above <= below:
        return 0.5
    return float(np.clip(np.log(above / aim) / np.log(above / below), 0.02, 0.98))


def _bracket(flat: _Flat, budget: float, near: float) -> list[_Priced]:
    """Return choices around a price, the last one within the budget or the last one beyond it."""
    tried = [_Priced(flat, near)]
    factor = 1.1 if tried[0].cost > budget else 1 / 1.1
    for _ in range(400):
        if (tried[-1].cost > budget) != (tried[0].cost > budget):
            break
        tried.append(_Priced(flat, tried[-1].price * factor))
        # Squared, since the price may be off by orders of magnitude at first.
        factor *= factor
    return tried


class _Flat:
    """All weights side by side, those that read the same activation together.

    K entries, B widths, N weights, M activations.

    Attributes:
        loss: (K, N) of the entries.
        cost: (K, B, N) of the entries, where what they read has each of its widths.
        rounding: (B, M) what each width of an activation loses.
        own: (B, M) what it costs.
        first: (M,) the first weight that reads each activation.
        reads: (N,) which activation each weight reads.
        shapes: (n_out, n_in) of each layer.
    """

    def __init__(self, layers: Sequence[LayerMenus], overhead: float) -> None:
        """Put the menus of all layers into one array each."""
        self.shapes = [each.loss.shape[1:] for each in layers]
        self.loss = np.concatenate([_by_input(each.loss) for each in layers], axis=1)
        digits = np.concatenate([_by_input(each.digits) for each in layers], axis=1)
        bits = np.concatenate([each.bits for each in layers], axis=1)
        readers = np.concatenate([np.full(n_in, n_out) for n_out, n_in in self.shapes])
        self.first = np.cumsum(readers) - readers
        self.reads = np.repeat(np.arange(len(readers)), readers)
        self.cost = digits[:, None] * (bits[:, self.reads] + overhead)
        self.rounding = np.concatenate([each.rounding for each in layers], axis=1)
        self.own = np.concatenate([each.own * each.bits for each in layers], axis=1)

    def widths(self, width: IntArray) -> list[IntArray]:
        """Return (M,) as (n_in,) per layer."""
        return np.split(width, np.cumsum([n_in for _, n_in in self.shapes])[:-1])

    def entries(self, entry: IntArray) -> list[IntArray]:
        """Return (N,) as (n_out, n_in) per layer."""
        parts = np.split(entry, np.cumsum([n_out * n_in for n_out, n_in in self.shapes])[:-1])
        both = zip(parts, self.shapes, strict=True)
        return [part.reshape(n_in, n_out).T for part, (n_out, n_in) in both]


class _Priced:
    """The best choice at one price."""

    def __init__(self, flat: _Flat, price: float) -> None:
        """Take the best entries at every width, then the best widths."""
        self.price = price
        # (B, N): in place, since these passes are most of a choice.
        least = price * flat.cost[0]
        least += flat.loss[0]
        priced = np.empty_like(least)
        for loss, cost in zip(flat.loss[1:], flat.cost[1:], strict=True):
            np.multiply(cost, price, out=priced)
            priced += loss
            np.minimum(least, priced, out=least)
        worth = np.add.reduceat(least, flat.first, axis=1) + flat.rounding + price * flat.own
        chosen = worth.argmin(axis=0)
        inputs, weights = np.arange(len(chosen)), np.arange(len(flat.reads))
        cost = flat.cost[:, chosen[flat.reads], weights]
        entry = (flat.loss + price * cost).argmin(axis=0)
        self.total = float(worth[chosen, inputs].sum())
        self.cost = float(cost[entry, weights].sum() + flat.own[chosen, inputs].sum())
        self.width, self.entry = flat.widths(chosen), flat.entries(entry)


def _settled(
    layers: Sequence[LayerMenus],
    priced: _Priced,
    budget: float,
    overhead: float,
    bound: float,
    slack: float,
) -> WidthChoice:
    """Keep the widths; take the weights as priced, or choose them again under the whole budget."""
    both = list(zip(layers, priced.width, strict=True))
    bits = [np.take_along_axis(each.bits, width[None], 0)[0] for each, width in both]
    own = sum(float((each.own * b).sum()) for each, b in zip(layers, bits, strict=True))
    costs = [each.digits * (b + overhead) for each, b in zip(layers, bits, strict=True)]
    # Without a price nothing was given up, and within the slack it is good enough.
    enough = slack or priced.price == 0
    entry = priced.entry if enough else _fill(layers, costs, budget - own)
    rounding = sum(
        float(np.take_along_axis(each.rounding, width[None], 0).sum()) for each, width in both
    )

    def total(parts: Sequence[FloatArray]) -> float:
        pairs = zip(parts, entry, strict=True)
        return sum(float(np.take_along_axis(part, e[None], 0).sum()) for part, e in pairs)

    return WidthChoice(
        entry=entry,
        width=priced.width,
        cost=own + total(costs),
        loss=rounding + total([each.loss for each in layers]),
        bound=bound,
        price=priced.price,
    )


def _fill(
    layers: Sequence[LayerMenus], costs: Sequence[FloatArray], budget: float
) -> list[IntArray]:
    """Return per layer the entries that lose least within a budget of their costs."""
    from rfprune.knapsack import solve_menu

    loss = np.concatenate([_by_weight(each.loss) for each in layers])
    cost = np.concatenate([_by_weight(each) for each in costs])
    # An entry is worth what it loses less than the worst of its menu.
    value = loss.max(axis=1, keepdims=True) - loss
    start = np.arange(0, loss.size + 1, loss.shape[1])
    found = solve_menu(value.ravel(), cost.ravel(), budget, start, max_gap=1e-4)
    place = found.choice - start[:-1]
    sizes = [each.loss[0].size for each in layers]
    parts = np.split(place, np.cumsum(sizes)[:-1])
    return [p.reshape(each.loss.shape[1:]) for p, each in zip(parts, layers, strict=True)]


def _by_weight(each: npt.NDArray[np.float64]) -> FloatArray:
    """Return (n_out * n_in, K) of (K, n_out, n_in)."""
    return np.asarray(each.reshape(len(each), -1).T)


def _by_input(each: npt.NDArray[np.float64]) -> FloatArray:
    """Return (K, n_in * n_out) of (K, n_out, n_in)."""
    return np.asarray(each.transpose(0, 2, 1).reshape(len(each), -1))
