"""Hypervolume against trials: what ``auto`` chooses beside random search, on tables of real trials.

``python -m benchmarks.search_quality [--tasks digits,jets] [--seeds 10] [--trials 60] [--json]``
runs both samplers through the sweep's own record, seed by seed, and compares them by Wilcoxon's
signed-rank test over the seeds: the mean of the hypervolume over all trials (how fast), and the
hypervolume after the last (how far). ``--page`` writes ``docs/results/search_quality.md`` and the
picture. ``--tabulate TASK`` runs the real trials that the task's table lacks; stop it at any time.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import facts, sentence, table
from benchmarks.search_quality.lookup import (
    TABLES,
    TASKS,
    Lookup,
    read_lookup,
    read_task,
    tabulate,
)
from benchmarks.search_quality.searched import curve, search
from rfprune.spec import EarlyStopSpec

SAMPLERS = ("auto", "random")
RULES = (EarlyStopSpec(), EarlyStopSpec(margin=0.0))
PAGE = TABLES.with_suffix(".md")
_COLORS = {"auto": "#1f5fa8", "random": "#8a8a8a"}
_COLUMNS = (
    "task",
    "quantity",
    "auto",
    "random",
    "auto ahead in",
    "p",
)

_EARLY_COLUMNS = (
    "task",
    "sampler",
    "margin",
    "trials stopped",
    "steps saved, %",
    "hypervolume lost, %",
)

Array = NDArray[np.float64]


def curves(task: str, lookup: Lookup, sampler: str, seeds: int, trials: int) -> Array:
    """Return the hypervolume after each trial as a part of the table's, (seeds, trials)."""
    spec, _ = read_task(task)
    found = [search(task, lookup, sampler, seed, trials) for seed in range(seeds)]
    return np.array([curve(searched.accepted, lookup, spec) for searched in found])


def early_ends(task: str, lookup: Lookup, seeds: int, trials: int) -> list[dict[str, Any]]:
    """Return what the early stop saves and costs: the same searches without and with the rule."""
    spec, _ = read_task(task)
    rows = []
    for sampler, rule in product(SAMPLERS, RULES):
        without, by_rule = (
            [search(task, lookup, sampler, seed, trials, how) for seed in range(seeds)]
            for how in (None, rule)
        )
        last = [
            np.array([curve(one.accepted, lookup, spec)[-1] for one in found])
            for found in (without, by_rule)
        ]
        saved = [1 - b.n_steps / a.n_steps for a, b in zip(without, by_rule, strict=True)]
        rows.append(
            {
                "task": task,
                "sampler": sampler,
                "margin": f"{rule.margin:g}",
                "trials stopped": f"{np.mean([one.n_stopped for one in by_rule]):.1f}",
                "steps saved, %": f"{100 * np.mean(saved):.1f}",
                "hypervolume lost, %": f"{100 * (1 - (last[1] / last[0]).mean()):.2f}",
            }
        )
    return rows


def compare(task: str, found: dict[str, Array]) -> list[dict[str, Any]]:
    """Return one row per quantity: means of both samplers, and the paired one-sided test."""
    from scipy.stats import wilcoxon

    quantities: dict[str, Callable[[Array], Array]] = {
        "mean over all trials": lambda volumes: volumes.mean(axis=1),
        "after the last trial": lambda volumes: volumes[:, -1],
    }
    rows = []
    for quantity, reduce in quantities.items():
        auto, random = reduce(found["auto"]), reduce(found["random"])
        p = wilcoxon(auto, random, alternative="greater").pvalue if (auto != random).any() else 1.0
        rows.append(
            {
                "task": task,
                "quantity": quantity,
                "auto": f"{auto.mean():.4f} ± {auto.std(ddof=1):.4f}",
                "random": f"{random.mean():.4f} ± {random.std(ddof=1):.4f}",
                "auto ahead in": f"{int((auto > random).sum())} of {len(auto)}",
                "p": f"{p:.4f}",
            }
        )
    return rows


def picture(found: dict[str, dict[str, Array]], path: Path) -> None:
    """Draw mean and standard error of the curves, one panel per task."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(found), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (task, samplers) in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
    ):
        for sampler, volumes in samplers.items():
            trials = np.arange(1, volumes.shape[1] + 1)
            mean = volumes.mean(axis=0)
            error = volumes.std(axis=0, ddof=1) / np.sqrt(len(volumes))
            axis.plot(trials, mean, color=_COLORS[sampler], label=sampler)
            axis.fill_between(
                trials, mean - error, mean + error, color=_COLORS[sampler], alpha=0.2, lw=0
            )
        axis.set_title(task)
        axis.set_xlabel("trials")
        axis.set_ylabel("hypervolume / that of all trials")
        axis.legend(loc="lower right")
    figure.savefig(path, dpi=130)


def write_page(
    rows: list[dict[str, Any]], early: list[dict[str, Any]], seeds: int, trials: int, known: str
) -> None:
    """Write the page of the documentation."""
    sizes = {task: len(read_lookup(task).steps) for task in dict.fromkeys(r["task"] for r in rows)}
    made_of = ", ".join(f"{count} of {task}" for task, count in sizes.items())
    text = f"""# Search quality: `auto` beside random search

Made by `python -m benchmarks.search_quality --page` on tables of real trials ({made_of}; made by
`--tabulate`, kept in `search_quality/`). A search draws points as a sweep does, one trial at a
time, and none twice; all accepted steps of a trial enter the front. {seeds} seeds, {trials} trials.
The hypervolume (reference point: chance, and 1.1 of the dearest dense network) is a part of that
of the whole table; p is Wilcoxon's signed-rank test over the seeds, one-sided: `auto` is ahead.

{table(rows, _COLUMNS)}

![hypervolume against trials](search_quality/curves.png)

The settings of `auto` (multivariate TPE, numbers drawn in order, four starting points) were chosen
on the digits with these seeds; the jets had no part in that.

## Early stop

The same searches with `early_stop` set (`first_step: 2`, `factor: 2`), trial by trial on the same
tables: pruning steps that were not run, and the part of the last hypervolume that was lost. A step
is the same number of epochs in every trial, so that steps saved are time saved.

{table(early, _EARLY_COLUMNS)}

{known}
"""
    PAGE.write_text(text, encoding="utf-8")


def measure(arguments: argparse.Namespace) -> None:
    """Compare the samplers and print what was asked for."""
    known = facts(("optuna", "numpy", "scipy"), 0)
    found = {
        task: {
            sampler: curves(task, read_lookup(task), sampler, arguments.seeds, arguments.trials)
            for sampler in SAMPLERS
        }
        for task in arguments.tasks.split(",")
    }
    rows = [row for task, samplers in found.items() for row in compare(task, samplers)]
    early = [
        row
        for task in found
        for row in early_ends(task, read_lookup(task), arguments.seeds, arguments.trials)
    ]
    if arguments.page:
        picture(found, TABLES / "curves.png")
        write_page(rows, early, arguments.seeds, arguments.trials, sentence(known))
    if arguments.json:
        every = {
            task: {sampler: volumes.tolist() for sampler, volumes in samplers.items()}
            for task, samplers in found.items()
        }
        print(json.dumps({"facts": known, "rows": rows, "early_stop": early, "curves": every}))
    else:
        print(table(rows, _COLUMNS), table(early, _EARLY_COLUMNS), sep="\n\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_quality")
    parser.add_argument("--tasks", default=",".join(TASKS), help="names, separated by commas")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} and its picture")
    parser.add_argument("--tabulate", choices=TASKS, help="run the trials that its table lacks")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/search_quality"), help="scratch of --tabulate"
    )
    arguments = parser.parse_args()
    if arguments.tabulate is None:
        measure(arguments)
        return
    os.nice(10)
    for line in tabulate(arguments.tabulate, arguments.work):
        print(line, flush=True)


if __name__ == "__main__":
    main()
