"""One search over a table of real trials, by the sweep's own record; and its hypervolume curve."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_quality.lookup import LAYERS, N_CLASSES, Lookup, read_task
from rfprune.front.dominance import pareto_mask
from rfprune.front.hypervolume import hypervolume
from rfprune.runs import StepRecord, SweepFolder
from rfprune.search.record import Ended, Job, Record
from rfprune.search.study import lock, open_study
from rfprune.search.trials import DOMINATED
from rfprune.spec import EarlyStopSpec, SweepSpec
from rfprune.spec.files import parse_spec

__all__ = ["Searched", "best_volume", "curve", "search"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Searched:
    """What one search saw.

    Attributes:
        accepted: the accepted steps of each trial, in the order of the trials.
        n_steps: pruning steps that were run, rejected ones among them.
        n_stopped: trials that ended early.
    """

    accepted: list[list[StepRecord]]
    n_steps: int
    n_stopped: int


def search(
    task: str,
    lookup: Lookup,
    sampler: str,
    seed: int,
    trials: int,
    early_stop: EarlyStopSpec | None = None,
) -> Searched:
    """Run a sweep of looked-up trials, one at a time."""
    spec, space = read_task(task)
    asked = {"sampler": {"name": sampler, "seed": seed}, "trials": trials}
    rule = {"early_stop": early_stop.model_dump() if early_stop else None}
    spec = parse_spec(SweepSpec, spec.canonical() | asked | rule, task)
    runs: list[list[StepRecord]] = []
    n_stopped = 0
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder(Path(name) / spec.name)
        with lock(folder):
            record = Record(spec, folder, space, open_study(spec, folder, LAYERS[task]))
            while not record.finished:
                job = record.ask()
                if job is None:
                    continue
                steps, ended = _run(record, job, lookup.at(job.values))
                record.finish(job.number, ended)
                runs.append(steps)
                n_stopped += bool(ended.reason)
    accepted = [[step for step in steps if step.accepted] for steps in runs]
    return Searched(accepted, sum(step.step > 0 for steps in runs for step in steps), n_stopped)


def _run(record: Record, job: Job, steps: Sequence[StepRecord]) -> tuple[list[StepRecord], Ended]:
    """Return the steps of a trial up to its end, and the end."""
    done: list[StepRecord] = []
    for step in steps:
        done.append(step)
        if not record.judges:
            continue
        record.folder.trial(job.folder).append_step(step)
        facts = {**step.metrics(), "step": step.step, "accepted": step.accepted}
        if why := record.judge(job.number, facts):
            return done, Ended(DOMINATED, why)
    final = [step for step in done if step.accepted][-1]
    return done, Ended(metrics={**final.metrics(), "step": final.step})


def losses(steps: Sequence[StepRecord], spec: SweepSpec) -> Array:
    """Return the objectives of steps as values to minimise, (N, M)."""
    signs = {name: -1.0 if way == "max" else 1.0 for name, way in spec.objectives.items()}
    rows = [[sign * (s.metrics()[n] or 0.0) for n, sign in signs.items()] for s in steps]
    return np.array(rows)


def reference(lookup: Lookup, spec: SweepSpec) -> Array:
    """Return the reference point as a sweep fixes it: chance, and 1.1 of the dearest dense one."""
    dense = losses([steps[0] for steps in lookup.steps.values()], spec).max(axis=0)
    chance = {"val_accuracy": -1.0 / N_CLASSES[spec.name]}
    worst = [chance.get(name, 1.1 * d) for name, d in zip(spec.objectives, dense, strict=True)]
    return np.array(worst)


def best_volume(lookup: Lookup, spec: SweepSpec) -> float:
    """Return the hypervolume of the whole table."""
    every = losses([s for steps in lookup.steps.values() for s in steps if s.accepted], spec)
    return hypervolume(every, reference(lookup, spec))


def curve(found: Sequence[Sequence[StepRecord]], lookup: Lookup, spec: SweepSpec) -> Array:
    """Return the hypervolume after each trial as a part of the whole table's, (trials,)."""
    corner, best = reference(lookup, spec), best_volume(lookup, spec)
    front = np.empty((0, len(corner)))
    volumes = []
    for steps in found:
        front = np.vstack([front, losses(steps, spec)])
        front = front[pareto_mask(front)]
        volumes.append(hypervolume(front, corner) / best)
    return np.array(volumes)
