"""Writes the page of pruning results from what ``benchmarks.pruning --json FILE`` kept.

``python -m benchmarks.pruning.page docs/results/pruning/*.json`` (one file per task).
"""

import argparse
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drawing import picture
from benchmarks.pruning.measure import MARGIN, summary
from benchmarks.pruning.tasks import BAR, TASKS, Point, Results, Run, Task
from benchmarks.report import RESULTS, render, table
from benchmarks.statistics import compare, holm

#: Fraction of the DSPs that must be gone for a point to be compared: above it all methods agree.
FROM = 0.65
_GRID = np.arange(0.70, 0.971, 0.005)
#: Where all groups cost the same these two choose the same; the one is drawn over the other.
_STYLES: dict[str, dict[str, Any]] = {
    "knapsack": {"linewidth": 3.0},
    "greedy": {"linewidth": 1.4, "linestyle": (0, (3, 2))},
}


def comparison(runs: list[Run], ours: str = "knapsack") -> list[dict[str, Any]]:
    """Return one row per case and other method: difference of accuracy and p-value.

    A seed's accuracy is the mean over all budgets that take at least FROM of the DSPs. The test
    is the paired t-test over seeds, two-sided; p-values are corrected by Holm's method over all
    rows. `better_by` is followed by the range over the budgets.
    """

    def accuracies(case: str, method: str) -> dict[int, dict[int, float]]:
        own = [run for run in runs if (run.case, run.method) == (case, method)]
        return {r.seed: {p.step: p.accuracy for p in r.points if p.dsp >= FROM} for r in own}

    rows: list[dict[str, Any]] = []
    for case in dict.fromkeys(run.case for run in runs):
        for other in dict.fromkeys(run.method for run in runs if run.method != ours):
            both = accuracies(case, ours), accuracies(case, other)
            seeds = sorted(both[0].keys() & both[1].keys())
            # Steps that all seeds of both have, so that every mean is over the same budgets.
            steps = sorted(set.intersection(*(set(by[s]) for s in seeds for by in both)))
            mine, theirs = np.array([[[by[s][i] for i in steps] for s in seeds] for by in both])
            by_budget = (mine - theirs).mean(axis=0)
            found = compare(mine.mean(axis=1), theirs.mean(axis=1))
            rows.append(
                {
                    "case": case,
                    "against": other,
                    "accuracy": float(mine.mean()),
                    "better_by": float((mine - theirs).mean(axis=1).mean()),
                    "least": float(by_budget.min()),
                    "most": float(by_budget.max()),
                    "p": found["p_paired"],
                    "seeds": len(seeds),
                }
            )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the digits of the page."""
    fine = ("test_over_converged", "accuracy", "better_by", "least", "most", "p", "p_holm")
    text = {
        name: f"{value:.4f}" if name in fine else f"{value:.1f}"
        for name, value in row.items()
        if isinstance(value, float)
    }
    tiny = {name: "< 0.0001" for name in ("p", "p_holm") if name in row and row[name] < 5e-5}
    return {**row, **text, **tiny}


def aims(rows: list[dict[str, Any]], task: Task) -> Iterator[dict[str, Any]]:
    """Yield the knapsack beside what exists and what is aimed at."""
    for row in (row for row in rows if row["method"] == "knapsack" and row["case"] in task.aims):
        ratio = (row["test_over_converged"] or 0.0) / BAR
        met = row["reduction_percent"] >= task.aims[row["case"]] and ratio >= 1
        deviation = "" if row["sd"] is None else f" ± {row['sd']:.1f}"
        yield {
            "case": row["case"],
            "best existing": str(task.existing.get(row["case"], "")),
            "aim": str(task.aims[row["case"]]),
            "knapsack, mean ± s.d.": f"{row['reduction_percent']:.1f}{deviation}",
            "by seed": row["by_seed"],
            "test / bar": f"{ratio:.4f}",
            "met": "yes" if met else "no",
        }


def budgeted(task: Task) -> Callable[[Point], float]:
    """Return what gives the fraction of the DSPs that a step has to take at least.

    It is the same for all methods; how much of one resource goes beyond it says little where
    several are limited.
    """
    from rfprune.pruning.schedule import Schedule

    prune = task.spec["prune"]

    def fraction(point: Point) -> float:
        step = Schedule(prune["schedule"], prune["steps"], step=point.step - 1)
        return float(step.progress() or 1.0) * (1 - float(prune["budget"]["dsp"]))

    return fraction


def draw(results: Results, path: Path) -> None:
    """Draw each method's mean test accuracy against reduction, one panel per case."""
    task, runs = TASKS[results.task], results.ordered()
    reduction = attrgetter(task.resource) if task.refines else budgeted(task)
    label = f"{task.resource} pruned (%)" if task.refines else "DSPs to be pruned at least (%)"
    cases = list(dict.fromkeys(run.case for run in runs))
    bar = BAR * results.accuracy
    with picture(path, len(cases), min(3, len(cases)), (4.2, 3.2)) as panels:
        for axis, case in zip(panels, cases, strict=True):
            of_case = [run for run in runs if run.case == case]
            for method in dict.fromkeys(run.method for run in of_case):
                values = []
                for run in (run for run in of_case if run.method == method):
                    points = sorted(run.points, key=reduction)
                    x, y = [reduction(p) for p in points], [p.accuracy for p in points]
                    values.append(np.interp(_GRID, x, y, left=np.nan, right=np.nan))
                style = _STYLES.get(method, {"linewidth": 1.4})
                axis.plot(100 * _GRID, np.mean(values, axis=0), label=method, **style)
            axis.axhline(bar, color="black", linewidth=0.8, linestyle="--")
            axis.set_title(f"reuse factor {case}" if case.isdigit() else case, fontsize=10)
            axis.set(
                xlim=(69, 98), ylim=(bar - 0.07, bar + 0.02), xlabel=label, ylabel="test accuracy"
            )
        panels[0].legend(fontsize=8)


def section(path: Path) -> str:
    """Return the section of one file."""
    results = Results.read(path)
    name, runs, rows = results.task, results.ordered(), summary(results)
    rounds = TASKS[name].spec["prune"]["steps"]
    per_step = [run.cpu_seconds / len(run.points) for run in runs if run.method == "knapsack"]
    dense = float(np.median([one.dense_cpu_seconds for one in results.references]))
    parts = [
        f"## {name}",
        f"{len({run.seed for run in runs})} seeds on {results.machine}; converged dense network: "
        f"test accuracy {results.accuracy:.4f}; bar {BAR} of it, {BAR + MARGIN} on validation. "
        f"Dense training and {rounds} rounds of the knapsack method take "
        f"{dense + rounds * float(np.median(per_step)):.1f} CPU seconds on one thread.",
    ]
    if len(TASKS[name].methods) > 1:
        parts.append(f"![accuracy against reduction, {name}](pruning/{name}.png)")
    if name == "jets_mixed":
        found = comparison(runs)
        surely = [row["better_by"] > 0 for row in found if row["p_holm"] < 0.05]
        counts = (len(found), sum(surely), len(surely) - sum(surely))
        known = dict(zip(("rows", "better", "worse"), map(str, counts), strict=True))
        known |= {"part": f"{FROM:.0%}", "comparisons": table(map(shown, found))}
        return "\n\n".join([*parts, render("pruning_mixed", **known)])
    if TASKS[name].aims:
        parts.append(table(aims(rows, TASKS[name])))
    return "\n\n".join([*parts, table(map(shown, rows))]) + "\n"


def page(files: list[Path]) -> str:
    """Return the page of these files."""
    return render("pruning", sections="\n".join(map(section, files)))


def main() -> None:
    """Write ``docs/results/pruning.md`` and its pictures."""
    parser = argparse.ArgumentParser(description="the page of pruning results")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "pruning.md")
    given = parser.parse_args()
    for file in given.files:
        results = Results.read(file)
        if len(TASKS[results.task].methods) > 1:
            draw(results, given.out.with_suffix("") / f"{results.task}.png")
    given.out.write_text(page(given.files), encoding="utf-8")
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
