"""The trials and streams of the AKPERL study: what is run, what is kept of it, and where.

Every trial is one of ``sweeps/akperl_small.yml`` or a change of it (``cases.yml``). A seed decides
the dense network, the order of the rows and the agent; the test rows are the same. Trials are kept
in run folders and are resumed where they were cut off.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from benchmarks.adaptive.data import images
from benchmarks.adaptive.measure import SETTINGS, dense_network, drift, prepared
from benchmarks.akperl.cases import CASES, METHODS, SWEEP, trial
from benchmarks.report import Kept
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.kernels import shrink
from rfprune.edge.monitor import measure_time
from rfprune.methods.akperl import read_episodes
from rfprune.results import StepRecord, TrialFolder
from rfprune.spec import TrialSpec
from rfprune.trial import prepare, run_trial
from rfprune.trial.dense import new_model


class Job(NamedTuple):
    """One trial of one case."""

    case: str
    method: str
    seed: int


class Point(BaseModel):
    """A pruning step (0 is the dense network): accuracies, estimates, and kernels that are kept.

    Power is that at the rate at which the dense network computes without a pause.
    """

    step: int
    accuracy: float
    val_accuracy: float
    energy_mj: float
    inference_ms: float
    power_mw: float
    kernel_sparsity: float
    kept: list[int]


class Run(BaseModel):
    """One trial; `key` names its settings, so that a changed benchmark runs anew.

    `measured_ms` is the time of an image of the smaller network on one thread here. `learning` is
    that of an agent: episode, mean largest Q-value, reward of the greedy policy.
    """

    case: str
    method: str
    seed: int
    key: str
    points: list[Point]
    measured_ms: float
    seconds: float
    learning: list[tuple[int, float | None, float | None]] = []

    @property
    def job(self) -> Job:
        """What was run."""
        return Job(self.case, self.method, self.seed)

    @property
    def last(self) -> Point:
        """The network in the end."""
        return self.points[-1]


class Results(Kept):
    """What has been measured so far."""

    facts: dict[str, Any] = Field({})
    small_facts: dict[str, Any] = Field({})
    runs: list[Run] = Field([])
    streams: list[dict[str, Any]] = Field([])

    def has(self, job: Job) -> bool:
        """Whether the trial has been run with the settings of now."""
        key = trial(*job).key
        return any(run.key == key and run.case == job.case for run in self.runs)

    def of(self, case: str, method: str) -> dict[int, Run]:
        """Return the runs of a method by seed."""
        return {run.seed: run for run in self.runs if (run.case, run.method) == (case, method)}

    def add(self, found: Run) -> None:
        """Note one result, in place of an older one of the same trial."""
        others = [run for run in self.runs if run.job != found.job]
        order = list(CASES)
        self.runs = sorted([*others, found], key=lambda r: (order.index(r.case), r.method, r.seed))


def jobs(cases: Iterable[str], seeds: range, methods: Sequence[str] = METHODS) -> Iterator[Job]:
    """Yield the trials that are asked for, seed by seed."""
    for case in cases:
        for seed in seeds:
            yield from (Job(case, m, seed) for m in CASES[case].methods if m in methods)


def run(job: Job, home: Path) -> Run:
    """Run one trial, or take it from where it has been run."""
    spec = trial(*job)
    folder = TrialFolder(home / spec.key / "trials" / "0000")
    result = run_trial(spec, folder, dense_dir=home / "dense", base_dir=SWEEP.parent)
    assert result.state == "complete", result.error
    records = folder.steps()
    episodes = read_episodes(folder.path / "agent" / f"{records[-1].step:03d}")
    found = points(spec, records)
    return Run(
        **job._asdict(),
        key=spec.key,
        points=found,
        measured_ms=measured(spec, found[-1].kept),
        seconds=result.seconds,
        learning=[(r.episode, r.mean_max_q, r.greedy.reward) for r in episodes if r.greedy],
    )


def points(spec: TrialSpec, records: list[StepRecord]) -> list[Point]:
    """Return what the steps of a trial have left."""
    prunable: Any = prepare(spec, SWEEP.parent).deployment.prunable
    costs = prunable.costs
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
                accuracy=record.values["accuracy"] or 0.0,
                val_accuracy=record.values["val_accuracy"] or 0.0,
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
    ready = prepare(spec, SWEEP.parent)
    model = new_model(spec, ready.data, SWEEP.parent).eval()
    prunable: Any = ready.deployment.prunable
    kernels = prunable.kernels
    smaller = shrink(model, kernels.masks(model, 1 - np.array(kept) / kernels.n_kernels))
    return measure_time(smaller, ready.data.x_test[:1], repeats=100, threads=1).image_ms


def streamed(seed: int) -> dict[str, Any]:
    """Return accuracy and power over the stream, adaptive and static at the same mean power."""
    setting = SETTINGS["seeds"]
    data = images(setting.n_classes, setting.image_size)
    dense, spec = dense_network(data, setting, seed)
    model, table = prepared(dense, spec, data, setting, seed)
    return {"seed": seed, **summary(drift(model, data, setting.batch_size, seed), table.power_mw)}


def summary(rows: list[dict[str, Any]], level_mw: Any) -> dict[str, float]:
    """Return means over the stream; `level_mw` is (A,), falling.

    The static network at a power is a mixture of the two levels of which one draws more and the
    other one less; it knows neither the input nor the budget.
    """
    power = np.array([row["power_mw"] for row in rows])
    budget = np.array([row["budget_mw"] for row in rows]) * (1 + 1e-9)
    of_levels = np.mean([row["accuracy_of_levels"] for row in rows], axis=0)
    over_levels = [(drawn > budget).mean() for drawn in level_mw]
    mean, rising = float(power.mean()), np.asarray(level_mw)[::-1]
    return {
        "accuracy": float(np.mean([row["accuracy"] for row in rows])),
        "power_mw": mean,
        "over": float((power > budget).mean()),
        # So mixed that the mean power is the same.
        "static_accuracy": float(np.interp(mean, rising, of_levels[::-1])),
        "static_over": float(np.interp(mean, rising, over_levels[::-1])),
    }
