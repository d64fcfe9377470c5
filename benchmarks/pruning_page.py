"""Writes the page of pruning results from what ``benchmarks.pruning --json`` printed.

``python -m benchmarks.pruning_page docs/results/pruning_jets.json`` (one file per task and run).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pruning import BAR, MARGIN, Point, Reference, Run, summary, table

PAGE = Path(__file__).parent.parent / "docs" / "results"
#: Largest DSP reduction in % on the simulated jets that existing tools and short references reach
#: (hls4ml's own API, PQuant, group magnitude with and without lasso), and what is aimed at.
PEERS = {1: 93.5, 2: 90.0, 4: 87.5, 8: 85.0, 16: 83.2, 32: 79.7}
AIMS = {1: 95.0, 2: 92.5, 4: 91.0, 8: 89.0, 16: 87.0, 32: 84.0}
_GRID = np.arange(0.70, 0.971, 0.005)


def read(path: Path) -> tuple[list[Run], list[Reference], dict[str, Any]]:
    """Return the runs, the references and the facts of one JSON file."""
    whole = json.loads(path.read_text().splitlines()[-1])
    runs = [
        Run(**{**one, "points": [Point(**point) for point in one["points"]]})
        for one in whole["runs"]
    ]
    return runs, [Reference(**one) for one in whole["references"]], whole


def curves(runs: list[Run]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each method's mean test accuracy over the grid; NaN outside its points."""
    for method in dict.fromkeys(run.method for run in runs):
        own = [
            np.interp(
                _GRID,
                [p.reduction for p in run.points],
                [p.accuracy for p in run.points],
                left=np.nan,
                right=np.nan,
            )
            for run in runs
            if run.method == method
        ]
        yield method, np.mean(own, axis=0)


def picture(runs: list[Run], references: list[Reference], path: Path) -> None:
    """Draw test accuracy against reduction, one panel per reuse factor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    factors = sorted({run.reuse_factor for run in runs})
    columns = min(3, len(factors))
    rows = -(-len(factors) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    bar = BAR * float(np.mean([r.accuracy for r in references]))
    for axis, factor in zip(
        figure.subplots(rows, columns, squeeze=False).flat, factors, strict=False
    ):
        for method, values in curves([run for run in runs if run.reuse_factor == factor]):
            axis.plot(100 * _GRID, values, label=method, linewidth=1.6)
        axis.axhline(bar, color="black", linewidth=0.8, linestyle="--")
        axis.set_ylim(bar - 0.07, bar + 0.02)
        axis.set_title(f"reuse factor {factor}", fontsize=10)
        axis.set_xlabel("multipliers pruned (%)")
        axis.set_ylabel("test accuracy")
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def aims(rows: list[dict[str, Any]]) -> list[str]:
    """Return the knapsack beside what exists and what is aimed at, as a Markdown table."""
    found = {row["reuse_factor"]: row for row in rows if row["method"] == "knapsack"}
    lines = ["| reuse factor | best existing | aim | knapsack, mean ± s.d. | test / bar | met |"]
    lines.append("|---|---|---|---|---|---|")
    for factor, row in sorted(found.items()):
        if factor not in AIMS:
            continue
        ratio = (row["test_over_converged"] or 0.0) / BAR
        met = row["reduction_percent"] >= AIMS[factor] and ratio >= 1
        spread = "" if row["sd"] is None else f" ± {row['sd']:.1f}"
        lines.append(
            f"| {factor} | {PEERS[factor]} | {AIMS[factor]} "
            f"| {row['reduction_percent']:.1f}{spread} | {ratio:.4f} | {'yes' if met else 'no'} |"
        )
    return lines


def section(path: Path) -> str:
    """Return the section of one file, and write its picture."""
    runs, references, whole = read(path)
    rows, task = summary(runs, references), whole["task"]
    picture(runs, references, PAGE / "pruning" / f"{task}.png")
    accuracy = float(np.mean([r.accuracy for r in references]))
    text = [
        f"## {task}",
        "",
        f"{len(references)} seeds on {whole['machine']}; converged dense network: test accuracy "
        f"{accuracy:.4f}; bar {BAR} of it, {BAR + MARGIN} on validation.",
        "",
        f"![accuracy against reduction, {task}](pruning/{task}.png)",
        "",
    ]
    if task == "jets":
        text += [*aims(rows), ""]
    return "\n".join([*text, table(rows), ""])


_INTRO = """# Accuracy against multipliers, by method and reuse factor

Made by `python -m benchmarks.pruning --task TASK --json` and `python -m benchmarks.pruning_page`.
All methods share data, split, dense networks, epochs and budgets; the point of each run is chosen
on validation, the test accuracy is held against the bar afterwards. With one reuse factor for all
layers every group costs the same, so that the knapsack is a sort there; what lifts it above plain
magnitude pruning of groups is the regularizer during fine-tuning, its release, and distillation
(`docs/decisions.md`). Its settings (weight 1e-3, two released epochs, distillation 0.5) were
chosen on seeds 0 to 2 of the jets at reuse factors 8 to 32, where the test accuracy was seen as
well. `cpu_seconds`: pruning alone, one thread, on a machine that did other work too.
"""


def main() -> None:
    """Write ``docs/results/pruning.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    sections = [section(path) for path in parser.parse_args().files]
    (PAGE / "pruning.md").write_text("\n".join([_INTRO, *sections]), encoding="utf-8")
    print(f"written: {PAGE / 'pruning.md'}")


if __name__ == "__main__":
    main()
