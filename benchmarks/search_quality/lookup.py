"""Real trials on a grid, kept in a table, so that a search over them costs no training.

``python -m benchmarks.search_quality --tabulate TABLE`` runs what the table does not hold yet, one
trial after the other; stop it at any time. The searches of the tasks list all their values, so that
every point they draw is in the table.
"""

import csv
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfprune.results import StepRecord, SweepFolder, TrialFolder
from rfprune.results.dominance import pareto_mask
from rfprune.results.hypervolume import hypervolume
from rfprune.results.points import losses
from rfprune.spec import EarlyStopSpec, SweepSpec, TrialSpec
from rfprune.spec.yaml_files import parse_spec, read_yaml
from rfprune.study import Space, expand
from rfprune.study.parameters import Scalar
from rfprune.study.record import Ended, Record, TrialJob
from rfprune.study.representative import Metrics
from rfprune.study.study import lock, open_study
from rfprune.study.trials import DOMINATED
from rfprune.study.warm_start import EarlierTrial

HERE = Path(__file__).parent
TABLES = HERE.parents[1] / "docs" / "results" / "search_quality"
TASKS = ("digits", "jets", "muons")
#: Tables of the same networks whose trials walk the budgets, by task.
WALKED = {"digits": "digits_walk", "jets": "jets_walk", "muons": "muons_walk"}
#: Shape of each layer's weight matrix, (n_in, n_out).
LAYERS = {
    "digits": {"fc1": (64, 64), "fc2": (64, 32), "fc3": (32, 32), "output": (32, 10)},
    "jets": {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 32), "output": (32, 5)},
    "muons": {"fc1": (29, 64), "fc2": (64, 32), "output": (32, 2)},
}
#: What one answer for all rows scores, by task: a label, or the mean of the training rows.
CHANCE = {"digits": 0.1, "jets": 0.2, "muons": 0.6797}
_FACTS = ("step", "accepted")


@dataclass(frozen=True)
class Lookup:
    """The steps of every trial of the grid.

    Attributes:
        axes: the values of the grid by path.
        steps: by point of the grid, its steps in order.
    """

    axes: Mapping[str, tuple[Scalar, ...]]
    steps: Mapping[tuple[Scalar, ...], tuple[StepRecord, ...]]

    def at(self, values: Mapping[str, Scalar]) -> tuple[StepRecord, ...]:
        """Return the steps of the trial at a point."""
        return self.steps[tuple(values[path] for path in self.axes)]


def read_task(name: str) -> tuple[SweepSpec, Space]:
    """Return the sweep of a task and its space."""
    path = HERE / f"{name}.yml"
    spec = parse_spec(SweepSpec, read_yaml(path), path.name)
    return spec, expand(spec, LAYERS[task_of(name)])


def task_of(table: str) -> str:
    """Return the task that a table is of."""
    return next((task for task, walked in WALKED.items() if walked == table), table)


def axes_of(space: Space) -> dict[str, tuple[Scalar, ...]]:
    """Return the values of the grid by path; every path lists them."""
    return {parameter.path: tuple(parameter.every()) for parameter in space.parameters}


def measured(spec: SweepSpec) -> tuple[str, ...]:
    """Return the quantities that a task's table keeps: the objectives, and seconds."""
    return (*spec.objectives, "seconds")


def read_lookup(name: str) -> Lookup:
    """Return a task's table.

    Raises:
        SystemExit: the table is not complete yet.
    """
    spec, space = read_task(name)
    axes = axes_of(space)
    rows = _read_rows(name, axes, measured(spec))
    missing = [point for point in itertools.product(*axes.values()) if point not in rows]
    if missing:
        raise SystemExit(
            f"{TABLES / name}.csv: {len(missing)} of {len(rows) + len(missing)} trials are "
            f"missing. To run them: python -m benchmarks.search_quality --tabulate {name}"
        )
    return Lookup(axes, {point: tuple(steps) for point, steps in rows.items()})


def _read_rows(
    name: str, axes: Mapping[str, tuple[Scalar, ...]], quantities: Sequence[str]
) -> dict[tuple[Scalar, ...], list[StepRecord]]:
    rows: dict[tuple[Scalar, ...], list[StepRecord]] = {}
    path = TABLES / f"{name}.csv"
    if not path.exists():
        return rows
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            point = tuple(type(axis[0])(row[path]) for path, axis in axes.items())
            known: dict[str, float] = {name: float(row[name]) for name in quantities}
            known |= {fact: int(row[fact]) for fact in _FACTS}
            rows.setdefault(point, []).append(StepRecord.model_validate(known))
    return rows


def tabulate(name: str, work: Path) -> Iterator[str]:
    """Run the trials that the table lacks, in a scratch folder; yield a line for each."""
    spec, space = read_task(name)
    axes = axes_of(space)
    quantities = measured(spec)
    done = _read_rows(name, axes, quantities)
    points = list(itertools.product(*axes.values()))
    folder = SweepFolder(work / name)
    path = TABLES / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, point in enumerate(points):
        if point in done:
            continue
        trial = folder.trial(number)
        resolved = space.resolve(spec, dict(zip(axes, point, strict=True)))
        run_timed(resolved, trial, folder)
        lines = [] if path.exists() else [",".join([*axes, *_FACTS, *quantities])]
        for step in trial.steps():
            facts = [str(int(getattr(step, fact))) for fact in _FACTS]
            values = [f"{step.metrics()[quantity]:.6g}" for quantity in quantities]
            lines.append(",".join([*map(str, point), *facts, *values]))
        # All steps of a trial at once, so that a trial is there whole or not at all.
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        yield f"{number + 1}/{len(points)}"


def run_timed(spec: TrialSpec, trial: TrialFolder, folder: SweepFolder) -> float:
    """Run a trial on a dense network that is there, or is trained first; return its CPU seconds."""
    from rfprune.trial.run import run_trial

    trial.path.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    run_trial(spec, trial, dense_dir=folder.dense_dir, base_dir=HERE)
    return time.process_time() - began


def time_trials(tables: Sequence[str], work: Path, n: int) -> dict[str, dict[str, float]]:
    """Run `n` trials of each table again, in turn; return the CPU seconds of a step of each."""
    rng = np.random.default_rng(0)
    took: dict[str, float] = dict.fromkeys(tables, 0.0)
    steps: dict[str, int] = dict.fromkeys(tables, 0)
    for number in range(n + 1):
        for table in tables:
            spec, space = read_task(table)
            point = {
                path: values[rng.integers(len(values))] for path, values in axes_of(space).items()
            }
            folder = SweepFolder(work / f"{table}-timed")
            trial = folder.trial(number)
            shutil.rmtree(trial.path, ignore_errors=True)
            seconds = run_timed(space.resolve(spec, point), trial, folder)
            # The first one trains the dense network, which all share.
            if number:
                took[table] += seconds
                steps[table] += len(trial.steps())
    return {t: {"trials": n, "steps": steps[t], "cpu_seconds": took[t] / steps[t]} for t in tables}


Array = NDArray[np.float64]


class Searched(NamedTuple):
    """Accepted steps trial by trial, the pruning steps that were run, early ends, and points."""

    accepted: list[list[Metrics]]
    n_steps: int
    n_stopped: int
    points: list[dict[str, Scalar]]


def search(
    task: str,
    lookup: Lookup,
    sampler: str,
    seed: int,
    trials: int,
    early_stop: EarlyStopSpec | None = None,
    earlier: Sequence[EarlierTrial] = (),
) -> Searched:
    """Run a sweep of looked-up trials, one at a time; its study is told the `earlier` ones."""
    spec, space = read_task(task)
    asked = {"sampler": {"name": sampler, "seed": seed}, "trials": trials}
    rule = {"early_stop": early_stop.model_dump() if early_stop else None}
    spec = parse_spec(SweepSpec, spec.canonical() | asked | rule, task)
    accepted: list[list[Metrics]] = []
    points: list[dict[str, Scalar]] = []
    n_steps = n_stopped = 0
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder(Path(name) / spec.name)
        with lock(folder):
            study = open_study(spec, folder, space.layers)
            point = reference(task, lookup)
            record = Record(spec, folder, space, study, point, earlier=earlier)
            while not record.finished:
                if (job := record.ask()) is None:
                    continue
                done, why = _steps(record, job, lookup.at(job.values))
                accepted.append([step.facts() for step in done if step.accepted])
                points.append(job.values)
                ended = Ended(DOMINATED, why) if why else Ended(steps=accepted[-1])
                record.finish(job.number, ended)
                n_steps += sum(step.step > 0 for step in done)
                n_stopped += bool(why)
    return Searched(accepted, n_steps, n_stopped, points)


def _steps(
    record: Record, job: TrialJob, steps: Sequence[StepRecord]
) -> tuple[list[StepRecord], str | None]:
    """Return the steps of a trial up to its end, and why it ended early."""
    if not record.judges:
        return list(steps), None
    for index, step in enumerate(steps, 1):
        record.folder.trial(job.folder).append_step(step)
        facts = {**step.metrics(), "step": step.step, "accepted": step.accepted}
        if why := record.judge(job.number, facts):
            return list(steps[:index]), why
    return list(steps), None


def reference(task: str, lookup: Lookup) -> dict[str, float]:
    """Return the reference point as a sweep fixes it: a guess, and 1.1 of the largest dense one."""
    spec, _ = read_task(task)
    dense = [steps[0].metrics() for steps in lookup.steps.values()]
    return {
        name: CHANCE[task]
        if name.startswith("val_")
        else 1.1 * max(step[name] or 0.0 for step in dense)
        for name in spec.objectives
    }


def curve(task: str, found: Sequence[Sequence[Metrics]], lookup: Lookup) -> Array:
    """Return the hypervolume after each trial as a part of the whole table's, (trials,)."""
    spec, _ = read_task(task)
    corner = losses([reference(task, lookup)], spec.objectives)[0]
    accepted = [s.metrics() for steps in lookup.steps.values() for s in steps if s.accepted]
    best = hypervolume(losses(accepted, spec.objectives), corner)
    front = np.empty((0, len(corner)))
    volumes = []
    for steps in found:
        front = np.vstack([front, losses(steps, spec.objectives)])
        front = front[pareto_mask(front)]
        volumes.append(hypervolume(front, corner) / best)
    return np.array(volumes)
