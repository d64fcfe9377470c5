"""The solvers that `benchmarks.knapsack` compares: each takes an instance and a time limit.

A solver returns which groups it keeps, or None if it found nothing. One that needs a package that
is not installed raises `NotInstalled`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rfprune.knapsack import Selection, solve

__all__ = ["SOLVERS", "Instance", "NotInstalled", "Solver"]

Floats = npt.NDArray[np.float64]
Keep = npt.NDArray[np.bool_] | None


class NotInstalled(Exception):
    """A package that the solver needs is missing."""


@dataclass(frozen=True)
class Instance:
    """Values (G,), costs (G, R), budgets (R,)."""

    value: Floats
    cost: Floats
    budget: Floats


@dataclass(frozen=True)
class Solver:
    """How to call it, and the largest problem it is tried on."""

    run: Callable[[Instance, float], Selection | Keep]
    most_groups: float = 10_000


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
    for option, setting in (
        ("output_flag", False),
        ("mip_rel_gap", 1e-7),
        ("time_limit", float(limit)),
        ("threads", 1),
    ):
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
    module_spec = importlib.util.spec_from_file_location("hls4ml_knapsack", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def _run_hls4ml(problem: Instance, implementation: str, **options: Any) -> Keep:
    with contextlib.redirect_stdout(io.StringIO()):
        _, chosen = _hls4ml().solve_knapsack(
            problem.value,
            problem.cost.T.astype(int),
            problem.budget.astype(int),
            implementation=implementation,
            **options,
        )
    keep = np.zeros(len(problem.value), dtype=bool)
    keep[list(chosen)] = True
    return keep


def hls4ml_cbc(problem: Instance, limit: float) -> Keep:
    """hls4ml's default: values cut to 1e-5, one binary variable per group, CBC in OR-Tools."""
    try:
        # What hls4ml imports; later releases of OR-Tools have it under another name.
        importlib.import_module("ortools.algorithms.pywrapknapsack_solver")
    except ImportError as error:
        raise NotInstalled("OR-Tools <= 9.6") from error
    return _run_hls4ml(problem, "CBC_MIP", time_limit=limit)


def hls4ml_greedy(problem: Instance, limit: float) -> Keep:
    return _run_hls4ml(problem, "greedy")


SOLVERS: dict[str, Solver] = {
    "rfprune": Solver(ours, np.inf),
    "CBC per group": Solver(cbc),
    "HiGHS per group": Solver(highs),
    "hls4ml CBC_MIP": Solver(hls4ml_cbc),
    "hls4ml greedy": Solver(hls4ml_greedy, np.inf),
}
