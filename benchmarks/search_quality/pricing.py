"""One search on the tables: what it has found, and what it has taken, trial by trial.

A search stops when its trials and its draws have taken a given number of CPU seconds. Dense
networks are shared and cost nothing here.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from benchmarks.report import Kept
from benchmarks.search_quality.lookup import (
    HERE,
    TABLES,
    WALKED,
    Array,
    Lookup,
    curve,
    read_task,
    reference,
    task_of,
)
from rfprune.results import SweepFolder
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study.known_costs import KnownCosts
from rfprune.study.record import Ended, Record, TrialJob
from rfprune.study.representative import Metrics
from rfprune.study.study import lock, open_study

#: CPU seconds of a step of each table; see `benchmarks.search_quality.lookup.time_trials`.
COSTS = TABLES / "cost.json"
#: Sampler of cases that Syne Tune runs, in an environment of its own.
MO_ASHA = "mo-asha"


class Case(NamedTuple):
    """A way to search: of which table, by which sampler, with which rule for early ends."""

    name: str
    walked: bool
    sampler: str
    early_stop: Mapping[str, Any] | None = None
    curves: bool = True


class Run(NamedTuple):
    """A search, after each trial: hypervolume, steps that were run, CPU seconds of the draws."""

    volumes: Array
    steps: Array
    draws: Array

    def spent(self, step_cost: float) -> Array:
        """Return the CPU seconds of trials and draws."""
        return step_cost * self.steps + self.draws


class KeptRuns(Kept):
    """Searches that have been run: by task and case, of each seed the columns of its `Run`."""

    runs: dict[str, list[list[list[float]]]] = Field(default_factory=dict)


class Prices(NamedTuple):
    """A task: its tables by name, and what a step of each costs in CPU seconds."""

    task: str
    tables: Mapping[str, Lookup]
    costs: Mapping[str, float]

    def table(self, case: Case) -> str:
        """Return which table a case is searched in."""
        return WALKED[self.task] if case.walked else self.task

    def curve(self, accepted: list[list[Metrics]]) -> Array:
        """Return the hypervolume after each trial, as a part of that of all searched trials."""
        return curve(self.task, accepted, self.tables[self.task])


def read_costs(tables: Mapping[str, Lookup]) -> dict[str, float]:
    """Return the CPU seconds of a step of some tables.

    Raises:
        SystemExit: one of them has not been timed.
    """
    known = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    if absent := [name for name in tables if name not in known]:
        raise SystemExit(
            f"{COSTS}: nothing about {', '.join(absent)}. To time them: "
            "python -m benchmarks.search_quality --time 5"
        )
    return {name: known[name]["cpu_seconds"] for name in tables}


def run_case(prices: Prices, case: Case, seed: int, trials: int, most: float = np.inf) -> Run:
    """Search until `trials` have ended, or trials and draws have taken `most` CPU seconds."""
    table = prices.table(case)
    lookup, step_cost = prices.tables[table], prices.costs[table]
    spec, space = read_task(table)
    asked = {"sampler": {"name": case.sampler, "seed": seed}, "early_stop": case.early_stop}
    wanted = min(trials, len(lookup.steps))
    spec = parse_spec(SweepSpec, spec.canonical() | asked | {"trials": wanted}, table)
    accepted: list[list[Metrics]] = []
    steps: list[int] = []
    draws: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder(Path(name) / spec.name)
        with lock(folder):
            study = open_study(spec, folder, space.layers)
            costs = KnownCosts(spec, space, HERE) if case.curves else None
            corner = reference(task_of(table), prices.tables[prices.task])
            record = Record(spec, folder, space, study, corner, costs=costs)
            while not record.finished and step_cost * sum(steps) + sum(draws) < most:
                began = time.process_time()
                if (job := record.ask()) is None:
                    continue
                draws.append(time.process_time() - began)
                found, number = _run(record, job, lookup)
                accepted.append(found)
                steps.append(number)
    return Run(prices.curve(accepted), np.cumsum(steps), np.cumsum(draws))


def _run(record: Record, job: TrialJob, lookup: Lookup) -> tuple[list[Metrics], int]:
    """Run a trial to its end, or to where it is judged; return what it accepted, and its steps."""
    place, why = record.folder.trial(job.folder), ""
    # A promoted trial continues behind the steps that it has.
    first = len(place.steps())
    done = list(lookup.at(job.values))
    for number, step in enumerate(done[first:], first + 1):
        place.append_step(step)
        facts = {**step.metrics(), "step": step.step, "accepted": step.accepted}
        if record.judges and (why := record.judge(job.number, facts)):
            done = done[:number]
            break
    accepted = [step.facts() for step in done if step.accepted]
    ended = Ended(record.early_end, why) if why else Ended(steps=accepted)
    record.finish(job.number, ended)
    return accepted, len(done) - first


def run_mo_asha(prices: Prices, case: Case, python: Path, mosts: list[float]) -> list[Run]:
    """Search by Syne Tune's MO-ASHA, a seed for each number of CPU seconds.

    Args:
        prices: the task.
        case: names the table.
        python: of the environment that has Syne Tune; see `mo_asha.py`.
        mosts: CPU seconds of trials and draws after which a search ends.
    """
    table = prices.table(case)
    lookup, spec = prices.tables[table], read_task(table)[0]
    points = list(lookup.steps)
    # A trial reports what it has accepted so far, step by step.
    reported: list[list[list[float]]] = []
    for point in points:
        last, rows = lookup.steps[point][0], []
        for step in lookup.steps[point]:
            last = step if step.accepted else last
            rows.append([float(last.metrics()[name] or 0.0) for name in spec.objectives])
        reported.append(rows)
    asked = {
        "axes": dict(lookup.axes),
        "points": points,
        "objectives": dict(spec.objectives),
        "reported": reported,
        "steps": spec.prune.steps,
        "step_seconds": prices.costs[table],
        "cpu_seconds": mosts,
    }
    with tempfile.TemporaryDirectory() as name:
        given, found = Path(name) / "asked.json", Path(name) / "found.json"
        given.write_text(json.dumps(asked))
        command = [python, HERE / "mo_asha.py", given, found]
        subprocess.run(list(map(str, command)), check=True)
        searches = json.loads(found.read_text())
    runs = []
    for search in searches:
        ran = [lookup.steps[points[trial["point"]]][: trial["steps"]] for trial in search]
        accepted: list[list[Metrics]] = [[s.facts() for s in steps if s.accepted] for steps in ran]
        columns = [[float(trial[name]) for trial in search] for name in ("steps", "draw")]
        runs.append(Run(prices.curve(accepted), *map(np.cumsum, columns)))
    return runs
