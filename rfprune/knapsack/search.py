"""Exact search over the options of a core: two halves, enumerated and then matched.

A selection differs from the base by one option of every kind. Against the bound it loses the losses
of these options, and the price of the room that it leaves empty::

    loss = sum_k loss_k + price . (left - sum_k shift_k)

All selections that lose no more than a given reach are looked at. They consist of two halves, each
a choice for half of the kinds that loses no more than the reach by itself; and since room that is
left empty has its price, the halves must fill it almost exactly: for every choice of one half,
those of the other lie in a box of side ``reach / price``. They are found through a grid of such
boxes. With 10^5 choices in each half, 10^10 selections are covered in a fraction of a second (meet
in the middle: Horowitz and Sahni, Computing partitions with applications to the knapsack problem,
1974).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rfprune.knapsack.core import Kind
from rfprune.knapsack.problem import Floats, Ints

__all__ = ["Outcome", "Task", "search"]

#: Choices in one half, products on the way to them, and pairs of halves that are looked at.
_MOST_CHOICES, _MOST_PRODUCTS, _MOST_PAIRS = 1 << 17, 1 << 24, 1 << 22
#: Up to this many choices it costs more to look for repetitions than to carry them along.
_FEW = 512
#: Resources that span the grid; the others are looked at pair by pair.
_AXES = 4
_WEIGHTS = np.array([1, 2_097_143, 4_398_042_316_799, 9_223_372_036_854], dtype=np.int64)
#: Boxes are made so large that about so many pairs come up, since better ones are found so.
_WELCOME_PAIRS = 1 << 14
_PAIRS_AT_ONCE = 1 << 17
#: Pairs that are kept for a closer look.
_KEPT = 256


@dataclass(frozen=True)
class Task:
    """What the search is to find.

    Attributes:
        left: (R,) room that the base leaves.
        grain: (R,) zone of rounding around zero room.
        price: (R,) the prices at which losses are counted.
        reach: selections that lose up to this are looked at.
        below: only a loss below this is of interest.
        check: tells for one option per kind whether a selection in the zone of rounding fits.
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
class Outcome:
    """What the search found.

    Attributes:
        loss: the least loss found, inf if none is below `Task.below`.
        options: the option of each kind that attains it.
        least: no selection loses less than the least of this, `Task.reach` and `Task.below`.
    """

    loss: float
    options: list[int]
    least: float


@dataclass(frozen=True)
class _Half:
    """S choices for some kinds: loss (S,), shift (R, S), and how each came about."""

    members: list[int]
    loss: Floats
    shift: Floats
    path: list[tuple[Ints, Ints]]

    def options(self, choice: int) -> dict[int, int]:
        """Return the option of every member under one choice."""
        result = {}
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


def search(kinds: Sequence[Kind], task: Task) -> Outcome | None:
    """Find the selection of least loss up to the reach; None if there is too much to look at."""
    ours, theirs = _split(kinds)
    first = _half(kinds, ours, task)
    second = _half(kinds, theirs, task) if first is not None else None
    if first is None or second is None:
        return None
    pairs = _matched(first, second, task)
    return None if pairs is None else _best(first, second, pairs, task)


def _split(kinds: Sequence[Kind]) -> tuple[list[int], list[int]]:
    """Distribute the kinds so that both halves have about equally many choices."""
    halves: tuple[list[int], list[int]] = ([], [])
    weight = [0.0, 0.0]
    for place in sorted(range(len(kinds)), key=lambda i: -len(kinds[i].loss)):
        side = int(weight[1] < weight[0])
        halves[side].append(place)
        weight[side] += float(np.log(len(kinds[place].loss)))
    return halves


def _half(kinds: Sequence[Kind], members: list[int], task: Task) -> _Half | None:
    """Enumerate the choices for some kinds that lose no more than the reach."""
    reach = task.reach + float(task.price @ task.grain)
    loss, shift = np.zeros(1), np.zeros((len(task.left), 1))
    path: list[tuple[Ints, Ints]] = []
    for kind in (kinds[member] for member in members):
        if len(loss) * len(kind.loss) > _MOST_PRODUCTS:
            return None
        total = (loss[:, None] + kind.loss).ravel()
        parent, option = np.divmod(np.flatnonzero(total <= reach), len(kind.loss))
        loss = loss[parent] + kind.loss[option]
        shift = shift[:, parent] + kind.shift[:, option]
        if len(loss) > _FEW:
            kept = _without_repetition(loss, shift)
            loss, shift, parent, option = loss[kept], shift[:, kept], parent[kept], option[kept]
        if len(loss) > _MOST_CHOICES:
            return None
        path.append((parent, option))
    return _Half(members, loss, shift, path)


def _without_repetition(loss: Floats, shift: Floats) -> Ints:
    """Return of the choices that shift exactly the same the one that loses least."""
    code = np.cos(np.arange(1.0, len(shift) + 1)) @ shift
    order = np.lexsort((loss, code))
    ordered = shift[:, order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return np.asarray(order[first])


def _matched(first: _Half, second: _Half, task: Task) -> _Pairs | None:
    """Return the pairs that fit and lose least; None if there are too many to look at."""
    gap = task.left[:, None] - first.shift
    upper, cell, offsets = _grid(gap, second.shift, task)
    order, by_cell = np.argsort(upper, kind="stable"), np.argsort(cell, kind="stable")
    upper, cell = upper[order], cell[by_cell]
    nothing = order[:0]
    found = _Pairs(nothing, nothing, np.zeros(0), gap[:, :0])
    looked_at = 0
    for offset in offsets:
        begin = np.searchsorted(cell, upper - offset, "left")
        number = np.searchsorted(cell, upper - offset, "right") - begin
        looked_at += int(number.sum())
        if looked_at > _MOST_PAIRS:
            return None
        for part in _portions(number):
            count = number[part]
            run = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            a = order[np.repeat(part, count)]
            b = by_cell[np.repeat(begin[part], count) + run]
            found = _closest(found, (first, second), (a, b), gap, task)
    return found


def _grid(gap: Floats, shift: Floats, task: Task) -> tuple[Ints, Ints, list[int]]:
    """Lay a grid over what one half leaves (R, A) and what the other half takes (R, B).

    Returns:
        The box at the upper end of each gap (A,), the box that each shift lies in (B,), and how far
        below the upper end the other boxes are in which a shift can fill the gap.
    """
    spread = np.ptp(shift, axis=1)
    side = task.reach / np.maximum(task.price, 1e-300) + 2 * task.grain
    fineness = spread / np.maximum(side, 1e-300)
    axes = np.argsort(-fineness, kind="stable")[:_AXES]
    axes = axes[fineness[axes] > 2]
    share = _WELCOME_PAIRS / (gap.shape[1] * shift.shape[1] * 2.0 ** len(axes))
    share = min(0.5, share ** (1 / max(1, len(axes))))
    side = np.maximum(side, np.maximum(share, 2.0**-20) * spread)[axes, None]
    weights = _WEIGHTS[: len(axes)]
    upper = np.floor((gap[axes] + task.grain[axes, None]) / side).astype(np.int64)
    cell = np.floor(shift[axes] / side).astype(np.int64)
    corners = (np.arange(2 ** len(axes))[:, None] >> np.arange(len(axes))) & 1
    return weights @ upper, weights @ cell, [int(offset) for offset in corners @ weights]


def _portions(number: Ints) -> Iterator[Ints]:
    """Yield the places with at least one pair, in portions of about `_PAIRS_AT_ONCE` pairs."""
    places = np.flatnonzero(number)
    total = np.cumsum(number[places])
    if len(places):
        steps = np.arange(_PAIRS_AT_ONCE, total[-1], _PAIRS_AT_ONCE)
        yield from np.split(places, np.unique(np.searchsorted(total, steps)))


def _closest(
    found: _Pairs, halves: tuple[_Half, _Half], pair: tuple[Ints, Ints], gap: Floats, task: Task
) -> _Pairs:
    """Return the best of the pairs found so far and of some more."""
    a, b = pair
    slack = gap[:, a] - halves[1].shift[:, b]
    loss = halves[0].loss[a] + halves[1].loss[b] + task.price @ slack
    limit = found.loss[-1] if len(found.loss) == _KEPT else task.below
    which = np.flatnonzero((loss < limit) & (slack >= -task.grain[:, None]).all(axis=0))
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


def _best(first: _Half, second: _Half, pairs: _Pairs, task: Task) -> Outcome:
    """Return the best pair that fits, asking `Task.check` where rounding leaves it open."""
    clear = np.asarray((pairs.slack >= task.grain[:, None]).all(axis=0))
    least, asked = np.inf, 0
    for place, loss in enumerate(pairs.loss):
        chosen = first.options(int(pairs.first[place])) | second.options(int(pairs.second[place]))
        options = [chosen[member] for member in range(len(chosen))]
        if not clear[place]:
            asked += 1
        if clear[place] or (asked <= task.checks and task.check(options)):
            return Outcome(float(loss), options, min(least, float(loss)))
        # What does not fit as it is might fit with other groups of the same cost, for more loss.
        least = min(least, float(loss))
    return Outcome(np.inf, [], least)
