"""The residual core as a mixed integer program, solved by CBC through PuLP.

For cores that the search cannot finish: several resources, and few groups of which each holds much
beside many that hold little. One integer variable per cost class, one constraint per resource;
what the best n groups of a class are worth is a concave curve, which goes in as the pieces of a
bound from above that is exact at some numbers (`curves`). Where the answer lies between such
numbers, more are set there and it is solved again: outer approximation (Duran and Grossmann 1986).

That CBC calls an answer optimal is taken as proof; of the distance that is still open it can hide
1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rfprune.knapsack.cbc import ATTEMPTS, DISTANCE, ROOM, run
from rfprune.knapsack.core_problem import Base
from rfprune.knapsack.curves import Curve
from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.reduction import Pool

__all__ = ["Answer", "ResidualCore", "solve_residual"]

#: How often the curves are followed more closely.
_ROUNDS = 12


@dataclass(frozen=True)
class ResidualCore:
    """What is open, and how far to go.

    Attributes:
        pool: all rows.
        base: the base at the prices.
        curves: the open rows, by cost class.
        middle: (K,) groups of each class in the relaxation.
        distance: between the bound of the prices and the best selection known.
        allowed: the part of it that needs no closing.
        nodes: most nodes of one run of CBC.
        check: tells for groups kept of some rows whether they fit where rounding leaves it open.
    """

    pool: Pool
    base: Base
    curves: Sequence[Curve]
    middle: Floats
    distance: float
    allowed: float
    nodes: int
    check: Callable[[Ints, Floats], bool]

    def left(self, number: Floats) -> Floats:
        """Return (R,) the room that numbers (K,) leave, all other rows as in the base."""
        shift = [c.cost * (n - c.usual) for c, n in zip(self.curves, number, strict=True)]
        return np.asarray(self.base.left - np.sum(shift, axis=0))

    def chosen(self, number: Floats) -> tuple[Ints, Floats]:
        """Return (n,) the open rows and (n,) how many groups of each are kept."""
        taken = [curve.taken(n) for curve, n in zip(self.curves, number, strict=True)]
        return np.concatenate([curve.rows for curve in self.curves]), np.concatenate(taken)

    def gain(self, number: Floats) -> float:
        """Return what numbers (K,) are worth against the base."""
        return float(sum(c.gain(n) for c, n in zip(self.curves, number, strict=True)))

    def fits(self, number: Floats, left: Floats) -> bool:
        """Tell whether numbers (K,) that leave this much are within the rooms."""
        grain = self.pool.grain
        sure = bool((left >= grain).all())
        return sure or (bool((left >= -grain).all()) and self.check(*self.chosen(number)))


@dataclass(frozen=True)
class Answer:
    """What CBC found.

    Attributes:
        gain: value of the best numbers against the base, -inf if nothing usable came back.
        number: (K,) groups kept of each class.
        bound: no choice for these rows gains more; inf if CBC did not finish.
    """

    gain: float
    number: Floats
    bound: float


def solve_residual(core: ResidualCore) -> Answer:
    """Find the best choice for the open rows while the others stay as they are in the base."""
    marks = [curve.marks(n) for curve, n in zip(core.curves, core.middle, strict=True)]
    best = Answer(-np.inf, core.middle, np.inf)
    for _ in range(_ROUNDS):
        answer = _fitting(core, marks)
        better = answer if answer.gain > best.gain else best
        best = replace(better, bound=min(best.bound, answer.bound))
        following = [
            mark if n in mark else curve.closer(mark, n)
            # Marks grow only around the answer: elsewhere the bound need not be close.
            for curve, mark, n in zip(core.curves, marks, answer.number, strict=True)
        ]
        # No new marks: at this answer the pieces are the curves, so that it is optimal.
        exact = all(len(a) == len(b) for a, b in zip(marks, following, strict=True))
        if exact or best.bound - best.gain <= core.allowed or not np.isfinite(answer.bound):
            break
        marks = following
    return best


def _fitting(core: ResidualCore, marks: list[Floats]) -> Answer:
    """Solve with these marks; with less room as long as what comes back does not fit."""
    # All open rows dropped: their numbers are counted from 0 in the program.
    room = core.left(np.zeros(len(core.curves))) + core.pool.grain
    bound = np.inf
    for attempt in range(ATTEMPTS):
        number, finished = _run(core, marks, room)
        if number is None:
            # Only with the room as given does "infeasible" prove anything.
            bound = -np.inf if finished and not attempt else bound
            break
        # Smaller rooms than those given bound nothing.
        if finished and not attempt:
            each = zip(core.curves, marks, number, strict=True)
            # The pieces lie above the curves, so that their best worth bounds every choice.
            bound = sum(curve.bounded_gain(mark, n) for curve, mark, n in each) + core.allowed / 2
        left = core.left(number)
        if core.fits(number, left):
            return Answer(core.gain(number), number, bound)
        # Twice what is missing: CBC may use up its tolerance again.
        room = room - np.maximum(2 * (core.pool.grain - left), 0)
    return Answer(-np.inf, core.middle, bound)


def _run(core: ResidualCore, marks: list[Floats], room: Floats) -> tuple[Floats | None, bool]:
    """Return the numbers (K,) that CBC proposes, if any, and whether it finished."""
    model, number = _model(core, marks, room)
    allowed = core.allowed / 2 * DISTANCE / core.distance
    answered, finished = run(model, allowed, core.nodes)
    if not answered:
        return None, finished
    # CBC leaves integers off by up to 1e-6, and unset variables None.
    proposed = np.rint(np.array([variable.value() or 0.0 for variable in number]))
    most = np.array([curve.ends[-1] for curve in core.curves])
    return np.clip(proposed, 0, most), finished


def _model(core: ResidualCore, marks: list[Floats], room: Floats) -> tuple[Any, list[Any]]:
    """Return the program, and its variable of each class's number."""
    import pulp

    scale = DISTANCE / core.distance
    model = pulp.LpProblem("core", pulp.LpMaximize)
    number, worth = [], []
    for index, (curve, mark) in enumerate(zip(core.curves, marks, strict=True)):
        # Whole numbers are asked of the class alone; its pieces may be filled in part.
        n = model.add_variable(f"n{index}", 0, int(curve.ends[-1]), pulp.LpInteger)
        number.append(n)
        lengths, worths = curve.pieces(mark)
        # Worths fall from piece to piece, so that CBC fills them in order without any binary.
        if len(lengths) == 1:
            worth.append((n, float(worths[0] * scale)))
            continue
        pieces = [model.add_variable(f"p{index}_{i}", 0, float(x)) for i, x in enumerate(lengths)]
        worth += list(zip(pieces, (worths * scale).tolist(), strict=True))
        model += pulp.LpAffineExpression([(n, -1.0), *((piece, 1.0) for piece in pieces)]) == 0
    model += pulp.LpAffineExpression(worth)
    grain = core.pool.grain
    # Where costs are whole, back to their own units: integers pass through PuLP's twelve digits.
    factor = np.where(grain > 0, ROOM, np.minimum(core.pool.cost_unit, ROOM))
    for resource, (most, by) in enumerate(zip(room, factor, strict=True)):
        held = [
            (n, float(curve.cost[resource] * by))
            for n, curve in zip(number, core.curves, strict=True)
            if curve.cost[resource]
        ]
        model += pulp.LpAffineExpression(held) <= float(most * by)
    return model, number
