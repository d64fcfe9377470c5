"""What a front costs: hypervolume against CPU seconds, of samplers and of ways to run trials.

Two tables of the same networks on the same task: one whose budgets are searched, one whose trials
walk them. A step costs what the steps of its table took when trials of both were run again in turn
(``--time``).
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.drawing import BLUE, GREEN, GREY, ORANGE, RED, VIOLET, picture
from benchmarks.report import Study, listed, render, sentence, table
from benchmarks.search_quality.lookup import (
    TASKS,
    WALKED,
    Array,
    read_lookup,
    tabulate,
    time_trials,
)
from benchmarks.search_quality.pricing import (
    COSTS,
    MO_ASHA,
    Case,
    KeptRuns,
    Prices,
    Run,
    read_costs,
    run_case,
    run_mo_asha,
)
from benchmarks.statistics import spread
from rfprune.core.files import write_json

_PROMOTE = {"first_step": 2, "factor": 2, "promote": True}
#: Parts of the CPU seconds of the full search at which the others are compared with its end.
_PARTS = (0.05, 0.1, 0.2)
_ASKED, _P = 0.1, 0.01
#: Seeds of samplers whose draws take longer than the trials.
_FEWER = {"gp": 3}
_FULL = Case("random, full", False, "random")
_TRIALS = 200

CASES = (
    RANDOM := Case("random", False, "random"),
    Case("Optuna's NSGA-II", False, "nsga2"),
    Case("Optuna's GP", False, "gp"),
    MO := Case("Syne Tune's MO-ASHA", False, MO_ASHA),
    TPE := Case("Optuna's TPE", False, "tpe"),
    BEFORE := Case("`auto` before: TPE from the corners", False, "auto"),
    PROMOTED := Case("the same, promotion", False, "auto", _PROMOTE),
    WALKS := Case("random, budgets walked", True, "random"),
    MO_WALKS := Case("Syne Tune's MO-ASHA, budgets walked", True, MO_ASHA),
    CORNERS := Case("TPE from the corners, budgets walked", True, "auto", curves=False),
    NEW := Case("`auto` anew: curves, budgets walked", True, "auto"),
)
#: What a part earns: a search with it beside one without it.
_EARNED = (
    ("walked budgets, points at random", WALKS, RANDOM),
    ("walked budgets, TPE from the corners", CORNERS, BEFORE),
    ("TPE instead of random points", TPE, RANDOM),
    ("starting points of TPE", BEFORE, TPE),
    ("known costs and curves instead of TPE", NEW, CORNERS),
    ("promotion", PROMOTED, BEFORE),
)
_DRAWN = {RANDOM: GREY, MO: ORANGE, BEFORE: GREEN, MO_WALKS: VIOLET, CORNERS: RED, NEW: BLUE}


def _most(case: Case) -> float:
    """Return the part of the seconds after which a search ends; those of walks show more later."""
    return _PARTS[-1] if case.walked else _ASKED


def search(given: argparse.Namespace, task: str) -> dict[str, list[Run]]:
    """Return the searches of a task by case, seed by seed; those that are kept are not run."""
    tables = {name: read_lookup(name) for name in (task, WALKED[task])}
    prices = Prices(task, tables, read_costs(tables))
    kept = KeptRuns.read(given.kept)
    found: dict[str, list[Run]] = {}
    for case in (_FULL, *CASES):
        key = f"{task}: {case.name}"
        if key not in kept.runs:
            if case is _FULL:
                runs = [run_case(prices, case, seed, _TRIALS) for seed in range(given.seeds)]
            else:
                full = found[_FULL.name][: _FEWER.get(case.sampler)]
                mosts = [_most(case) * run.spent(prices.costs[task])[-1] for run in full]
                runs = _runs(given, prices, case, mosts)
            kept.runs[key] = [[column.tolist() for column in run] for run in runs]
            kept.write(given.kept)
            print(key, file=sys.stderr, flush=True)
        found[case.name] = [Run(*map(np.array, columns)) for columns in kept.runs[key]]
    return found


def _runs(given: argparse.Namespace, prices: Prices, case: Case, mosts: list[float]) -> list[Run]:
    if case.sampler != MO_ASHA:
        return [run_case(prices, case, seed, _TRIALS, most) for seed, most in enumerate(mosts)]
    return run_mo_asha(prices, case, given.mo_asha, mosts) if given.mo_asha else []


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Search each task by every case, after what its tables lack has been run."""
    tables = [name for task in given.tasks for name in (task, WALKED[task])]
    if given.tabulate:
        os.nice(10)
        for line in (line for name in given.tabulate for line in tabulate(name, given.work)):
            print(line, flush=True)
        raise SystemExit
    if given.time:
        # The tables of a task are timed together; those of another one may be of another day.
        known = json.loads(COSTS.read_text()) if COSTS.exists() else {}
        write_json(COSTS, known | time_trials(tables, given.work, given.time))
        raise SystemExit
    searched = {task: search(given, task) for task in given.tasks}
    return {
        "searched": {
            task: {
                name: [[c.tolist() for c in run] for run in runs] for name, runs in cases.items()
            }
            for task, cases in searched.items()
        },
        "costs": {name: json.loads(COSTS.read_text())[name] for name in tables},
        "points": {name: len(read_lookup(name).steps) for name in tables},
        "seeds": given.seeds,
    }


class _Task:
    """The searches of a task, and how they stand at parts of the seconds of the full one."""

    def __init__(self, result: dict[str, Any], task: str) -> None:
        self._costs = {name: cost["cpu_seconds"] for name, cost in result["costs"].items()}
        self._task = task
        self._runs = {
            name: [Run(*map(np.array, columns)) for columns in runs]
            for name, runs in result["searched"][task].items()
        }
        full = self.runs(_FULL)
        self.ends = np.array([run.volumes[-1] for run in full])
        self.budgets = np.array([self.spent(_FULL, run)[-1] for run in full])

    def runs(self, case: Case) -> list[Run]:
        """Return the searches of a case, seed by seed; none if it was not run."""
        return self._runs[case.name]

    def spent(self, case: Case, run: Run) -> Array:
        """Return the CPU seconds after each trial."""
        return run.spent(self._costs[WALKED[self._task] if case.walked else self._task])

    def at(self, case: Case, part: float) -> Array:
        """Return the hypervolumes (seeds,) at a part of the seconds; 0 before a trial's end."""
        found = []
        for run, budget in zip(self.runs(case), self.budgets, strict=False):
            ended = int(np.searchsorted(self.spent(case, run), part * budget, side="right"))
            found.append(run.volumes[ended - 1] if ended else 0.0)
        return np.array(found)

    def there(self, case: Case) -> str:
        """Return at which part of its seconds the end of the full search is reached."""
        known = []
        runs = self.runs(case)
        for run, end, budget in zip(runs, self.ends, self.budgets, strict=False):
            reached = np.flatnonzero(run.volumes >= end)
            # Its last trial may have ended after its time.
            part = self.spent(case, run)[reached[0]] / budget if len(reached) else np.inf
            if part <= _most(case):
                known.append(100 * part)
        missed = len(runs) - len(known)
        shown = f"{min(known):.0f} to {max(known):.0f}" if known else ""
        rest = f"{missed} of {len(runs)} > {100 * _most(case):.0f}" if missed else ""
        return ", ".join(filter(None, (shown, rest)))


def price_rows(task: _Task) -> Iterator[dict[str, Any]]:
    """Yield a row per case: where it is at parts of the price of the full search."""
    yield {
        "search": f"random, {_TRIALS} trials ({task.budgets.mean():.0f} CPU seconds)",
        **{f"at {100 * part:.0f} %": "" for part in _PARTS},
        "at 100 %": spread(task.ends, 4),
        "there at, %": "100",
        "p at 10 %": None,
        "ms a draw": f"{_draw(task.runs(_FULL)):.0f}",
    }
    for case in CASES:
        if not (runs := task.runs(case)):
            continue
        yield {
            "search": case.name,
            **{
                f"at {100 * part:.0f} %": spread(task.at(case, part), 4)
                for part in _PARTS
                if part <= _most(case)
            },
            "at 100 %": None,
            "there at, %": task.there(case),
            "p at 10 %": f"{_ahead(task.at(case, _ASKED), task.ends[: len(runs)], 'greater'):.4f}",
            "ms a draw": f"{_draw(runs):.0f}",
            **({"seeds": len(runs)} if len(runs) < len(task.ends) else {}),
        }


def _draw(runs: Sequence[Run]) -> float:
    return float(1000 * np.mean([run.draws[-1] / len(run.draws) for run in runs]))


def _ahead(ours: Array, theirs: Array, side: str) -> float:
    """Return the p of Wilcoxon's signed-rank test over the seeds; 1 where all are equal."""
    return float(wilcoxon(ours, theirs, alternative=side).pvalue) if (ours != theirs).any() else 1.0


def earned_rows(tasks: dict[str, _Task]) -> Iterator[dict[str, Any]]:
    """Yield a row per part: what it adds at a tenth of the seconds, task by task."""
    for part, with_it, without in _EARNED:
        row = {"part": part}
        for name, task in tasks.items():
            ours, theirs = task.at(with_it, _ASKED), task.at(without, _ASKED)
            row[name] = f"{(ours - theirs).mean():+.4f}"
            row[f"p, {name}"] = f"{_ahead(ours, theirs, 'two-sided'):.3f}"
        yield row


def verdicts(tasks: dict[str, _Task]) -> str:
    """Return for each task whether `auto` anew is ahead of the full search at a tenth."""
    found = []
    for name, task in tasks.items():
        p = _ahead(task.at(NEW, _ASKED), task.ends, "greater")
        found.append(f"{name}: {'met' if p < _P else '**missed**'} (p {p:.4f})")
    return "; ".join(found)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw the mean hypervolumes over the seconds, one panel per task."""
    parts = np.linspace(0.01, _ASKED, 100)
    with picture(folder / "curves.png", len(result["searched"])) as panels:
        for axis, name in zip(panels, result["searched"], strict=True):
            task = _Task(result, name)
            for case, color in _DRAWN.items():
                if task.runs(case):
                    means = [task.at(case, part).mean() for part in parts]
                    axis.plot(100 * parts, means, color=color, label=case.name.replace("`", ""))
            axis.axhline(task.ends.mean(), color=GREY, ls=":", label=f"random, {_TRIALS} trials")
            axis.set(title=name, xlabel="% of the CPU seconds of the full search")
            axis.set(ylabel="hypervolume / that of all searched", ylim=(0.8, None))
        panels[-1].legend(loc="lower right", fontsize=7)


def page(result: dict[str, Any]) -> str:
    """Return the page of the documentation."""
    costs = [
        f"{cost['cpu_seconds']:.3f} s in `{name}` ({cost['trials']} trials)"
        for name, cost in result["costs"].items()
    ]
    tasks = {name: _Task(result, name) for name in result["searched"]}
    parts = [f"## {name}\n\n{table(price_rows(task))}" for name, task in tasks.items()]
    return render(
        "search_quality",
        command=result["command"],
        tables=", ".join(f"{count} trials of `{name}`" for name, count in result["points"].items()),
        seeds=str(result["seeds"]),
        costs=", ".join(costs),
        prices="\n\n".join(parts),
        earned=table(earned_rows(tasks)),
        verdicts=verdicts(tasks),
        facts=sentence(result["facts"]),
    )


if __name__ == "__main__":
    every = [name for task in TASKS for name in (task, WALKED[task])]
    Study(
        "search_quality",
        "hypervolume against CPU seconds, of samplers and of ways to run trials",
        measure,
        page,
        draw,
        packages=("optuna", "numpy", "scipy", "torch"),
        options={
            "--tasks": (listed(TASKS), ",".join(TASKS), "with commas"),
            "--seeds": (int, 10, "of the searches"),
            "--mo-asha": (Path, None, "Python of an environment with Syne Tune; see mo_asha.py"),
            "--kept": (Path, None, "file of searches that have been run, so that it can resume"),
            "--tabulate": (listed(every), None, "run the trials that these tables lack"),
            "--time": (int, None, "so many trials of each table again, for what a step costs"),
            "--work": (Path, Path("runs/search_quality"), "scratch of --tabulate and --time"),
        },
    ).run()
