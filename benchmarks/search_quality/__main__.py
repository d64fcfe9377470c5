"""Hypervolume against trials: what ``auto`` chooses beside random search, on tables of real trials.

Both samplers run through the sweep's own record, seed by seed, and are compared over the seeds:
the mean of the hypervolume over all trials (how fast), and that after the last one (how far).
"""

import argparse
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.drawing import BLUE, GREY, picture
from benchmarks.report import Study, listed, render, sentence, table
from benchmarks.search_quality.lookup import TASKS, Array, curve, read_lookup, search, tabulate
from benchmarks.statistics import spread
from rfprune.spec import EarlyStopSpec

COLORS = {"auto": BLUE, "random": GREY}
RULES = (EarlyStopSpec(), EarlyStopSpec(margin=0.0))


def compare(task: str, volumes: dict[str, Array]) -> Iterator[dict[str, Any]]:
    """Yield one row per quantity: means of both samplers, and the paired one-sided test."""
    for quantity, of in (
        ("mean over all trials", lambda curves: curves.mean(axis=1)),
        ("after the last trial", lambda curves: curves[:, -1]),
    ):
        auto, random = of(volumes["auto"]), of(volumes["random"])
        p = wilcoxon(auto, random, alternative="greater").pvalue if (auto != random).any() else 1.0
        yield {
            "task": task,
            "quantity": quantity,
            "auto": spread(auto, 4),
            "random": spread(random, 4),
            "auto ahead in": f"{int((auto > random).sum())} of {len(auto)}",
            "p": f"{p:.4f}",
        }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Compare the samplers, and the same searches without and with an early stop."""
    if given.tabulate:
        os.nice(10)
        for line in (line for task in given.tabulate for line in tabulate(task, given.work)):
            print(line, flush=True)
        raise SystemExit
    result: dict[str, Any] = {"rows": [], "early_stop": [], "curves": {}, "tables": {}}
    for task in given.tasks:
        lookup, seeds = read_lookup(task), range(given.seeds)
        found = {
            (sampler, rule): [search(task, lookup, sampler, s, given.trials, rule) for s in seeds]
            for sampler, rule in product(COLORS, (None, *RULES))
        }
        volumes = {
            case: np.array([curve(task, one.accepted, lookup) for one in searches])
            for case, searches in found.items()
        }
        plain = {sampler: volumes[sampler, None] for sampler in COLORS}
        result["tables"][task] = len(lookup.steps)
        result["curves"][task] = {sampler: curves.tolist() for sampler, curves in plain.items()}
        result["rows"] += compare(task, plain)
        for sampler, rule in product(COLORS, RULES):
            pairs = zip(found[sampler, None], found[sampler, rule], strict=True)
            saved = [1 - by_rule.n_steps / without.n_steps for without, by_rule in pairs]
            left = (volumes[sampler, rule][:, -1] / plain[sampler][:, -1]).mean()
            stopped = np.mean([one.n_stopped for one in found[sampler, rule]])
            result["early_stop"].append(
                {
                    "task": task,
                    "sampler": sampler,
                    "margin": f"{rule.margin:g}",
                    "trials stopped": f"{stopped:.1f}",
                    "steps saved, %": f"{100 * np.mean(saved):.1f}",
                    "hypervolume lost, %": f"{100 * (1 - left):.2f}",
                }
            )
    return {**result, "seeds": given.seeds, "trials": given.trials}


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw mean and standard error of the curves, one panel per task."""
    with picture(folder / "curves.png", len(result["curves"])) as panels:
        for axis, (task, samplers) in zip(panels, result["curves"].items(), strict=True):
            for sampler, curves in samplers.items():
                volumes = np.array(curves)
                trials = np.arange(1, volumes.shape[1] + 1)
                mean = volumes.mean(axis=0)
                error = volumes.std(axis=0, ddof=1) / np.sqrt(len(volumes))
                color = COLORS[sampler]
                axis.plot(trials, mean, color=color, label=sampler)
                axis.fill_between(trials, mean - error, mean + error, color=color, alpha=0.2, lw=0)
            axis.set(title=task, xlabel="trials", ylabel="hypervolume / that of all trials")
            axis.legend(loc="lower right")


def page(result: dict[str, Any]) -> str:
    """Return the page of the documentation."""
    return render(
        "search_quality",
        tables=", ".join(f"{count} of {task}" for task, count in result["tables"].items()),
        sizes=f"{result['seeds']} seeds, {result['trials']} trials",
        rows=table(result["rows"]),
        early=table(result["early_stop"]),
        facts=sentence(result["facts"]),
    )


if __name__ == "__main__":
    Study(
        "search_quality",
        "hypervolume against trials: auto beside random search",
        measure,
        page,
        draw,
        packages=("optuna", "numpy", "scipy"),
        options={
            "--tasks": (listed(TASKS), ",".join(TASKS), "with commas"),
            "--seeds": (int, 10, "of the searches"),
            "--trials": (int, 60, "of one search"),
            "--tabulate": (listed(TASKS), None, "run the trials that a table lacks"),
            "--work": (Path, Path("runs/search_quality"), "scratch of --tabulate"),
        },
    ).run()
