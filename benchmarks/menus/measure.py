"""Draws menus, solves them by `solve_menu` and by HiGHS, and judges what each returns.

The instances, how times are taken and what a gap is measured against: ``pages/menus.md``.
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import apart, memory_mb, read_cases, render, sentence, table, verdict
from rfprune.knapsack import MenuSelection, solve_menu

Floats = npt.NDArray[np.float64]
#: Of the way from the cheapest entries to the most expensive, per resource.
SHARES = (0.25, 0.3, 0.28)
ENTRIES = 8
#: HiGHS gets no larger problems.
MOST_FOR_HIGHS = 1000


@dataclass(frozen=True)
class Case:
    """How values and costs are drawn, and how many resources there are."""

    kind: str
    resources: int

    def draw(self, groups: int, seed: int) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int64]]:
        """Return values (E,), costs (E, R), budgets (R,) and starts (G + 1,)."""
        rng = np.random.default_rng([seed, groups, self.resources])
        entries = groups * ENTRIES
        shape, start = (entries, self.resources), np.arange(0, entries + 1, ENTRIES)
        if self.kind == "digits":
            digits = np.tile(np.arange(float(ENTRIES)), groups)
            value = np.repeat(rng.lognormal(size=groups), ENTRIES) * (1 - 4.0**-digits)
            value *= rng.uniform(0.9, 1, entries)
            width = rng.integers(1, 12, (groups, self.resources))
            cost = digits[:, None] * np.repeat(width, ENTRIES, axis=0)
        elif self.kind == "integers":
            value = rng.integers(0, 10, entries).astype(float)
            cost = rng.integers(0, 20, shape).astype(float)
        else:
            value, cost = rng.random(entries), rng.random(shape)
        least = np.minimum.reduceat(cost, start[:-1], axis=0).sum(axis=0)
        most = np.maximum.reduceat(cost, start[:-1], axis=0).sum(axis=0)
        budget = np.floor(least + (most - least) * SHARES[: self.resources])
        return value, cost, budget, start


CASES = {name: Case(**case) for name, case in read_cases("menus").items()}


def peak_mb(case: Case, groups: int, seed: int) -> float | None:
    """Return the peak memory of a process that draws and solves, in MB; call it in a fresh one."""
    solve_menu(*case.draw(groups, seed))
    return memory_mb("VmHWM")


def highs(problem: tuple[Any, ...], limit: float) -> dict[str, Any]:
    """Return what HiGHS finds with one binary per entry: seconds and value."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    value, cost, budget, start = problem
    entries = len(value)
    one = csr_array((np.ones(entries), np.arange(entries), start), shape=(len(start) - 1, entries))
    begun = time.perf_counter()
    answer = milp(
        -value,
        constraints=[LinearConstraint(one, 1, 1), LinearConstraint(cost.T, ub=budget)],
        integrality=1,
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-9, "time_limit": limit},
    )
    seconds = time.perf_counter() - begun
    found = None if answer.x is None else float(-answer.fun)
    return {"seconds": seconds, "objective": found, "finished": answer.status == 0}


def rows(options: Namespace) -> Iterator[dict[str, Any]]:
    """Yield one row per case and size."""
    for name, size in product(options.cases, options.sizes.split(",")):
        case, groups = CASES[name], int(float(size))
        problem = case.draw(groups, options.seed)
        wall: list[float] = []
        found: MenuSelection | None = None
        for _ in range(options.repeats):
            begun = time.perf_counter()
            found = solve_menu(*problem)
            wall.append(time.perf_counter() - begun)
        assert found is not None
        line: dict[str, Any] = {
            "case": name,
            "menus": groups,
            "seconds": statistics.median(wall),
            "gap": found.gap,
            "status": found.status,
            "feasible": bool((problem[1][found.choice].sum(axis=0) <= problem[2]).all()),
            "peak_mb": apart(peak_mb, case, groups, options.seed),
        }
        if groups <= MOST_FOR_HIGHS:
            other = highs(problem, options.limit)
            line["highs_seconds"] = other["seconds"]
            if other["objective"] is not None:
                line["highs_below_ours"] = 1 - other["objective"] / found.objective
        yield line


def measure(options: Namespace) -> dict[str, Any]:
    """Return every row, and the targets held against those of a million menus."""
    lines = list(rows(options))
    targets = []
    for target in read_cases("menus", "targets")["targets"]:
        numbers = [
            line[target["quantity"]]
            for line in lines
            if line["menus"] == 10**6
            and CASES[line["case"]].resources
            == target.get("resources", CASES[line["case"]].resources)
        ]
        row: dict[str, Any] = {"target": target["name"], "asked": target["asked"]}
        if numbers:
            row |= {"measured": max(numbers), "met": verdict(max(numbers), target["asked"])}
        targets.append(row)
    return {"targets": targets, "rows": lines}


def page(result: dict[str, Any]) -> str:
    """Return the whole result as Markdown."""
    return render(
        "menus",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        targets=table(result["targets"]),
        rows=table(result["rows"]),
    )
