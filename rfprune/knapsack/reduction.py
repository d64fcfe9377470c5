"""The open part of a problem: what is decided at sight leaves, equal groups become one row.

Decided at sight are groups without value (dropped), groups that no budget can hold (dropped) and
groups that cost nothing of any resource that can run out (kept). A resource that all groups
together cannot exhaust drops out as well. What remains is scaled by powers of two, which costs no
bit.

**Step.** If all values are multiples of one number, so are all totals: a better selection is
better by a whole step, and an upper bound may be rounded down to a multiple of it.

**Floors.** A floor on groups of unlike cost is one more resource: each of its groups has cost -1
and the room is minus the floor. Nothing behind this module treats it differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rfprune.knapsack.instance import Bools, Floats, Instance, Ints

__all__ = ["Need", "Pool", "common_step", "equal_columns", "power_of_two", "reduce"]

#: Up to this size equal groups are always looked for; above, only where a sample shows ties.
_MERGE_BELOW = 4096
_SAMPLE = 1024
#: A step is used only while totals hold fewer steps than this, far from the end of float64.
_MOST_STEPS = 2.0**40


@dataclass(frozen=True, eq=False)
class Need:
    """At least `fewest` of these groups must be kept."""

    groups: Ints
    fewest: int


@dataclass(frozen=True)
class Pool:
    """The rows that are open, in scaled units: N rows, R resources that can run out.

    Attributes:
        value: (N,) value of one group of the row.
        cost: (R, N) cost of one group of the row.
        count: (N,) how many groups the row stands for (whole numbers).
        room: (R,) what is left of each budget; negative for a floor.
        grain: (R,) width of the zone of rounding around `room`.
        step: totals of value are multiples of it; 0 = not known.
        resource: (R,) index of the caller's resource, -1 for a floor.
        value_unit: the caller's value that is one here.
        cost_unit: (R,) the caller's cost that is one here.
        order: the open groups, row after row, within a row by index.
    """

    value: Floats
    cost: Floats
    count: Floats
    room: Floats
    grain: Floats
    step: float
    resource: Ints
    value_unit: float
    cost_unit: Floats
    order: Ints

    @property
    def size(self) -> int:
        """N, the number of rows."""
        return len(self.value)

    def groups(self, chosen: Floats) -> Ints:
        """Return the groups that are kept if the first `chosen` (N,) groups of each row are."""
        # No two groups are equal: rows are groups.
        if len(self.order) == self.size:
            return self.order[chosen > 0]
        count = self.count.astype(np.int64)
        # The place of each group among the groups of its row.
        place = np.arange(len(self.order)) - np.repeat(np.cumsum(count) - count, count)
        return self.order[place < np.repeat(chosen, count)]


def reduce(instance: Instance, forced: Bools, needs: Sequence[Need]) -> tuple[Pool, Bools]:
    """Return the open part of the problem, and the groups that are kept without question.

    Args:
        instance: the problem.
        forced: (G,) groups that are kept whatever they are worth.
        needs: floors on groups of unlike cost; none of their groups is forced.
    """
    needed = np.zeros(instance.size, dtype=np.bool_)
    for need in needs:
        needed[need.groups] = True
    room = instance.room(forced)
    # A group without value can still be what a floor needs.
    able = ~forced & ((instance.value > 0) | needed)
    limit = room + instance.grain
    for column, most in zip(instance.columns, limit, strict=True):
        if column.max(initial=0.0) > most:
            able &= column <= most
    # Asked by the exact check: a resource that is left out here is never looked at again.
    scarce = np.flatnonzero(~instance.within(forced | able))
    costly = instance.columns[scarce].any(axis=0)
    kept = forced | (able & ~costly & ~needed)
    index = np.flatnonzero(able & ~kept)
    floors = np.zeros((len(needs), instance.size))
    for row, need in enumerate(needs):
        floors[row, need.groups] = -1.0
    cost = np.concatenate([instance.columns[scarce], floors])
    room = np.concatenate([room[scarce], [-float(need.fewest) for need in needs]])
    grain = np.concatenate([instance.grain[scarce], np.zeros(len(needs))])
    resource = np.concatenate([scarce, np.full(len(needs), -1)])
    # Picking copies, which shows with a million groups; where all are open it is left out.
    if len(index) < instance.size:
        return _scaled(instance.value[index], cost[:, index], room, grain, resource, index), kept
    return _scaled(instance.value, cost, room, grain, resource, index), kept


def _scaled(
    value: Floats, cost: Floats, room: Floats, grain: Floats, resource: Ints, index: Ints
) -> Pool:
    # From the values as they came: scaling by powers of two keeps multiples multiples.
    step = common_step(value)
    value_unit = float(power_of_two(value.max(initial=0.0)))
    # A budget of 0 gives no scale for costs.
    highest = abs(cost).max(axis=1, initial=0.0)
    # In units of the room, so that prices and tolerances mean the same for every resource.
    cost_unit = power_of_two(np.where(room == 0, highest, abs(room)))
    value = value / value_unit
    cost = cost / cost_unit[:, None]
    count, order = np.ones(len(value)), index
    # Looking for equal groups is a sort; of many it is worth its time only if there are some.
    # Where half of a sample is distinct, ties are too few to pay for the sort.
    sample = value[:: max(1, len(value) // _SAMPLE)]
    if len(value) <= _MERGE_BELOW or len(np.unique(sample)) < len(sample) / 2:
        columns = np.vstack([value, cost])
        by_row, start = equal_columns(columns)
        columns, order = columns[:, by_row[start]], index[by_row]
        value, cost = columns[0], np.ascontiguousarray(columns[1:])
        count = np.diff(start, append=len(order)).astype(np.float64)
    return Pool(
        value=value,
        cost=cost,
        count=count,
        room=room / cost_unit,
        grain=grain / cost_unit,
        step=step / value_unit,
        resource=resource,
        value_unit=value_unit,
        cost_unit=cost_unit,
        order=order,
    )


def power_of_two(magnitude: Floats | float) -> Floats:
    """Return the power of two above each magnitude, 1 for 0, such that 1 / it is finite."""
    exponent = np.clip(np.frexp(magnitude)[1], -1000, 1000)
    return np.asarray(np.ldexp(1.0, exponent))


def common_step(value: Floats) -> float:
    """Return the number that all values are multiples of, 0 if there is no useful one."""
    if not len(value):
        return 0.0
    total = float(value.sum())
    # A sample rules most fractional values out before a pass over all.
    sample = value[:_SAMPLE]
    if (np.rint(sample) == sample).all() and (np.rint(value) == value).all():
        unit = float(np.gcd.reduce(value.astype(np.int64))) if total < 2.0**53 else 0.0
    else:
        unit = float(value[value > 0].min(initial=np.inf))
        if unit <= total / _MOST_STEPS:
            return 0.0
        share = value / unit
        if not (abs(np.rint(share) - share) <= 4 * np.finfo(np.float64).eps * share).all():
            return 0.0
    return unit if unit > total / _MOST_STEPS else 0.0


def equal_columns(columns: Floats) -> tuple[Ints, Ints]:
    """Sort columns so that equal ones are neighbours.

    Columns are sorted by a hash, so that one sort of numbers does; two unlike columns with one hash
    can leave equal columns in two runs, never unlike ones in one.

    Args:
        columns: (C, N) numbers.

    Returns:
        The order (N,), stable within equal columns, and where in it each run begins.
    """
    number = columns.shape[1]
    code = np.zeros(number, dtype=np.uint64)
    # A hash, mixed column by column; equal columns always share it, and what shares it by chance is
    # told apart below.
    for column in columns:
        # + 0.0 turns -0.0 into 0.0, which is equal but has other bits.
        code = (code ^ (column + 0.0).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(29)
    order = np.argsort(code, kind="stable")
    first = np.zeros(number, dtype=np.bool_)
    first[:1] = True
    for column in columns:
        ordered = column[order]
        first[1:] |= ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(first)
