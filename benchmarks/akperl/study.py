"""AKPERL beside static pruning on photos: ``python -m benchmarks.akperl``.

Every trial is one of ``sweeps/akperl_small.yml`` or a change of it (`benchmarks.akperl.cases`): the
same images, dense networks, steps and epochs for all methods, equal budgets at every step. A seed
decides the dense network, the order of the rows and the agent; the test rows are the same.

Trials are kept in run folders and go on where they were cut off; those that a sweep of the file
has run already are taken from its folder. Results are written after every trial.
``python -m benchmarks.akperl.page`` makes the page of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.akperl.cases import CASES, SWEEP, trial
from benchmarks.akperl.streams import streamed
from benchmarks.report import RESULTS, facts
from rfprune.agent import read_episodes
from rfprune.edge import EdgeCosts
from rfprune.kernels import shrink
from rfprune.monitor import measure_time
from rfprune.runs import StepRecord, SweepFolder, TrialFolder
from rfprune.runs.files import write_json
from rfprune.spec import TrialSpec
from rfprune.trial import prepare_edge, restore_edge, run_trial
from rfprune.trial.dense import new_model

STUDY = RESULTS / "akperl" / "results.json"
PACKAGES = ("rfprune", "torch", "stable-baselines3", "gymnasium", "numpy", "scipy")


@dataclass(frozen=True)
class Job:
    """One trial of one case."""

    case: str
    method: str
    seed: int


@dataclass(frozen=True)
class Point:
    """A pruning step; 0 is the dense network.

    Attributes:
        step: number.
        accuracy, val_accuracy: on test and validation rows.
        energy_mj, inference_ms: of an image on the device, estimated.
        power_mw: at the rate at which the dense network computes without a pause, estimated.
        kernel_sparsity: fraction of the kernels that is pruned.
        kept: kernels of every layer.
    """

    step: int
    accuracy: float
    val_accuracy: float
    energy_mj: float
    inference_ms: float
    power_mw: float
    kernel_sparsity: float
    kept: list[int]


@dataclass(frozen=True)
class Run:
    """One trial.

    Attributes:
        case, method, seed: what was run.
        key: of its settings, so that a changed benchmark runs anew.
        points: its steps.
        measured_ms: time of an image on this machine, the smaller network on one thread, measured.
        seconds: of the whole trial.
        learning: of the agent at the last step, every few episodes: episode, mean largest Q-value,
            reward of the greedy policy; empty for other methods.
    """

    case: str
    method: str
    seed: int
    key: str
    points: list[Point]
    measured_ms: float
    seconds: float
    learning: list[list[float | None]] = field(default_factory=list)

    @property
    def last(self) -> Point:
        """The network in the end."""
        return self.points[-1]


class Results:
    """What has been measured so far; kept in a file after every trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: dict[str, Any] = {}
        self.runs: list[Run] = []
        self.streams: list[dict[str, Any]] = []
        if path.exists():
            whole = json.loads(path.read_text(encoding="utf-8"))
            self.facts, self.streams = whole["facts"], whole["streams"]
            self.runs = [
                Run(**{**one, "points": [Point(**p) for p in one["points"]]})
                for one in whole["runs"]
            ]

    def has(self, job: Job) -> bool:
        """Whether the trial has been run with the settings of now."""
        key = trial(job.case, job.method, job.seed).key
        return any(run.key == key and run.case == job.case for run in self.runs)

    def add(self, found: Run) -> None:
        """Note one result, in place of an older one of the same trial, and write all of them."""
        name = (found.case, found.method, found.seed)
        others = [run for run in self.runs if (run.case, run.method, run.seed) != name]
        order = list(CASES)
        self.runs = sorted(
            [*others, found], key=lambda run: (order.index(run.case), run.method, run.seed)
        )
        self.write()

    def add_stream(self, found: dict[str, Any]) -> None:
        """Note one drifting stream, in place of an older one of the same seed."""
        others = [one for one in self.streams if one["seed"] != found["seed"]]
        self.streams = sorted([*others, found], key=lambda one: int(one["seed"]))
        self.write()

    def write(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        runs = [asdict(run) for run in self.runs]
        write_json(self.path, {"facts": self.facts, "runs": runs, "streams": self.streams})


def jobs(cases: list[str], methods: list[str] | None, seeds: range) -> Iterator[Job]:
    """Yield the trials that are asked for, seed by seed."""
    for case in cases:
        for seed in seeds:
            for method in CASES[case].methods:
                if methods is None or method in methods:
                    yield Job(case, method, seed)


def finished(sweep: Path) -> dict[str, TrialFolder]:
    """Return the complete trials of a sweep's folder by the key of their settings."""
    done = (folder for folder in SweepFolder(sweep).trials() if folder.result() is not None)
    return {folder.spec().key: folder for folder in done}


def run(job: Job, home: Path, known: dict[str, TrialFolder]) -> Run:
    """Run one trial, or take it from where it has been run."""
    spec = trial(job.case, job.method, job.seed)
    folder = known.get(spec.key) or TrialFolder(home / spec.key / "trials" / "0000")
    result = run_trial(spec, folder, dense_dir=home / "dense", base_dir=SWEEP.parent)
    assert result.state == "complete", result.error
    records = folder.steps()
    found = points(folder, records)
    return Run(
        job.case,
        job.method,
        job.seed,
        spec.key,
        found,
        measured(spec, found[-1].kept),
        result.seconds,
        learning(folder, records[-1].step),
    )


def points(folder: TrialFolder, records: list[StepRecord]) -> list[Point]:
    """Return what the steps of a trial have left."""
    prepared, _, _ = restore_edge(folder, 0)
    costs = prepared.costs
    dense_seconds = costs.readings(costs.kernels.n_kernels).time.value
    steady = costs.spec.model_copy(update={"images_per_second": 1 / dense_seconds})
    at_rate = EdgeCosts(costs.kernels, costs.device, steady)
    found = []
    for record in records:
        kept = [record.live[layer.name] for layer in costs.kernels.prunable]
        now = at_rate.readings(np.array(kept))
        found.append(
            Point(
                step=record.step,
                accuracy=record.accuracy,
                val_accuracy=record.val_accuracy,
                energy_mj=now.energy.value,
                inference_ms=1e3 * now.time.value,
                power_mw=now.power.value,
                kernel_sparsity=1 - sum(kept) / int(costs.kernels.n_kernels.sum()),
                kept=kept,
            )
        )
    return found


def measured(spec: TrialSpec, kept: list[int]) -> float:
    """Return the milliseconds of one image on one thread here; they depend on sizes alone."""
    prepared = prepare_edge(spec, SWEEP.parent)
    model = new_model(spec, prepared.data, SWEEP.parent).eval()
    kernels = prepared.costs.kernels
    smaller = shrink(model, kernels.masks(model, 1 - np.array(kept) / kernels.n_kernels))
    return measure_time(smaller, prepared.data.x_test[:1], repeats=100, threads=1).image_ms


def learning(folder: TrialFolder, step: int) -> list[list[float | None]]:
    """Return how the agent of a step learned; nothing for methods that do not."""
    records = read_episodes(folder.path / "agent" / f"{step:03d}")
    return [[r.episode, r.mean_max_q, r.greedy.reward] for r in records if r.greedy is not None]


def main() -> None:
    """Run everything that the file of results lacks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--methods", nargs="+", default=None, help="all of the case if not given")
    parser.add_argument("--streams", action="store_true", help="the drifting streams only")
    parser.add_argument("--times", action="store_true", help="measure the times here anew, only")
    parser.add_argument("--runs", type=Path, default=Path("runs/akperl_study"))
    parser.add_argument("--sweep", type=Path, help="folder of a sweep whose trials are taken")
    parser.add_argument("--results", type=Path, default=STUDY)
    options = parser.parse_args()
    results = Results(options.results)
    if options.times:
        for one in results.runs:
            spec = trial(one.case, one.method, one.seed)
            results.add(replace(one, measured_ms=measured(spec, one.last.kept)))
        return
    results.facts = facts(PACKAGES, 0)
    if options.streams:
        for seed in range(options.seeds):
            if all(one["seed"] != seed for one in results.streams):
                results.add_stream(streamed(seed))
        return
    known = finished(options.sweep) if options.sweep else {}
    for job in jobs(options.cases, options.methods, range(options.seeds)):
        if not results.has(job):
            results.add(run(job, options.runs, known))
            print(f"{job.case}, {job.method}, seed {job.seed}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
