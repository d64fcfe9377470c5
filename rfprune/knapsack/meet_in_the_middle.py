"""Exact search over the options of a core: two halves, enumerated and then matched.

A selection differs from the base by one option of every cost class. Against the bound it loses the
losses of these options, and the price of the room that it leaves empty::

    loss = sum_k loss_k + price . (left - sum_k shift_k)

All selections that lose no more than a given reach are looked at. They consist of two halves, each
a choice for half of the classes that loses no more than the reach by itself; and since room that is
left empty has its price, the halves must fill it almost exactly: for every choice of one half,
those of the other lie in a box of side ``reach / price``. They are found through a grid of such
boxes. With 10^5 choices in each half, 10^10 selections are covered in a fraction of a second (meet
in the middle: Horowitz and Sahni, Computing partitions with applications to the knapsack problem,
1974).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rfprune.knapsack.instance import Floats, Ints

__all__ = ["Options", "SearchProblem", "SearchResult", "search"]

#: Choices in one half, products on the way to them, and pairs of halves that are looked at.
_MOST_CHOICES, _MOST_PRODUCTS, _MOST_PAIRS = 1 << 17, 1 << 24, 1 << 22
#: Up to this many choices it costs more to look for repetitions than to carry them along.
_FEW = 512
#: Resources that span the grid; the others are looked at pair by pair.
_AXES = 4
#: Turn a box of up to four coordinates into one integer. Two boxes may share one, since every pair
#: is checked afterwards.
_WEIGHTS = np.array([1, 2_097_143, 4_398_042_316_799, 9_223_372_036_854], dtype=np.int64)
#: Boxes are made so large that about so many pairs come up, since better ones are found so.
_WELCOME_PAIRS = 1 << 14
_PAIRS_AT_ONCE = 1 << 17
#: Pairs that are kept for a closer look.
_KEPT = 256


class Options(Protocol):
    """What one class offers, m options."""

    @property
    def loss(self) -> Floats:
        """(m,) what each loses against the bound."""

    @property
    def shift(self) -> Floats:
        """(R, m) its cost against the base."""


@dataclass(frozen=True)
class SearchProblem:
    """What the search is to find.

    Attributes:
        left: (R,) room that the base leaves.
        grain: (R,) zone of rounding around zero room.
        price: (R,) the prices at which losses are counted.
        reach: selections that lose up to this are looked at.
        below: only a loss below this is of interest.
        check: tells for one option per class whether a selection in the zone of rounding fits.
        checks: how often `check` may be asked.
    """

    left: Floats
    grain: Floats
    price: Floats
    reach: float
    below: float
    check: Callable[[list[int]], bool]
    checks: int


@dataclass(frozen=True)
class SearchResult:
    """What the search found.

    Attributes:
        loss: the least loss found, inf if none is below `SearchProblem.below`.
        options: the option of each class that attains it.
        least: no selection loses less than the least of this and the problem's `reach` and
            `below`.
    """

    loss: float
    options: list[int]
    least: float


@dataclass(frozen=True)
class _Half:
    """S choices for some classes: loss (S,), shift (R, S), and how each came about."""

    members: list[int]
    loss: Floats
    shift: Floats
    path: list[tuple[Ints, Ints]]

    def options(self, choice: int) -> dict[int, int]:
        """Return the option of every member under one choice."""
        result = {}
        # From the last class to the first: each choice knows only the one that it grew out of.
        for member, (parent, option) in zip(self.members[::-1], self.path[::-1], strict=True):
            result[member] = int(option[choice])
            choice = int(parent[choice])
        return result


@dataclass(frozen=True)
class _Pairs:
    """P pairs of choices: first (P,), second (P,), loss (P,), slack (R, P); the best first."""

    first: Ints
    second: Ints
    loss: Floats
    slack: Floats


def search(classes: Sequence[Options], problem: SearchProblem) -> SearchResult | None:
    """Find the selection of least loss up to the reach; None if there is too much to look at."""
    # A half that is too large ends it before the other is enumerated.
    ours, theirs = _split(classes)
    first = _half(classes, ours, problem)
    second = _half(classes, theirs, problem) if first is not None else None
    if first is None or second is None:
        return None
    pairs = _matched(first, second, problem)
    return None if pairs is None else _best(first, second, pairs, problem)


def _split(classes: Sequence[Options]) -> tuple[list[int], list[int]]:
    """Distribute the classes so that both halves have about equally many choices."""
    halves: tuple[list[int], list[int]] = ([], [])
    # The number of choices is the product of the numbers of options, so that logarithms add up.
    # Large classes first: the small ones then even out what is left.
    weight = [0.0, 0.0]
    for place in sorted(range(len(classes)), key=lambda i: -len(classes[i].loss)):
        side = int(weight[1] < weight[0])
        halves[side].append(place)
        weight[side] += float(np.log(len(classes[place].loss)))
    return halves


def _half(classes: Sequence[Options], members: list[int], problem: SearchProblem) -> _Half | None:
    """Enumerate the choices for some classes that lose no more than the reach."""
    # A choice may gain what rounding lets it overdraw, hence the price of the grain on top.
    reach = problem.reach + float(problem.price @ problem.grain)
    loss, shift = np.zeros(1), np.zeros((len(problem.left), 1))
    path: list[tuple[Ints, Ints]] = []
    for own in (classes[member] for member in members):
        # Asked before the product is formed: its memory is the limit.
        if len(loss) * len(own.loss) > _MOST_PRODUCTS:
            return None
        total = (loss[:, None] + own.loss).ravel()
        parent, option = np.divmod(np.flatnonzero(total <= reach), len(own.loss))
        loss = loss[parent] + own.loss[option]
        shift = shift[:, parent] + own.shift[:, option]
        # Where many costs agree, merging equal shifts keeps the choices from growing exponentially.
        if len(loss) > _FEW:
            kept = _without_repetition(loss, shift)
            loss, shift, parent, option = loss[kept], shift[:, kept], parent[kept], option[kept]
        if len(loss) > _MOST_CHOICES:
            return None
        path.append((parent, option))
    return _Half(members, loss, shift, path)


def _without_repetition(loss: Floats, shift: Floats) -> Ints:
    """Return of the choices that shift exactly the same the one that loses least."""
    # One number per shift, so that one sort does. Two unlike shifts of one code, which is most
    # unlikely, would only leave a repetition in: neighbours are compared in full.
    # Cosines of whole numbers have no common measure, so that unlike shifts hardly share a code.
    code = np.cos(np.arange(1.0, len(shift) + 1)) @ shift
    order = np.lexsort((loss, code))
    # Sorted by code and then by loss: the first of each run loses least.
    ordered = shift[:, order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return np.asarray(order[first])


def _matched(first: _Half, second: _Half, problem: SearchProblem) -> _Pairs | None:
    """Return the pairs that fit and lose least; None if there are too many to look at."""
    gap = problem.left[:, None] - first.shift
    upper, cell, offsets = _grid(gap, second.shift, problem)
    # Both sorted, so that the matching choices of every box are one slice of the other half.
    order, by_cell = np.argsort(upper, kind="stable"), np.argsort(cell, kind="stable")
    upper, cell = upper[order], cell[by_cell]
    nothing = order[:0]
    found = _Pairs(nothing, nothing, np.zeros(0), gap[:, :0])
    looked_at = 0
    for offset in offsets:
        begin = np.searchsorted(cell, upper - offset, "left")
        number = np.searchsorted(cell, upper - offset, "right") - begin
        # Counted before any pair is formed: time and memory are bounded whatever the input.
        looked_at += int(number.sum())
        if looked_at > _MOST_PAIRS:
            return None
        for part in _portions(number):
            count = number[part]
            # 0, 1, ... within each run, without a Python loop over the runs.
            run = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            a = order[np.repeat(part, count)]
            b = by_cell[np.repeat(begin[part], count) + run]
            found = _closest(found, (first, second), (a, b), gap, problem)
    return found


def _grid(gap: Floats, shift: Floats, problem: SearchProblem) -> tuple[Ints, Ints, list[int]]:
    """Lay a grid over what one half leaves (R, A) and what the other half takes (R, B).

    Returns:
        The box at the upper end of each gap (A,), the box that each shift lies in (B,), and how far
        below the upper end the other boxes are in which a shift can fill the gap.
    """
    # An axis along which all shifts lie in one or two boxes tells nothing and doubles the offsets.
    spread = np.ptp(shift, axis=1)
    side = problem.reach / np.maximum(problem.price, 1e-300) + 2 * problem.grain
    fineness = spread / np.maximum(side, 1e-300)
    axes = np.argsort(-fineness, kind="stable")[:_AXES]
    axes = axes[fineness[axes] > 2]
    # Of uniformly spread choices this share of each axis gives about the welcome number of pairs.
    share = _WELCOME_PAIRS / (gap.shape[1] * shift.shape[1] * 2.0 ** len(axes))
    share = min(0.5, share ** (1 / max(1, len(axes))))
    side = np.maximum(side, np.maximum(share, 2.0**-20) * spread)[axes, None]
    weights = _WEIGHTS[: len(axes)]
    upper = np.floor((gap[axes] + problem.grain[axes, None]) / side).astype(np.int64)
    cell = np.floor(shift[axes] / side).astype(np.int64)
    # A partner lies in the same box or in the next one below, along every axis: 2^A corners.
    corners = (np.arange(2 ** len(axes))[:, None] >> np.arange(len(axes))) & 1
    return weights @ upper, weights @ cell, [int(offset) for offset in corners @ weights]


def _portions(number: Ints) -> Iterator[Ints]:
    """Yield the places with at least one pair, in portions of about `_PAIRS_AT_ONCE` pairs."""
    # Portions bound the memory of the pairs; how many there are in all is bounded by the caller.
    places = np.flatnonzero(number)
    total = np.cumsum(number[places])
    if len(places):
        steps = np.arange(_PAIRS_AT_ONCE, total[-1], _PAIRS_AT_ONCE)
        yield from np.split(places, np.unique(np.searchsorted(total, steps)))


def _closest(
    found: _Pairs,
    halves: tuple[_Half, _Half],
    pair: tuple[Ints, Ints],
    gap: Floats,
    problem: SearchProblem,
) -> _Pairs:
    """Return the best of the pairs found so far and of some more."""
    a, b = pair
    # Each pair is checked in full: two boxes can share a number, and not every resource has an
    # axis.
    slack = gap[:, a] - halves[1].shift[:, b]
    loss = halves[0].loss[a] + halves[1].loss[b] + problem.price @ slack
    # Sorted are only those that would be kept: after the first boxes, few.
    limit = found.loss[-1] if len(found.loss) == _KEPT else problem.below
    which = np.flatnonzero((loss < limit) & (slack >= -problem.grain[:, None]).all(axis=0))
    if not len(which):
        return found
    loss = np.concatenate([found.loss, loss[which]])
    best = np.argsort(loss, kind="stable")[:_KEPT]
    return _Pairs(
        first=np.concatenate([found.first, a[which]])[best],
        second=np.concatenate([found.second, b[which]])[best],
        loss=loss[best],
        slack=np.concatenate([found.slack, slack[:, which]], axis=1)[:, best],
    )


def _best(first: _Half, second: _Half, pairs: _Pairs, problem: SearchProblem) -> SearchResult:
    """Return the best pair that fits; `check` tells where rounding leaves it open."""
    # Clear of the budget by the grain is within it in any order of summation.
    clear = np.asarray((pairs.slack >= problem.grain[:, None]).all(axis=0))
    least, asked = np.inf, 0
    for place, loss in enumerate(pairs.loss):
        chosen = first.options(int(pairs.first[place])) | second.options(int(pairs.second[place]))
        options = [chosen[member] for member in range(len(chosen))]
        if not clear[place]:
            asked += 1
        # `check` sums over all groups of the problem, hence the limit on how often it is asked.
        if clear[place] or (asked <= problem.checks and problem.check(options)):
            return SearchResult(float(loss), options, min(least, float(loss)))
        # What does not fit as it is might fit with other groups of the same cost, for more loss.
        least = min(least, float(loss))
    return SearchResult(np.inf, [], least)
