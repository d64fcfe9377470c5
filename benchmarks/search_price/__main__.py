"""What a front costs: hypervolume against CPU seconds, of samplers and of ways to run trials.

Two tables of the same networks on the same task: one whose budgets are searched, one whose trials
walk them. A step costs what the steps of its table took when trials of both were run again in turn
(``--time``); dense networks are shared and cost nothing here.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
_PARTS = (0.1, 0.2)
_FULL = 200


class Case(NamedTuple):
    """A way to search: of which table, by which sampler, with which rule for early ends."""

    name: str
    walked: bool
    sampler: str
    early_stop: Mapping[str, Any] | None = None
    curves: bool = True


CASES = (
    Case("random", False, "random"),
    Case("Optuna's NSGA-II", False, "nsga2"),
    Case("Optuna's GP", False, "gp"),
    Case("TPE from the corners (`auto` before)", False, "auto", curves=False),
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
    ends = np.array([volumes[-1] for volumes, _ in full])
    budgets = [spent[-1] for _, spent in full]
    yield {
        "search": f"random, {_FULL} trials ({np.mean(budgets):.0f} CPU seconds)",
        **{f"at {100 * part:.0f} %": "" for part in _PARTS},
        "at 100 %": spread(ends, 4),
        "there at, %": "100",
    }
    for case in CASES:
        most = _PARTS[0] if case.sampler == "gp" else _PARTS[-1]
        found = [
            run_case(task, tables, case, s, costs, whole, _FULL, most * budget)
            for s, budget in enumerate(budgets)
        ]
        row: dict[str, Any] = {"search": case.name}
        for part in _PARTS:
            parts = [
                volumes[max(int(np.searchsorted(spent, part * budget, side="right")) - 1, 0)]
                for (volumes, spent), budget in zip(found, budgets, strict=True)
            ]
            row[f"at {100 * part:.0f} %"] = spread(parts, 4) if part <= most else None
        there = [
            np.flatnonzero(volumes >= end) for (volumes, _), end in zip(found, ends, strict=True)
        ]
        reached = [
            100 * spent[at[0]] / budget if len(at) else np.inf
            for at, (_, spent), budget in zip(there, found, budgets, strict=True)
        ]
        shown = [f"{r:.0f}" if np.isfinite(r) else f"> {100 * most:.0f}" for r in sorted(reached)]
        yield {**row, "at 100 %": None, "there at, %": ", ".join(shown)}


def run_case(
    task: str,
    tables: Mapping[str, Lookup],
    case: Case,
    seed: int,
    costs: Mapping[str, Any],
    whole: Lookup,
    trials: int,
    most: float = np.inf,
) -> tuple[Array, Array]:
    """Return hypervolume and CPU seconds after each trial, up to `most` seconds."""
    table = WALKED[task] if case.walked else task
    lookup, step_cost = tables[table], costs[table]["cpu_seconds"]
    spec, space = read_task(table)
    asked = {"sampler": {"name": case.sampler, "seed": seed}, "early_stop": case.early_stop}
    wanted = min(trials, len(lookup.steps))
    spec = parse_spec(SweepSpec, spec.canonical() | asked | {"trials": wanted}, table)
    accepted: list[list[Metrics]] = []
    spent: list[float] = [0.0]
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder(Path(name) / spec.name)
        with lock(folder):
            study = open_study(spec, folder, space.layers)
            known = KnownCosts(spec, space, HERE) if case.curves else None
            point, drawing = reference(task_of(table), whole), 0.0
            record = Record(spec, folder, space, study, point, costs=known)
            while not record.finished and spent[-1] < most:
                began = time.process_time()
                job = record.ask()
                drawing += time.process_time() - began
                if job is None:
                    continue
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
                spent.append(spent[-1] + step_cost * (len(done) - first) + drawing)
                drawing = 0.0
                ended = Ended(record.early_end, why) if why else Ended(steps=steps)
                record.finish(job.number, ended)
    return curve(task, accepted, whole), np.array(spent[1:])


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Search each task by every case, after what its tables lack has been run."""
    tables = [name for task in given.tasks for name in (task, WALKED[task])]
    if given.tabulate:
        os.nice(10)
        for line in (line for name in tables for line in tabulate(name, given.work)):
            print(line, flush=True)
        raise SystemExit
    if given.time:
        write_json(COSTS, time_trials(tables, given.work, given.time))
        raise SystemExit
    return {
        "prices": {task: list(prices(task, given.seeds)) for task in given.tasks},
        "costs": json.loads(COSTS.read_text()),
        "points": {name: len(read_lookup(name).steps) for name in tables},
        "seeds": given.seeds,
    }


def page(result: dict[str, Any]) -> str:
    """Return the page of the documentation."""
    costs = [
        f"{cost['cpu_seconds']:.3f} s in `{name}` ({cost['trials']} trials)"
        for name, cost in result["costs"].items()
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
            "--seeds": (int, 3, "of the searches"),
            "--tabulate": (bool, False, "1 runs the trials that the tables lack"),
            "--time": (int, None, "so many trials of each table again, for what a step costs"),
            "--work": (Path, Path("runs/search_price"), "scratch of --tabulate and --time"),
        },
    ).run()
