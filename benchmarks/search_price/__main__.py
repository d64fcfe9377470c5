"""What a front costs: hypervolume against CPU seconds, of samplers and of ways to run trials.

Two tables of the same networks on the same task: one whose budgets are searched, one whose trials
walk them. A step costs what the steps of its table took when trials of both were run again in turn
(``--time``); dense networks are shared and cost nothing here.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.report import Study, listed, render, sentence, table
from benchmarks.search_quality.lookup import (
    HERE,
    TABLES,
    WALKED,
    Array,
    Lookup,
    curve,
    read_lookup,
    read_task,
    reference,
    tabulate,
    task_of,
    time_trials,
)
from benchmarks.statistics import spread
from rfprune.core.files import write_json
from rfprune.results import SweepFolder
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study.known_costs import KnownCosts
from rfprune.study.record import Ended, Record
from rfprune.study.representative import Metrics
from rfprune.study.study import lock, open_study

COSTS = TABLES / "cost.json"
_PROMOTE = {"first_step": 2, "factor": 2, "promote": True}
#: Parts of the CPU seconds of the full search that the others get.
_PARTS = (0.05, 0.1, 0.2)
_ASKED = 0.1
#: Seeds of samplers that take longer than the trials.
_FEWER = {"gp": 3}
_FULL = 200


class Case(NamedTuple):
    """A way to search: of which table, by which sampler, with which rule for early ends."""

    name: str
    walked: bool
    sampler: str
    early_stop: Mapping[str, Any] | None = None
    curves: bool = True


class Run(NamedTuple):
    """A search, after each trial: hypervolume, and CPU seconds of its trials and of its draws."""

    volumes: Array
    trials: Array
    draws: Array

    @property
    def spent(self) -> Array:
        """CPU seconds of both."""
        return self.trials + self.draws


CASES = (
    Case("random", False, "random"),
    Case("Optuna's NSGA-II", False, "nsga2"),
    Case("Optuna's GP", False, "gp"),
    Case("auto", False, "auto"),
    Case("auto, promotion", False, "auto", _PROMOTE),
    Case("random, budgets walked", True, "random"),
    Case("TPE from the corners, budgets walked", True, "auto", curves=False),
    Case("auto, budgets walked", True, "auto"),
)


def prices(task: str, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield a row per case: where it is at parts of the price of the full search."""
    whole = read_lookup(task)
    tables = {name: read_lookup(name) for name in (task, WALKED[task])}
    costs = json.loads(COSTS.read_text())
    random = Case("", False, "random")
    full = [run_case(task, tables, random, s, costs, whole, _FULL) for s in range(seeds)]
    ends = np.array([run.volumes[-1] for run in full])
    budgets = [run.spent[-1] for run in full]
    yield {
        "search": f"random, {_FULL} trials ({np.mean(budgets):.0f} CPU seconds)",
        **{f"at {100 * part:.0f} %": "" for part in _PARTS},
        "at 100 %": spread(ends, 4),
        "there at, %": "100",
        "p at 10 %": None,
        "ms a draw": f"{1000 * np.mean([run.draws[-1] / len(run.draws) for run in full]):.0f}",
    }
    for case in CASES:
        found = [
            run_case(task, tables, case, s, costs, whole, _FULL, _PARTS[-1] * budget)
            for s, budget in enumerate(budgets[: _FEWER.get(case.sampler)])
        ]
        print(f"{task}: {case.name}", file=sys.stderr, flush=True)
        yield {"search": case.name, **_row(found, ends, budgets)}


def _row(found: list[Run], ends: Array, budgets: list[float]) -> dict[str, Any]:
    """Return where searches are at parts of the seconds, and beside the ends of the full ones."""
    at = {
        part: np.array(
            [_at(run, part * budget) for run, budget in zip(found, budgets, strict=False)]
        )
        for part in _PARTS
    }
    there = [
        100 * run.spent[reached[0]] / budget
        if len(reached := np.flatnonzero(run.volumes >= end))
        else np.inf
        for run, end, budget in zip(found, ends, budgets, strict=False)
    ]
    known = [r for r in sorted(there) if np.isfinite(r)]
    missed = len(there) - len(known)
    shown = f"{known[0]:.0f} to {known[-1]:.0f}" if known else ""
    rest = f"{missed} of {len(there)} > {100 * _PARTS[-1]:.0f}" if missed else ""
    ahead = wilcoxon(at[_ASKED], ends[: len(found)], alternative="greater").pvalue
    draws = 1000 * np.mean([run.draws[-1] / len(run.draws) for run in found])
    return {
        **{f"at {100 * part:.0f} %": spread(values, 4) for part, values in at.items()},
        "at 100 %": None,
        "there at, %": ", ".join(filter(None, (shown, rest))),
        "p at 10 %": f"{ahead:.4f}",
        "ms a draw": f"{draws:.0f}",
        **({"seeds": len(found)} if len(found) < len(ends) else {}),
    }


def _at(run: Run, seconds: float) -> float:
    """Return the hypervolume once so many seconds are spent; 0 before the first trial's end."""
    ended = int(np.searchsorted(run.spent, seconds, side="right"))
    return float(run.volumes[ended - 1]) if ended else 0.0


def run_case(
    task: str,
    tables: Mapping[str, Lookup],
    case: Case,
    seed: int,
    costs: Mapping[str, Any],
    whole: Lookup,
    trials: int,
    most: float = np.inf,
) -> Run:
    """Search until trials and search have taken `most` seconds."""
    table = WALKED[task] if case.walked else task
    lookup, step_cost = tables[table], costs[table]["cpu_seconds"]
    spec, space = read_task(table)
    asked = {"sampler": {"name": case.sampler, "seed": seed}, "early_stop": case.early_stop}
    wanted = min(trials, len(lookup.steps))
    spec = parse_spec(SweepSpec, spec.canonical() | asked | {"trials": wanted}, table)
    accepted: list[list[Metrics]] = []
    spent: list[float] = []
    drawing: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder(Path(name) / spec.name)
        with lock(folder):
            study = open_study(spec, folder, space.layers)
            known = KnownCosts(spec, space, HERE) if case.curves else None
            record = Record(
                spec, folder, space, study, reference(task_of(table), whole), costs=known
            )
            while not record.finished and sum(spent) + sum(drawing) < most:
                began = time.process_time()
                if (job := record.ask()) is None:
                    continue
                drawing.append(time.process_time() - began)
                place, why = folder.trial(job.folder), ""
                # A promoted trial continues behind the steps that it has.
                first = len(place.steps())
                done = list(lookup.at(job.values))
                for number, step in enumerate(done[first:], first + 1):
                    place.append_step(step)
                    facts = {**step.metrics(), "step": step.step, "accepted": step.accepted}
                    if record.judges and (why := record.judge(job.number, facts)):
                        done = done[:number]
                        break
                steps = [step.facts() for step in done if step.accepted]
                accepted.append(steps)
                spent.append(step_cost * (len(done) - first))
                ended = Ended(record.early_end, why) if why else Ended(steps=steps)
                record.finish(job.number, ended)
    return Run(curve(task, accepted, whole), np.cumsum(spent), np.cumsum(drawing))


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Search each task by every case, after what its tables lack has been run."""
    tables = [name for task in given.tasks for name in (task, WALKED[task])]
    if given.tabulate:
        os.nice(10)
        for line in (line for name in tables for line in tabulate(name, given.work)):
            print(line, flush=True)
        raise SystemExit
    if given.time:
        # The tables of a task are timed together; those of another one may be of another day.
        known = json.loads(COSTS.read_text()) if COSTS.exists() else {}
        write_json(COSTS, known | time_trials(tables, given.work, given.time))
        raise SystemExit
    return {
        "prices": {task: list(prices(task, given.seeds)) for task in given.tasks},
        "costs": json.loads(COSTS.read_text()),
        "points": {name: len(read_lookup(name).steps) for name in tables},
        "seeds": given.seeds,
    }


def page(result: dict[str, Any]) -> str:
    """Return the page of the documentation."""
    # Seconds of tables that no search here has used say nothing.
    costs = [
        f"{cost['cpu_seconds']:.3f} s in `{name}` ({cost['trials']} trials)"
        for name, cost in result["costs"].items()
        if name in result["points"]
    ]
    parts = [f"## {task}\n\n{table(rows)}" for task, rows in result["prices"].items()]
    return render(
        "search_price",
        tables=", ".join(f"{count} trials of `{name}`" for name, count in result["points"].items()),
        seeds=str(result["seeds"]),
        costs=", ".join(costs),
        prices="\n\n".join(parts),
        facts=sentence(result["facts"]),
    )


if __name__ == "__main__":
    Study(
        "search_price",
        "hypervolume against CPU seconds, of samplers and of ways to run trials",
        measure,
        page,
        packages=("optuna", "numpy", "scipy", "torch"),
        options={
            "--tasks": (listed(list(WALKED)), ",".join(WALKED), "with commas"),
            "--seeds": (int, 10, "of the searches"),
            "--tabulate": (bool, False, "1 runs the trials that the tables lack"),
            "--time": (int, None, "so many trials of each table again, for what a step costs"),
            "--work": (Path, Path("runs/search_price"), "scratch of --tabulate and --time"),
        },
    ).run()
