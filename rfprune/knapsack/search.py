"""Exact search over the options of a core: breadth first, bounded, without repetition.

A state is a choice for the first few blocks: its gain in value and what is left of the room. It is
extended by every option of the next block, and dropped if

* the blocks to come cannot free what it lacks;
* its bound does not exceed the best selection known. For every vector of prices ``p``,
  ``gain + p . left + sum_b max_o (gain_o - p . shift_o)`` over the blocks to come is an upper bound;
  the least over a handful of prices near the minimum of the dual is used;
* another state leaves exactly the same and is worth more.

If more states are left than allowed, those with the highest bounds go on. The search then proves no
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
#: States below this number are not compared with one another.
_FEW = 512
#: How many selections in the zone of rounding are tried; each is a sum over all groups.
_CHECKS = 256


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
    """

    left: Floats
    grain: Floats
    prices: Floats
    target: float
    most: int
    check: Callable[[list[int]], bool]


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
    gain: Floats
    left: Floats
    bound: Floats
    parent: Ints
    option: Ints

    def __getitem__(self, pick: Ints | Bools) -> _States:
        return _States(
            self.gain[pick], self.left[:, pick], self.bound[pick], self.parent[pick], self.option[pick]
        )


def search(blocks: Sequence[Block], task: Task) -> Outcome:
    """Find the choice of one option per block with the greatest gain that leaves no room negative."""
    tails, ease = _outlook(blocks, task)
    zero = np.zeros(1, dtype=np.int64)
    states = _States(np.zeros(1), task.left[:, None], np.full(1, np.inf), zero, zero)
    path: list[_States] = []
    dropped, target = -np.inf, task.target
    for place, block in enumerate(blocks):
        outlook = (tails[place + 1], ease[place + 1] + task.grain)
        states, lost = _extend(states, block, task, outlook, target)
        dropped = max(dropped, lost)
        path.append(states)
        if not len(states.gain):
            break
    return _best(states, path, task, dropped)


def _outlook(blocks: Sequence[Block], task: Task) -> tuple[Floats, Floats]:
    """Return what the blocks from each place on gain at most at each of the prices (B + 1, M), and how
    much of each resource they free at most (B + 1, R)."""
    tails = np.zeros((len(blocks) + 1, len(task.prices)))
    ease = np.zeros((len(blocks) + 1, len(task.left)))
    for place in range(len(blocks) - 1, -1, -1):
        block = blocks[place]
        tails[place] = tails[place + 1] + (block.gain - task.prices @ block.shift).max(axis=1)
        ease[place] = ease[place + 1] + np.maximum(-block.shift, 0).max(axis=1, initial=0)
    return tails + task.prices @ task.grain, ease


def _extend(
    states: _States, block: Block, task: Task, outlook: tuple[Floats, Floats], target: float
) -> tuple[_States, float]:
    """Return the states after one more block, and the highest bound among those dropped for number."""
    options = len(block.gain)
    size = max(1, _CHUNK // options)
    parts: list[_States] = []
    dropped = -np.inf
    for first in range(0, len(states.gain), size):
        parts.append(_children(states, block, task, outlook, (first, first + size, target)))
        if sum(len(part.gain) for part in parts) > max(4 * task.most, _CHUNK):
            merged, lost = _limited(_joined(parts), task.most)
            parts, dropped = [merged], max(dropped, lost)
    merged, lost = _limited(_joined(parts), task.most)
    return merged, max(dropped, lost)


def _children(
    states: _States,
    block: Block,
    task: Task,
    outlook: tuple[Floats, Floats],
    limits: tuple[int, int, float],
) -> _States:
    first, last, target = limits
    gain = (states.gain[first:last, None] + block.gain).ravel()
    left = (states.left[:, first:last, None] - block.shift[:, None]).reshape(len(task.left), -1)
    bound = gain + (task.prices @ left + outlook[0][:, None]).min(axis=0)
    pick = np.flatnonzero((bound > target) & (left >= -outlook[1][:, None]).all(axis=0))
    parent, option = np.divmod(pick, len(block.gain))
    return _States(gain[pick], left[:, pick], bound[pick], parent + first, option)


def _joined(parts: list[_States]) -> _States:
    if len(parts) == 1:
        return parts[0]
    return _States(
        np.concatenate([part.gain for part in parts]),
        np.concatenate([part.left for part in parts], axis=1),
        np.concatenate([part.bound for part in parts]),
        np.concatenate([part.parent for part in parts]),
        np.concatenate([part.option for part in parts]),
    )


def _limited(states: _States, most: int) -> tuple[_States, float]:
    """Drop states that another one replaces, then those of the lowest bounds above `most`."""
    if len(states.gain) > _FEW:
        code = np.cos(np.arange(1.0, len(states.left) + 1)) @ states.left
        order = np.lexsort((-states.gain, code))
        ordered = states.left[:, order]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
        states = states[order[first]]
    if len(states.gain) <= most:
        return states, -np.inf
    order = np.argpartition(-states.bound, most)
    return states[order[:most]], float(states.bound[order[most]])


def _best(states: _States, path: list[_States], task: Task, dropped: float) -> Outcome:
    """Return the best final state that fits, asking `Task.check` where rounding leaves it open."""
    clear = (states.left >= task.grain[:, None]).all(axis=0)
    for tried, place in enumerate(np.argsort(-states.gain, kind="stable")):
        gain = float(states.gain[place])
        if not clear[place] and tried >= _CHECKS:
            dropped = max(dropped, gain)
            continue
        options = _trace(path, int(place))
        if clear[place] or task.check(options):
            return Outcome(gain, options, max(dropped, gain))
    return Outcome(-np.inf, [], dropped)


def _trace(path: list[_States], place: int) -> list[int]:
    options = []
    for states in reversed(path):
        options.append(int(states.option[place]))
        place = int(states.parent[place])
    return options[::-1]
