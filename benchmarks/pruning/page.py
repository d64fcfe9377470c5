"""Writes the page of pruning results from what ``benchmarks.pruning --json FILE`` kept.

``python -m benchmarks.pruning.page docs/results/pruning/*.json`` (one file per task).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pruning.compare import FROM, comparison
from benchmarks.pruning.measure import (
    BAR,
    MARGIN,
    Point,
    Reference,
    Results,
    Run,
    complete_cpu_seconds,
    table,
)
from benchmarks.pruning.tasks import TASKS, Task
from benchmarks.report import RESULTS

#: Largest DSP reduction in % on the simulated jets that existing tools and short references reach
#: (hls4ml's own API, PQuant, group magnitude with and without lasso), and what is aimed at.
PEERS = {"1": 93.5, "2": 90.0, "4": 87.5, "8": 85.0, "16": 83.2, "32": 79.7}
AIMS = {"1": 95.0, "2": 92.5, "4": 91.0, "8": 89.0, "16": 87.0, "32": 84.0}
#: DSP at the reuse factors of the paper, and its own figure for BRAM (arXiv 2308.05170).
LENET_AIMS = {"fashion_mnist": 90.0, "fashion_mnist_bram": 81.0}
_GRID = np.arange(0.70, 0.971, 0.005)
#: Where all groups cost the same these two choose the same; the one is drawn over the other.
_STYLES: dict[str, dict[str, Any]] = {
    "knapsack": {"linewidth": 3.0},
    "greedy": {"linewidth": 1.4, "linestyle": (0, (3, 2))},
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


def curves(
    runs: list[Run], reduction: Callable[[Point], float]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each method's mean test accuracy over the grid; NaN outside its points."""
    for method in dict.fromkeys(run.method for run in runs):
        own = []
        for run in (run for run in runs if run.method == method):
            points = sorted(run.points, key=reduction)
            x = [reduction(p) for p in points]
            y = [p.accuracy for p in points]
            own.append(np.interp(_GRID, x, y, left=np.nan, right=np.nan))
        yield method, np.mean(own, axis=0)


def picture(task: Task, runs: list[Run], references: list[Reference], path: Path) -> None:
    """Draw test accuracy against reduction, one panel per case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    reduction = attrgetter(task.resource) if task.refines else budgeted(task)
    label = f"{task.resource} pruned (%)" if task.refines else "DSPs to be pruned at least (%)"
    cases = list(dict.fromkeys(run.case for run in runs))
    columns = min(3, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    bar = BAR * float(np.mean([r.accuracy for r in references]))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axis, case in zip(panels, cases, strict=False):
        for method, values in curves([run for run in runs if run.case == case], reduction):
            axis.plot(100 * _GRID, values, label=method, **_STYLES.get(method, {"linewidth": 1.4}))
        axis.axhline(bar, color="black", linewidth=0.8, linestyle="--")
        axis.set_xlim(69, 98)
        axis.set_ylim(bar - 0.07, bar + 0.02)
        axis.set_title(f"reuse factor {case}" if case in AIMS else case, fontsize=10)
        axis.set_xlabel(label)
        axis.set_ylabel("test accuracy")
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def aims(rows: list[dict[str, Any]], wanted: dict[str, float]) -> list[str]:
    """Return the knapsack beside what exists and what is aimed at, as a Markdown table."""
    lines = ["| case | best existing | aim | knapsack, mean ± s.d. | by seed | test / bar | met |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        if row["method"] != "knapsack" or row["case"] not in wanted:
            continue
        ratio = (row["test_over_converged"] or 0.0) / BAR
        met = row["reduction_percent"] >= wanted[row["case"]] and ratio >= 1
        spread = "" if row["sd"] is None else f" ± {row['sd']:.1f}"
        seeds = " ".join(str(one) for one in row["by_seed"])
        lines.append(
            f"| {row['case']} | {PEERS.get(row['case'], '')} | {wanted[row['case']]} "
            f"| {row['reduction_percent']:.1f}{spread} | {seeds} | {ratio:.4f} "
            f"| {'yes' if met else 'no'} |"
        )
    return lines


def _shown(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "< 0.0001" if name.startswith("p") and value < 5e-5 else f"{value:.4f}"


def compared(runs: list[Run]) -> list[str]:
    """Return how the knapsack does against the others under equal budgets."""
    rows = comparison(runs)
    won = sum(row["better_by"] > 0 and row["p_holm"] < 0.05 for row in rows)
    lost = sum(row["better_by"] < 0 and row["p_holm"] < 0.05 for row in rows)
    shown = [{name: _shown(name, value) for name, value in row.items()} for row in rows]
    return [
        "Equal budgets for DSP, BRAM and LUT at every step. `accuracy` is the knapsack's on the "
        f"test rows, averaged over the budgets that take at least {FROM:.0%} of the DSPs, and "
        "`better_by` how much higher it is than the other method's (`least` and `most` among the "
        f"budgets). Of {len(rows)} comparisons it is better in {won} and worse in {lost} with "
        "p < 0.05 (paired t-test over seeds, Holm-corrected over all rows).",
        "",
        "`greedy` goes by value per share of the scarcest budget and skips what does not fit, "
        "`hls4ml_greedy` is the greedy choice of hls4ml's own API, which does not look at the "
        "budgets and ends at the first group that does not fit.",
        "",
        table(shown),
    ]


def section(path: Path) -> str:
    """Return the section of one file, and write its picture."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    name = whole["task"]
    results = Results(name, path)
    references, runs, rows = results.references, results.ordered(), results.rows()
    accuracy = float(np.mean([r.accuracy for r in references]))
    rounds = TASKS[name].spec["prune"]["steps"]
    ours = [run for run in runs if run.method == "knapsack"]
    seconds = complete_cpu_seconds(ours, references, rounds)
    text = [
        f"## {name}",
        "",
        f"{len({run.seed for run in runs})} seeds on {whole['machine']}; converged dense network: "
        f"test accuracy {accuracy:.4f}; bar {BAR} of it, {BAR + MARGIN} on validation. "
        f"Dense training and {rounds} rounds of the knapsack method take {seconds:.1f} CPU seconds "
        "on one thread.",
        "",
    ]
    if len(TASKS[name].methods) > 1:
        picture(TASKS[name], runs, references, RESULTS / "pruning" / f"{name}.png")
        text += [f"![accuracy against reduction, {name}](pruning/{name}.png)", ""]
    if name == "jets":
        text += [*aims(rows, AIMS), ""]
    elif name in LENET_AIMS:
        text += [*aims(rows, dict.fromkeys(TASKS[name].cases, LENET_AIMS[name])), ""]
    elif name == "jets_mixed":
        return "\n".join([*text, *compared(runs), ""])
    return "\n".join([*text, table(rows), ""])


_INTRO = """# Accuracy against hardware, by pruning method

Made by `python -m benchmarks.pruning --task TASK --json FILE` (what FILE holds already is not run
again) and `python -m benchmarks.pruning.page FILE ...`. All methods share data, split, dense
networks, epochs and budgets; the point of each run is chosen on validation, the test accuracy is
held against the bar afterwards. The settings (`benchmarks/pruning/tasks.py`) are one for all reuse
factors; what each part of them is worth is under *jets_levers*. `cpu_seconds`: pruning alone, one
thread, on a machine that did other work too. What was tried and dropped is in `docs/decisions.md`.

With one reuse factor for all layers every group costs the same, so that the optimum is the sort
that `greedy` does and both methods end with the same masks: what the knapsack has ahead of existing
tools there is the loop around it. Where costs differ see *jets_mixed*, and
`docs/results/knapsack.md` for what a greedy choice loses of the kept value.
"""


def main() -> None:
    """Write ``docs/results/pruning.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    sections = [section(path) for path in parser.parse_args().files]
    (RESULTS / "pruning.md").write_text("\n".join([_INTRO, *sections]), encoding="utf-8")
    print(f"written: {RESULTS / 'pruning.md'}")


if __name__ == "__main__":
    main()
