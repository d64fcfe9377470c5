"""Draws selection problems, solves them by every solver, and judges what each returns.

The instances, how times are taken and what a gap is measured against: ``pages/knapsack.md``.
"""

import resource
import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from benchmarks.knapsack.solvers import SOLVERS, Floats, Instance, NotInstalled, ours
from benchmarks.report import apart, memory_mb, read_cases, render, sentence, table, verdict
from rfprune.knapsack import Selection

#: Of what all groups hold, per resource.
SHARES = (0.5, 0.4, 0.45, 0.35)
PACKAGES = ("rfprune", "numpy", "pulp", "highspy", "hls4ml", "ortools")


def draw_values(name: str, groups: int, rng: np.random.Generator) -> Floats:
    """Return (G,) values of one of the distributions."""
    if name == "lognormal":
        return rng.lognormal(size=groups)
    if name == "ties":
        return rng.integers(1, 6, groups).astype(float)
    if name == "equal":
        return np.full(groups, 0.37)
    value: Floats = np.abs(rng.normal(size=groups))
    return value * (rng.random(groups) < 0.1) if name == "zeros" else value


@dataclass(frozen=True)
class Case:
    """How values are drawn, how many resources, how many distinct cost vectors, of what size."""

    values: str
    resources: int
    vectors: int
    unlike: bool = False

    def draw(self, groups: int, seed: int) -> Instance:
        """Return the instance of this size."""
        rng = np.random.default_rng([seed, groups, self.resources, self.vectors])
        vectors = rng.integers(0, 40, (self.vectors, self.resources)).astype(float)
        weights, share = np.ones(self.vectors), np.full(self.vectors, 1 / self.vectors)
        if self.unlike:
            weights = 2 ** rng.uniform(0, 8, self.vectors)
            spread = 2 ** rng.uniform(-1, 1, vectors.shape) * (rng.random(vectors.shape) < 0.75)
            vectors, share = np.ceil(weights[:, None] * spread), weights.min() / weights
        kind = np.sort(rng.choice(self.vectors, groups, p=share / share.sum()))
        cost, value = vectors[kind], weights[kind] * draw_values(self.values, groups, rng)
        held = cost[value > 0].sum(axis=0)
        return Instance(value, cost, np.floor(held * SHARES[: self.resources]))


CASES = {name: Case(**case) for name, case in read_cases("knapsack").items()}


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))


def peak_mb(case: Case, groups: int, seed: int) -> float | None:
    """Return the peak memory of a process that draws and solves, in MB; call it in a fresh one."""
    ours(case.draw(groups, seed), 0.0)
    return memory_mb("VmHWM")


def row(name: str, problem: Instance, bound: float, options: Namespace) -> dict[str, Any]:
    """Run one solver on one instance, as the options say, and judge what it returns.

    Median seconds and CPU seconds, the gap to the bound, and whether the budgets hold.
    """
    own, wall, cpu, answer = name == "rfprune", [], [], None
    for _ in range(options.repeats if own else 1):
        began, used = time.perf_counter(), cpu_seconds()
        try:
            answer = SOLVERS[name][0](problem, options.limit)
        except NotInstalled as missing:
            return {"solver": name, "status": f"{missing} not installed"}
        wall.append(time.perf_counter() - began)
        cpu.append(cpu_seconds() - used)
    seconds = statistics.median(wall)
    line = {"solver": name, "seconds": seconds, "cpu_seconds": statistics.median(cpu)}
    if answer is None:
        return {**line, "status": f"nothing in {options.limit:g} s"}
    found = isinstance(answer, Selection)
    keep = answer.keep if found else answer
    objective = float(problem.value[keep].sum())
    stopped = "at the limit" if seconds >= 0.95 * options.limit else "returned"
    return {
        **line,
        "gap": answer.gap if found else max(0.0, (bound - objective) / bound),
        "status": answer.status if found else stopped,
        "feasible": bool((problem.cost[keep].sum(axis=0) <= problem.budget).all()),
    }


def rows(options: Namespace) -> Iterator[dict[str, Any]]:
    """Yield one row per case, size and solver."""
    sizes = [int(float(size)) for size in options.sizes.split(",")]
    for name, groups in product(options.cases, sizes):
        problem = CASES[name].draw(groups, options.seed)
        # Also warms up, so that the first timed run is not the process's first.
        bound = ours(problem, 0.0).bound
        own: float | None = None
        for solver in (s for s, (_, most) in SOLVERS.items() if groups <= most):
            line = {"case": name, "groups": groups, **row(solver, problem, bound, options)}
            if solver == "rfprune":
                own = line["seconds"]
                line["peak_mb"] = apart(peak_mb, CASES[name], groups, options.seed)
            elif own and "seconds" in line:
                line["times_ours"] = line["seconds"] / own
            yield line


def targets(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for every target the worst (or the median) of the rows that it is about."""
    result = []
    for target in read_cases("knapsack", "targets")["targets"]:
        numbers = [
            line[target["quantity"]]
            for line in lines
            if line["solver"] == target["solver"]
            and line["groups"] == target.get("groups", line["groups"])
            and CASES[line["case"]].resources in target.get("resources", (1, 2, 4))
            and CASES[line["case"]].vectors in target.get("vectors", (11, 60))
            and line.get(target["quantity"]) is not None
        ]
        row: dict[str, Any] = {"target": target["name"], "asked": target["asked"]}
        if numbers:
            at_least = target.get("at_least", False)
            measured = float(statistics.median(numbers) if at_least else max(numbers))
            row |= {"measured": measured, "met": verdict(measured, target["asked"], at_least)}
        result.append(row)
    return result


def measure(options: Namespace) -> dict[str, Any]:
    """Return every row, and the targets held against them."""
    lines = list(rows(options))
    return {"targets": targets(lines), "rows": lines}


def page(result: dict[str, Any]) -> str:
    """Return the whole result as Markdown."""
    infeasible = [line for line in result["rows"] if line.get("feasible") is False]
    return render(
        "knapsack",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        targets=table(result["targets"]),
        over=f"{len(infeasible)} of {len(result['rows'])}",
        rows=table(result["rows"]),
    )
