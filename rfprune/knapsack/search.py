"""Exact search over the options of a core: breadth first, bounded, without repetition.

A state is a choice for the first few blocks: its gain in value and what is left of the room. It is
extended by every option of the next block, and dropped if

* the blocks to come cannot free what it lacks;
* its bound does not exceed the best selection known. For every vector of prices ``p``,
  ``gain + p . left + sum_b max_o (gain_o - p . shift_o)`` over the blocks to come is an upper
  bound; the least over a handful of prices near the minimum of the dual is used;
* another state leaves exactly the same and is worth more.

If more states remain than allowed, those with the highest bounds go on. The search then proves no
optimum, yet the highest bound among the dropped states is still an upper bound on the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rfprune.knapsack.core import Block
from rfprune.knapsack.problem import Bools, Floats, Ints

__all__ = ["Outcome", "Task", "search"]

#: New states that are made at once, a limit on memory.
_CHUNK = 1 << 20
#: Up to this many states it costs more to look for repetitions than to carry them along.
_FEW = 512


@dataclass(frozen=True)
class Task:
    """What the search is to find.

    Attributes:
        left: (R,) room that the base leaves.
        grain: (R,) zone of rounding around zero room.
        prices: (M, R) prices to bound with.
        target: only a gain above this is of interest.
        most: how many states may be kept.
        check: tells for one option per block whether a selection in the zone of rounding fits.
        checks: how often `check` may be asked.
    """

    left: Floats
    grain: Floats
    prices: Floats
    target: float
    most: int
    check: Callable[[list[int]], bool]
    checks: int


@dataclass(frozen=True)
class Outcome:
    """What the search found.

    Attributes:
        gain: the best gain found, -inf if none exceeds the target.
        options: the option of each block that attains it.
        bound: no choice gains more than the greater of this and `Task.target`.
    """

    gain: float
    options: list[int]
    bound: float


@dataclass(frozen=True)
class _States:
    """S states: gain (S,), left (R, S), bound (S,), parent (S,) and option (S,) that led there."""

    gain: Floats
    left: Floats
    bound: Floats
    parent: Ints
    option: Ints

    def pick(self, which: Ints | Bools) -> _States:
        return _States(
            gain=self.gain[which],
            left=self.left[:, which],
            bound=self.bound[which],
            parent=self.parent[which],
            option=self.option[which],
        )


def search(blocks: Sequence[Block], task: Task) -> Outcome:
    """Find one option per block with the greatest gain that leaves no room negative."""
    tails, ease = _outlook(blocks, task)
    zero = np.zeros(1, dtype=np.int64)
    states = _States(np.zeros(1), task.left[:, None], np.full(1, np.inf), zero, zero)
    hopeless = (task.prices @ task.left + tails[0]).min() <= task.target
    if hopeless or (task.left < -ease[0]).any():
        return Outcome(-np.inf, [], -np.inf)
    path: list[_States] = []
    dropped = -np.inf
    for place, block in enumerate(blocks):
        states, lost = _extend(states, block, task, tails[place + 1], ease[place + 1])
        dropped = max(dropped, lost)
        if not len(states.gain):
            return Outcome(-np.inf, [], dropped)
        path.append(states)
    return _best(states, path, task, dropped)


def _outlook(blocks: Sequence[Block], task: Task) -> tuple[Floats, Floats]:
    """Return what the blocks from each place on can do.

    Returns:
        (B + 1, M) the most they gain at each of the prices, the zone of rounding included, and
        (B + 1, R) how much of each resource they free at most, the zone of rounding included.
    """
    tails = np.zeros((len(blocks) + 1, len(task.prices))) + task.prices @ task.grain
    ease = np.zeros((len(blocks) + 1, len(task.left))) + task.grain
    for place in range(len(blocks) - 1, -1, -1):
        block = blocks[place]
        tails[place] = tails[place + 1] + (block.gain - task.prices @ block.shift).max(axis=1)
        ease[place] = ease[place + 1] + np.maximum(-block.shift, 0).max(axis=1)
    return tails, ease


def _extend(
    states: _States, block: Block, task: Task, tail: Floats, ease: Floats
) -> tuple[_States, float]:
    """Return the states after one more block, and the highest bound among those left out."""
    size = max(1, _CHUNK // len(block.gain))
    parts: list[_States] = []
    dropped = -np.inf
    for first in range(0, len(states.gain), size):
        parts.append(_children(states, slice(first, first + size), block, task, tail, ease))
        if sum(len(part.gain) for part in parts) > _CHUNK:
            merged, lost = _limited(_joined(parts), task.most)
            parts, dropped = [merged], max(dropped, lost)
    merged, lost = _limited(_joined(parts), task.most)
    return merged, max(dropped, lost)


def _children(
    states: _States, some: slice, block: Block, task: Task, tail: Floats, ease: Floats
) -> _States:
    """Extend some of the states by every option of a block; keep those that can still be best."""
    gain = (states.gain[some, None] + block.gain).ravel()
    left = (states.left[:, some, None] - block.shift[:, None]).reshape(len(task.left), -1)
    bound = gain + task.prices[0] @ left + tail[0]
    which = np.flatnonzero((bound > task.target) & (left >= -ease[:, None]).all(axis=0))
    parent, option = np.divmod(which, len(block.gain))
    found = _States(gain[which], left[:, which], bound[which], parent + some.start, option)
    for price, most in zip(task.prices[1:], tail[1:], strict=True):
        np.minimum(found.bound, found.gain + price @ found.left + most, out=found.bound)
    return found.pick(found.bound > task.target)


def _joined(parts: list[_States]) -> _States:
    if len(parts) == 1:
        return parts[0]
    return _States(
        gain=np.concatenate([part.gain for part in parts]),
        left=np.concatenate([part.left for part in parts], axis=1),
        bound=np.concatenate([part.bound for part in parts]),
        parent=np.concatenate([part.parent for part in parts]),
        option=np.concatenate([part.option for part in parts]),
    )


def _limited(states: _States, most: int) -> tuple[_States, float]:
    """Return at most `most` states, those of the highest bounds, and the highest bound left out."""
    dropped = -np.inf
    if len(states.gain) > 4 * most:
        states, dropped = _highest(states, 4 * most)
    if len(states.gain) > min(_FEW, most):
        states = _without_repetition(states)
    if len(states.gain) > most:
        states, lost = _highest(states, most)
        dropped = max(dropped, lost)
    return states, dropped


def _highest(states: _States, most: int) -> tuple[_States, float]:
    order = np.argpartition(-states.bound, most)
    return states.pick(order[:most]), float(states.bound[order[most]])


def _without_repetition(states: _States) -> _States:
    """Keep of the states that leave exactly the same the one that is worth most."""
    code = np.cos(np.arange(1.0, len(states.left) + 1)) @ states.left
    order = np.lexsort((-states.gain, code))
    ordered = states.left[:, order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return states.pick(order[first])


def _best(states: _States, path: list[_States], task: Task, dropped: float) -> Outcome:
    """Return the best final state that fits, asking `Task.check` where rounding leaves it open."""
    clear = np.asarray((states.left >= task.grain[:, None]).all(axis=0))
    asked = 0
    for place in np.argsort(-states.gain, kind="stable"):
        gain = float(states.gain[place])
        if clear[place]:
            return Outcome(gain, _trace(path, int(place)), max(dropped, gain))
        if asked < task.checks:
            asked += 1
            options = _trace(path, int(place))
            if task.check(options):
                return Outcome(gain, options, max(dropped, gain))
        # What does not fit as it is might fit with other groups of the same cost, for no more
        # value.
        dropped = max(dropped, gain)
    return Outcome(-np.inf, [], dropped)


def _trace(path: list[_States], place: int) -> list[int]:
    options = []
    for states in reversed(path):
        options.append(int(states.option[place]))
        place = int(states.parent[place])
    return options[::-1]
