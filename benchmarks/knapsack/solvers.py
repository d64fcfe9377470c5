"""The solvers that `benchmarks.knapsack` compares: each takes an instance and a time limit.

A solver returns which groups it keeps, or None if it found nothing. One that needs a package that
is not installed raises `NotInstalled`.
"""

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rfprune.knapsack import Selection, solve

Floats = npt.NDArray[np.float64]
Keep = npt.NDArray[np.bool_] | None


class NotInstalled(Exception):
    """A package that the solver needs is missing."""


class Instance(NamedTuple):
    """Values (G,), costs (G, R), budgets (R,)."""

    value: Floats
    cost: Floats
    budget: Floats


def ours(problem: Instance, limit: float) -> Selection:
    return solve(problem.value, problem.cost, problem.budget)


def cbc(problem: Instance, limit: float) -> Keep:
    """One binary variable per group, CBC through PuLP, its default tolerances."""
    import pulp

    model = pulp.LpProblem("groups", pulp.LpMaximize)
    keep = [model.add_variable(f"x{g}", cat="Binary") for g in range(len(problem.value))]
    model += pulp.LpAffineExpression(list(zip(keep, problem.value.tolist(), strict=True)))
    for cost, budget in zip(problem.cost.T.tolist(), problem.budget, strict=True):
        model += pulp.LpAffineExpression(list(zip(keep, cost, strict=True))) <= float(budget)
    model.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=limit))
    if model.status != pulp.LpStatusOptimal:
        return None
    return np.array([(variable.value() or 0) > 0.5 for variable in keep])


def highs(problem: Instance, limit: float) -> Keep:
    """One binary variable per group, HiGHS, relative gap 1e-7."""
    import highspy

    solver = highspy.Highs()
    settings = {"output_flag": False, "mip_rel_gap": 1e-7, "time_limit": limit, "threads": 1}
    for option, setting in settings.items():
        solver.setOptionValue(option, setting)
    groups, resources = problem.cost.shape
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = groups, resources
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = problem.value
    model.col_lower_, model.col_upper_ = np.zeros(groups), np.ones(groups)
    model.row_lower_, model.row_upper_ = np.full(resources, -np.inf), problem.budget
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.arange(0, resources * groups + 1, groups)
    model.a_matrix_.index_ = np.tile(np.arange(groups), resources)
    model.a_matrix_.value_ = problem.cost.T.ravel()
    model.integrality_ = [highspy.HighsVarType.kInteger] * groups
    solver.passModel(model)
    solver.run()
    kept = np.asarray(solver.getSolution().col_value)
    return kept > 0.5 if len(kept) == groups else None


@cache
def _hls4ml() -> Any:
    """Load hls4ml's solver by its file; its package would import TensorFlow."""
    spec = importlib.util.find_spec("hls4ml")
    if spec is None or spec.origin is None:
        raise NotInstalled("hls4ml")
    path = Path(spec.origin).parent / "optimization" / "dsp_aware_pruning" / "knapsack.py"
    if not path.is_file():
        raise NotInstalled("hls4ml with optimization/dsp_aware_pruning")
    own = importlib.util.spec_from_file_location("hls4ml_knapsack", path)
    assert own is not None
    assert own.loader is not None
    module = importlib.util.module_from_spec(own)
    own.loader.exec_module(module)
    return module


def hls4ml(problem: Instance, limit: float, implementation: str) -> Keep:
    """hls4ml's own choice; its default, ``CBC_MIP``, cuts values to 1e-5 and needs OR-Tools."""
    options: dict[str, Any] = {"implementation": implementation}
    if implementation == "CBC_MIP":
        options["time_limit"] = limit
        try:
            # What hls4ml imports; later releases of OR-Tools have it under another name.
            importlib.import_module("ortools.algorithms.pywrapknapsack_solver")
        except ImportError as error:
            raise NotInstalled("OR-Tools <= 9.6") from error
    cost, budget = problem.cost.T.astype(int), problem.budget.astype(int)
    with contextlib.redirect_stdout(io.StringIO()):
        _, chosen = _hls4ml().solve_knapsack(problem.value, cost, budget, **options)
    keep = np.zeros(len(problem.value), dtype=bool)
    keep[list(chosen)] = True
    return keep


hls4ml_greedy = partial(hls4ml, implementation="greedy")
#: By name: how it is called, and the largest problem that it is tried on.
SOLVERS: dict[str, tuple[Callable[[Instance, float], Selection | Keep], float]] = {
    "rfprune": (ours, np.inf),
    "CBC per group": (cbc, 10_000),
    "HiGHS per group": (highs, 10_000),
    "hls4ml CBC_MIP": (partial(hls4ml, implementation="CBC_MIP"), 10_000),
    "hls4ml greedy": (hls4ml_greedy, np.inf),
}
