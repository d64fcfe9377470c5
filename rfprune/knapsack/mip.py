"""The residual core as a mixed integer program, solved by CBC through PuLP.

For cores that the search cannot finish: many kinds, few groups of each, several resources. One
integer variable per row of the core, one constraint per resource; nothing else is open.

CBC works with tolerances (1e-7 on constraints, 1e-5 on an improvement of the objective) and PuLP
hands numbers over with twelve digits. The core is therefore scaled so that the distance that is
still open is worth 10^4, and what comes back is rounded and checked against the exact rooms. That
CBC calls it optimal is taken as proof; of the distance it can hide 1e-9.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rfprune.knapsack.core import Base
from rfprune.knapsack.pool import Pool
from rfprune.knapsack.problem import Floats, Ints

__all__ = ["Answer", "solve_core"]

#: Value of the open distance in the objective that CBC sees.
_DISTANCE = 1e4
#: Largest factor from scaled units to what CBC sees; integers up to this stay integers.
_ROOM = 2.0**20
#: How often the room is made smaller because what came back does not fit.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Answer:
    """What CBC found.

    Attributes:
        gain: value of `taken` against the base, -inf if nothing usable came back.
        taken: (n,) groups kept of each row of the core.
        bound: no choice for these rows gains more; inf if CBC did not finish.
    """

    gain: float
    taken: Floats
    bound: float


def solve_core(
    pool: Pool,
    base: Base,
    rows: Ints,
    limits: tuple[float, float, int],
    check: Callable[[Floats], bool],
) -> Answer:
    """Find the best choice for some rows while the others stay as they are in the base.

    Args:
        pool: all rows.
        base: the base at the prices.
        rows: (n,) the open rows.
        limits: the distance between bound and best selection known, the part of it that needs no
            closing, and the most nodes.
        check: tells for numbers of groups (n,) whether they fit where rounding leaves it open.
    """
    _, allowed, _ = limits
    held = pool.cost[:, rows] @ base.taken[rows]
    left = base.left + held + pool.grain
    bound = np.inf
    for attempt in range(_ATTEMPTS):
        taken, finished = _run(pool, rows, left, limits)
        if taken is None:
            # Only with the room as given does "infeasible" prove anything.
            return _nothing(rows, -np.inf if finished and not attempt else bound)
        gain = float(((taken - base.taken[rows]) * pool.value[rows]).sum())
        if finished:
            bound = min(bound, gain + allowed)
        rest = base.left + held - pool.cost[:, rows] @ taken
        if (rest >= pool.grain).all() or ((rest >= -pool.grain).all() and check(taken)):
            return Answer(gain, taken, bound)
        left = left - np.maximum(2 * (pool.grain - rest), 0)
    return _nothing(rows, bound)


def _nothing(rows: Ints, bound: float) -> Answer:
    return Answer(-np.inf, np.zeros(len(rows)), bound)


def _run(
    pool: Pool, rows: Ints, left: Floats, limits: tuple[float, float, int]
) -> tuple[Floats | None, bool]:
    """Return the numbers of groups CBC proposes, if any, and whether it finished."""
    import pulp

    distance, allowed, nodes = limits
    scale = _DISTANCE / distance
    factor = np.where(pool.grain > 0, _ROOM, np.minimum(pool.cost_unit, _ROOM))
    model = pulp.LpProblem("core", pulp.LpMaximize)
    number = [
        model.add_variable(f"x{place}", 0, int(count), pulp.LpInteger)
        for place, count in enumerate(pool.count[rows])
    ]
    model += _sum(number, pool.value[rows] * scale)
    for cost, room, by in zip(pool.cost[:, rows], left, factor, strict=True):
        model += _sum(number, cost * by) <= float(room * by)
    with warnings.catch_warnings():
        # PuLP 3 brings CBC along, PuLP 4 will not; the requirement is below 4.
        warnings.simplefilter("ignore", DeprecationWarning)
        solver = pulp.PULP_CBC_CMD(msg=False, gapAbs=allowed * scale, gapRel=0, maxNodes=nodes)
    try:
        model.solve(solver)
    except pulp.PulpSolverError:
        return None, False
    if model.status == pulp.LpStatusInfeasible:
        return None, True
    if model.status != pulp.LpStatusOptimal:
        return None, False
    taken = np.rint(np.array([variable.value() or 0.0 for variable in number]))
    return np.clip(taken, 0, pool.count[rows]), model.sol_status == pulp.LpSolutionOptimal


def _sum(number: list[Any], factor: Floats) -> Any:
    import pulp

    return pulp.LpAffineExpression(
        [(variable, float(f)) for variable, f in zip(number, factor, strict=True) if f]
    )
