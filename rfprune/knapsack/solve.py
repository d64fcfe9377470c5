"""`solve`: from the caller's arrays to a certified selection, step by step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rfprune.knapsack.core import Base, Core, Kind, blocks, chosen, kinds, take
from rfprune.knapsack.pool import Pool, reduce
from rfprune.knapsack.prices import ROUNDING, Prices, minimise
from rfprune.knapsack.problem import Bools, Floats, Instance, Ints, read
from rfprune.knapsack.search import Task, search
from rfprune.knapsack.selection import Selection

__all__ = ["solve"]

@dataclass(frozen=True)
class _Effort:
    """How much one round of the search may do: rows in the core, numbers per kind, states."""

    rows: int
    width: int
    states: int


_ROUNDS = (
    _Effort(48, 6, 200),
    _Effort(160, 12, 1000),
    _Effort(640, 24, 5000),
    _Effort(4000, 4096, 30000),
    _Effort(4000, 4096, 200000),
)

TRACE=[]
def log(*a): TRACE.append(a)
import time

@dataclass(frozen=True)
class _State:
    """The best selection so far: the base, but for these rows."""
    gain: float
    rows: Ints
    taken: Floats


def solve(value: Any, cost: Any, budget: Any, *, layer: Any = None, floor: Any = None, max_gap: float | None = None) -> Selection:
    instance = read(value, cost, budget, layer, floor)
    pool, keep = reduce(instance, np.zeros(instance.size, np.bool_), ())
    TRACE.clear()
    if not pool.size:
        return pool
    t=time.perf_counter()
    prices = minimise(pool)
    base = Base.at(pool, prices.price)
    t1=time.perf_counter()
    best = greedy(pool, base)
    log('prices %.4f greedy %.4f gap %.1e'%(t1-t,time.perf_counter()-t1,(prices.bound-base.value-best.gain)/prices.bound))
    bound=prices.bound
    for effort in _ROUNDS:
        t=time.perf_counter()
        need = pool.step*.99 if pool.step else 2**-46*bound
        distance = bound - base.value - best.gain - need
        if distance <= max_gap*bound - need or distance<0: break
        core = take(base.margin, distance, effort.rows)
        found = kinds(pool, base, core, prices, distance, effort.width)
        parts = blocks(found, distance, len(pool.room))
        t1=time.perf_counter()
        task = Task(base.left, pool.grain, prices.nearby, best.gain + need, effort.states, lambda o: True)
        out = search(parts, task)
        if out.gain > best.gain:
            rows, taken = [], []
            for part, option in zip(parts, out.options):
                for place, o in zip(part.members, part.option[:, option]):
                    rows.append(found[place].rows); taken.append(chosen(pool, found[place], o))
            best = _State(out.gain, np.concatenate(rows), np.concatenate(taken))
        sure = core.covers and not any(k.cut for k in found)
        if sure: bound = min(bound, base.value + max(out.bound, best.gain)+need)
        proven = sure and out.bound <= best.gain + need
        gap=(bound-base.value-best.gain)/bound
        log('[%d rows %d kinds %d blocks %d opts: build %.4f search %.4f gap %.1e %s]'%(len(core.rows),len(found),len(parts),sum(len(k.gain) for k in found),t1-t,time.perf_counter()-t1,gap,'PROVEN' if proven else ''))
        if proven: break
    return best

def greedy(pool, base, most=256):
    size=abs(base.margin)
    n=pool.size
    rows = np.arange(n) if most>=n else np.flatnonzero(size <= np.partition(size, most)[most])
    rows = rows[np.argsort(-base.margin[rows], kind='stable')]
    left = base.left + pool.cost[:, rows] @ base.taken[rows]
    if (left<pool.grain).any() and most<n: return greedy(pool, base, most*8)
    use=np.cumsum(pool.cost[:,rows]*pool.count[rows],axis=1)
    over=(use>left[:,None]-pool.grain[:,None]).any(0)
    k=int(over.argmax()) if over.any() else len(rows)
    taken=np.zeros(len(rows)); taken[:k]=pool.count[rows[:k]]
    left=left-(use[:,k-1] if k else 0)
    for j in range(k,min(k+300,len(rows))):
        c=pool.cost[:,rows[j]]
        t=min([pool.count[rows[j]]]+[np.floor((l-g)/x) for l,g,x in zip(left,pool.grain,c) if x>0])
        if t>0: taken[j]=t; left=left-t*c
    return _State(float(((taken-base.taken[rows])*pool.value[rows]).sum()),rows,taken)
