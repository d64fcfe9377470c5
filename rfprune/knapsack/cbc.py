"""How a mixed integer program is handed to CBC, and what its answer proves.

CBC works with tolerances (1e-7 on constraints, 1e-5 on an improvement of the objective) and PuLP
hands numbers over with twelve digits. A program is therefore scaled so that the distance that is
still open is worth `DISTANCE`, and what comes back is rounded and checked against the exact rooms.
"""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["ATTEMPTS", "DISTANCE", "ROOM", "run"]

#: Value of the open distance in the objective that CBC sees.
DISTANCE = 1e4
#: Largest factor from scaled units to what CBC sees; integers up to this stay integers.
ROOM = 2.0**20
#: How often the room is made smaller because what came back does not fit.
ATTEMPTS = 3


def run(model: Any, allowed: float, nodes: int) -> tuple[bool, bool]:
    """Solve a PuLP program in place.

    Args:
        model: the program.
        allowed: distance from the optimum, in its own objective, that needs no closing.
        nodes: most nodes of the search tree.

    Returns:
        Whether its variables hold an answer, and whether CBC finished. Finished without an answer
        means that there is none.
    """
    import pulp

    with warnings.catch_warnings():
        # PuLP 3 brings CBC along, PuLP 4 will not; the requirement is below 4.
        warnings.simplefilter("ignore", DeprecationWarning)
        solver = pulp.PULP_CBC_CMD(msg=False, gapAbs=allowed, gapRel=0, maxNodes=nodes)
    try:
        model.solve(solver)
    except pulp.PulpSolverError:
        return False, False
    if model.status != pulp.LpStatusOptimal:
        return False, bool(model.status == pulp.LpStatusInfeasible)
    return True, bool(model.sol_status == pulp.LpSolutionOptimal)
