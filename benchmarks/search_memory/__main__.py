"""Warm starts and stagnation on tables of real trials, seed by seed, through a sweep's own record.

The earlier search is a sweep as the product makes it, or a random one, with another seed; its
validation accuracies carry the noise of the validation rows, as those of another seed would. The
unrelated one has the random one's points with the results of others, drawn at random.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.drawing import BLUE, GREY, picture
from benchmarks.report import Study, listed, render, sentence, table
from benchmarks.search_quality.lookup import Array, Lookup, Searched, curve, read_lookup
from benchmarks.search_quality.lookup import search as run_search
from benchmarks.statistics import spread
from rfprune.spec import StopSpec
from rfprune.study.stopping import expected_gain
from rfprune.study.warm_start import EarlierTrial

#: Standard error of the validation accuracy, on 216 and 3,600 rows.
NOISE = {"digits": 0.014, "jets": 0.008}
#: Earlier searches have other seeds than those that they are to help.
_OTHER_SEEDS = 1000
#: Kinds of earlier searches.
EARLIER = ("a sweep", "random", "unrelated")
#: Trials after which what one more hour would bring is compared with what came.
_FORESEEN = (40, 60, 100)


def related(task: str, found: Searched, seed: int) -> list[EarlierTrial]:
    """Return an earlier search with other noise in its scores."""
    rng = np.random.default_rng([seed, 1])
    return [
        EarlierTrial(
            f"related/{n}",
            point,
            [
                {**s, "val_accuracy": (s["val_accuracy"] or 0) + rng.normal(0, NOISE[task])}
                for s in steps
            ],
        )
        for n, (point, steps) in enumerate(zip(found.points, found.accepted, strict=True))
    ]


def unrelated(lookup: Lookup, found: Searched, seed: int) -> list[EarlierTrial]:
    """Return an earlier search in which every point has the results of another one."""
    rng = np.random.default_rng([seed, 2])
    every = list(lookup.steps.values())
    drawn = rng.permutation(len(every))[: len(found.points)]
    return [
        EarlierTrial(f"unrelated/{n}", point, [s.facts() for s in every[row] if s.accepted])
        for n, (point, row) in enumerate(zip(found.points, drawn, strict=True))
    ]


def warm(task: str, lookup: Lookup, seeds: int, trials: int) -> dict[str, Array]:
    """Return the curves (seeds, trials) of a cold search, and of those that begin with another."""
    curves: dict[str, list[Array]] = {name: [] for name in ("cold", *EARLIER)}
    for seed in range(seeds):
        sweep, drawn = (
            run_search(task, lookup, sampler, _OTHER_SEEDS + seed, trials)
            for sampler in ("auto", "random")
        )
        told: dict[str, Sequence[EarlierTrial]] = {
            "cold": (),
            "a sweep": related(task, sweep, seed),
            "random": related(task, drawn, seed),
            "unrelated": unrelated(lookup, drawn, seed),
        }
        for name, earlier in told.items():
            found = run_search(task, lookup, "auto", seed, trials, earlier=earlier)
            curves[name].append(curve(task, found.accepted, lookup))
    return {name: np.array(rows) for name, rows in curves.items()}


def compare(task: str, curves: dict[str, Array]) -> Iterator[dict[str, Any]]:
    """Yield one row per kind of earlier search: when it was where the cold one ended."""
    cold = curves["cold"]
    for name in EARLIER:
        there = curves[name] >= cold[:, -1:]
        trials = np.where(there.any(axis=1), there.argmax(axis=1) + 1, cold.shape[1] + 1)
        ahead, behind = (
            wilcoxon(curves[name][:, -1], cold[:, -1], alternative=side).pvalue
            for side in ("greater", "less")
        )
        yield {
            "task": task,
            "earlier search": name,
            "trials to where cold ended, median": f"{np.median(trials):.0f} of {cold.shape[1]}",
            "got there": f"{int(there.any(axis=1).sum())} of {len(cold)}",
            "cold": spread(cold[:, -1], 4),
            "warm": spread(curves[name][:, -1], 4),
            "p, warm is better": f"{ahead:.4f}",
            "p, warm is worse": f"{behind:.4f}",
        }


def stagnate(curves: Array, rule: StopSpec) -> tuple[Array, Array]:
    """Return the parts of trials saved and of hypervolume lost, by curve (seeds, trials)."""
    saved, lost = [], []
    width = rule.stagnation or 1
    for row in curves:
        still = row[width:] <= row[:-width] * (1 + rule.growth)
        end = int(still.argmax()) + width if still.any() else len(row) - 1
        saved.append(1 - (end + 1) / len(row))
        lost.append(1 - row[end] / row[-1])
    return np.array(saved), np.array(lost)


def stops(task: str, curves: Array) -> Iterator[dict[str, Any]]:
    """Yield one row per rule."""
    for width in (10, 20, 30):
        for growth in (0.0, 0.001, 0.01):
            saved, lost = stagnate(curves, StopSpec(stagnation=width, growth=growth))
            yield {
                "task": task,
                "stagnation": width,
                "growth": f"{growth:g}",
                "trials saved, median %": f"{100 * np.median(saved):.0f}",
                "hypervolume lost, median %": f"{100 * np.median(lost):.2f}",
                "largest %": f"{100 * lost.max():.2f}",
            }


def foresee(task: str, curves: Array) -> Iterator[dict[str, Any]]:
    """Yield what is said after some trials that the rest would bring, and what it brought."""
    for n in (n for n in _FORESEEN if n < curves.shape[1]):
        said = [100 * expected_gain(row[:n].tolist(), curves.shape[1] - n) for row in curves]
        came = 100 * (curves[:, -1] / curves[:, n - 1] - 1)
        yield {
            "task": task,
            "after": n,
            "up to": curves.shape[1],
            "said, %": spread(np.array(said), 2),
            "came, %": spread(came, 2),
        }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure warm starts and stops on all tasks."""
    result: dict[str, Any] = {"warm": [], "stops": [], "foreseen": [], "curves": {}}
    for task in given.tasks:
        lookup = read_lookup(task)
        curves = warm(task, lookup, given.seeds, given.trials)
        result["warm"] += compare(task, curves)
        result["curves"][task] = {name: rows.tolist() for name, rows in curves.items()}
        searches = (
            run_search(task, lookup, "auto", s, given.long) for s in range(given.long_seeds)
        )
        long = np.array([curve(task, found.accepted, lookup) for found in searches])
        result["stops"] += stops(task, long)
        result["foreseen"] += foresee(task, long)
    names = ("seeds", "trials", "long", "long_seeds")
    return {**result, **{name: getattr(given, name) for name in names}}


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw the mean curves, one panel per task."""
    colors = {"cold": GREY, "a sweep": BLUE, "random": "#3f9a8c", "unrelated": "#c4573f"}
    with picture(folder / "curves.png", len(result["curves"])) as panels:
        for axis, (task, kinds) in zip(panels, result["curves"].items(), strict=True):
            for name, rows in kinds.items():
                mean = np.array(rows).mean(axis=0)
                axis.plot(np.arange(1, len(mean) + 1), mean, color=colors[name], label=name)
            axis.set(title=task, xlabel="trials", ylabel="hypervolume / that of all trials")
            axis.legend(loc="lower right")


def page(result: dict[str, Any]) -> str:
    """Return the page of the documentation."""
    return render(
        "search_memory",
        sizes=f"{result['seeds']} seeds, {result['trials']} trials",
        long=f"{result['long_seeds']} seeds, {result['long']} trials",
        warm=table(result["warm"]),
        stops=table(result["stops"]),
        foreseen=table(result["foreseen"]),
        facts=sentence(result["facts"]),
    )


if __name__ == "__main__":
    Study(
        "search_memory",
        "what a search saves by stopping in time, and by remembering earlier searches",
        measure,
        page,
        draw,
        packages=("optuna", "numpy", "scipy"),
        options={
            "--tasks": (listed(NOISE), ",".join(NOISE), "with commas"),
            "--seeds": (int, 10, "of the searches with and without an earlier one"),
            "--trials": (int, 60, "of one of them"),
            "--long-seeds": (int, 5, "of the searches that are stopped"),
            "--long": (int, 200, "trials of one of them"),
        },
    ).run()
