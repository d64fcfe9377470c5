"""`rfprune.knapsack.solve` beside per-group CBC and HiGHS, and hls4ml's own solver.

``python -m benchmarks.knapsack [--sizes 1000,10000,...] [--cases NAME,...] [--out FILE] [--json]``

Groups lie in layers; a layer has one cost vector, drawn from 0 to 39 per resource. Budgets are 50,
40, 45 and 35 % of what all groups hold, so that several bind. Values are drawn per group: chi (the
magnitude of a normal weight), lognormal, ties (1 to 5), zeros (nine in ten are zero), equal (all
0.37). In unlike layers a group has 1 to 256 weights, from single weights to memory words: its value
and its costs go with their number, a quarter of the costs is zero, and large groups are few.

Seconds are the median of the repeats by the wall clock, of a process that has solved before; CPU
seconds include child processes. The gap of every solver is measured against the bound that `solve`
proves: (bound - kept value) / bound; for `solve` it is the gap that it reports itself. Peak memory
is that of a process of its own that draws the instance and solves it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.knapsack.solvers import SOLVERS, Floats, Instance, NotInstalled, Solver, ours
from benchmarks.report import facts, print_result, sentence, table
from rfprune.knapsack import Selection

SHARES = (0.5, 0.4, 0.45, 0.35)
PACKAGES = ("rfprune", "numpy", "pulp", "highspy", "hls4ml", "ortools")
COLUMNS = (
    "case", "groups", "solver", "seconds", "cpu_seconds", "times_ours", "gap", "status",
    "feasible", "peak_mb",
)  # fmt: skip


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


CASES = {
    "chi, 1 resource": Case("chi", 1, 11),
    "chi, 2 resources": Case("chi", 2, 11),
    "chi, 4 resources": Case("chi", 4, 11),
    "chi, 2 resources, 60 vectors": Case("chi", 2, 60),
    "chi, 4 resources, 60 vectors": Case("chi", 4, 60),
    "lognormal, 2 resources": Case("lognormal", 2, 11),
    "lognormal, 4 resources": Case("lognormal", 4, 11),
    "ties, 2 resources": Case("ties", 2, 11),
    "zeros, 2 resources": Case("zeros", 2, 11),
    "equal, 2 resources": Case("equal", 2, 11),
    "unlike layers, 2 resources": Case("chi", 2, 11, unlike=True),
    "unlike layers, 4 resources": Case("lognormal", 4, 11, unlike=True),
}

#: What is asked for: name, resources, distinct vectors at most, groups, seconds.
TARGETS = (
    ("100,000 groups, 2 resources, few vectors", 2, 11, 100_000, 0.12),
    ("1,000,000 groups, 2 resources, few vectors", 2, 11, 1_000_000, 0.4),
    ("1,000,000 groups, 4 resources, few vectors", 4, 11, 1_000_000, 0.8),
    ("1,000,000 groups, 2 or 4 resources, 60 vectors", None, 60, 1_000_000, 2.0),
)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))


def peak_mb(case: Case, groups: int, seed: int) -> float:
    """Return the peak memory of a fresh process that draws and solves, in MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_draw_and_solve, (case, groups, seed))


def _draw_and_solve(case: Case, groups: int, seed: int) -> float:
    ours(case.draw(groups, seed), 0.0)
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike ru_maxrss, this one forgets the process that this one was forked from.
        high = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return float(high.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure(
    solver: Solver, problem: Instance, limit: float, repeats: int
) -> tuple[dict[str, Any], Any]:
    """Return median seconds and CPU seconds, and the last answer."""
    wall, cpu, answer = [], [], None
    for _ in range(repeats):
        began, used = time.perf_counter(), cpu_seconds()
        answer = solver.run(problem, limit)
        wall.append(time.perf_counter() - began)
        cpu.append(cpu_seconds() - used)
    return {"seconds": statistics.median(wall), "cpu_seconds": statistics.median(cpu)}, answer


def row(name: str, problem: Instance, bound: float, options: argparse.Namespace) -> dict[str, Any]:
    """Run one solver on one instance and judge what it returns."""
    solver = SOLVERS[name]
    try:
        own = name == "rfprune"
        times, answer = measure(solver, problem, options.limit, options.repeats if own else 1)
    except NotInstalled as missing:
        return {"solver": name, "status": f"{missing} not installed"}
    if answer is None:
        return {"solver": name, **times, "status": f"nothing in {options.limit:g} s"}
    found = isinstance(answer, Selection)
    keep = answer.keep if found else answer
    objective = float(problem.value[keep].sum())
    feasible = bool((problem.cost[keep].sum(axis=0) <= problem.budget).all())
    stopped = "at the limit" if times["seconds"] >= 0.95 * options.limit else "returned"
    return {
        "solver": name,
        **times,
        "gap": answer.gap if found else max(0.0, (bound - objective) / bound),
        "status": answer.status if found else stopped,
        "feasible": feasible,
    }


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one row per case, size and solver."""
    for name in options.cases:
        for groups in options.sizes:
            problem = CASES[name].draw(groups, options.seed)
            proven = ours(problem, 0.0)
            own: float | None = None
            for solver in (s for s in SOLVERS if groups <= SOLVERS[s].most_groups):
                line = {"case": name, "groups": groups}
                line |= row(solver, problem, proven.bound, options)
                if solver == "rfprune":
                    own = line["seconds"]
                    line["peak_mb"] = peak_mb(CASES[name], groups, options.seed)
                elif own and "seconds" in line:
                    line["times_ours"] = line["seconds"] / own
                yield line


def verdicts(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for every target the worst of the rows that it speaks of."""
    mine = [line for line in lines if line["solver"] == "rfprune"]
    result = []
    for text, resources, vectors, groups, seconds in TARGETS:
        cases = [(line, CASES[line["case"]]) for line in mine if line["groups"] == groups]
        times = [
            line["seconds"]
            for line, case in cases
            if case.vectors == vectors and resources in (None, case.resources)
        ]
        result.append(_verdict(f"{text}: seconds", times, seconds, max))
    memory = [line["peak_mb"] for line in mine if line["groups"] == 1_000_000]
    result.append(_verdict("1,000,000 groups: peak MB", memory, 1000, max))
    gaps = [line["gap"] for line in mine]
    result.append(_verdict("every size: gap", gaps, 1e-6, max))
    cbc = [
        line["times_ours"]
        for line in lines
        if line["solver"] == "CBC per group" and line["groups"] == 10_000 and "times_ours" in line
    ]
    result.append(_verdict("10,000 groups: CBC per group / ours, median", cbc, 100, None))
    return result


def _verdict(text: str, numbers: list[float], target: float, worst: Any) -> dict[str, Any]:
    if not numbers:
        return {"target": text, "asked": target}
    value = worst(numbers) if worst else statistics.median(numbers)
    met = value <= target if worst else value >= target
    return {"target": text, "asked": target, "measured": float(value), "met": bool(met)}


def page(result: dict[str, Any]) -> str:
    """Return the whole result as Markdown."""
    infeasible = [r for r in result["rows"] if r.get("feasible") is False]
    return "\n\n".join(
        [
            "# The selection problem: time, gap, memory",
            f"Made by `{result['command']}`. {sentence(result['facts'])}",
            (__doc__ or "").split("\n\n", 2)[2].strip(),
            "## Targets",
            table(result["targets"], ("target", "asked", "measured", "met")),
            "## All rows",
            f"Over budget: {len(infeasible)} of {len(result['rows'])} rows. `times_ours`: seconds "
            "of the solver over seconds of `solve`. A per-group model is not run on more than "
            "10,000 groups.",
            table(result["rows"], COLUMNS),
        ]
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="solve beside CBC, HiGHS and hls4ml's solver")
    parser.add_argument("--sizes", default="1000,10000,100000,1000000", help="groups, with commas")
    parser.add_argument("--cases", default="", help=f"some of: {'; '.join(CASES)} (with ;)")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds for other solvers")
    parser.add_argument("--repeats", type=int, default=5, help="runs of solve; the median counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the page to this file as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    options.sizes = [int(float(size)) for size in options.sizes.split(",")]
    options.cases = [name.strip() for name in options.cases.split(";") if name.strip()] or [*CASES]
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"no case '{unknown[0]}'; there are: {'; '.join(CASES)}")
    return options


def main() -> None:
    """Measure, and print or write the result."""
    options = parsed()
    known = facts(PACKAGES, options.seed)
    lines = list(rows(options))
    sizes = ",".join(map(str, options.sizes))
    result = {
        "command": f"python -m benchmarks.knapsack --sizes {sizes} --seed {options.seed}",
        "facts": known,
        "targets": verdicts(lines),
        "rows": lines,
    }
    if options.out:
        options.out.write_text(page(result) + "\n", encoding="utf-8")
    print_result(page(result), result, options.json)


if __name__ == "__main__":
    main()
