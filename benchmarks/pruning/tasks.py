"""What `benchmarks.pruning` runs, read from ``tasks.yml``; and what it has found so far."""

import platform
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, Field

from benchmarks.report import Kept, read_cases, settings
from rfprune.spec import TrialSpec

#: Of the converged dense network's accuracy; what a point must reach.
BAR = 0.98


class Task(BaseModel):
    """One network and data set, how it is trained and pruned; the file explains the keys."""

    spec: dict[str, Any]
    cases: dict[str, dict[str, Any]]
    further_epochs: int
    methods: tuple[str, ...] = ("knapsack", "greedy", "uniform", "random", "magnitude", "l1")
    resource: str = "multipliers"
    refines: bool = True
    existing: dict[str, float] = Field({})
    aims: dict[str, float] = Field({})

    def trial(self, case: str, method: str, seed: int) -> TrialSpec:
        """Return the trial of one trajectory."""
        own = {"prune": {"method": method}, "seed": seed}
        return TrialSpec.model_validate(settings(self.spec, self.cases[case], own))

    def reference_key(self, case: str, seed: int) -> str:
        """Return what names the training of a converged dense network.

        Tasks and cases that differ in hardware alone share it.
        """
        spec = self.trial(case, "none", seed)
        return f"{spec.dense_key}-{self.further_epochs}-{spec.prune.epochs_per_step}"


TASKS = {name: Task(**task) for name, task in read_cases("pruning", "tasks").items()}
METHODS = tuple(dict.fromkeys(method for task in TASKS.values() for method in task.methods))


class Point(BaseModel):
    """One pruning step: which fraction of each resource is gone, and the accuracies."""

    step: int
    multipliers: float
    dsp: float
    bram18: float
    val_accuracy: float
    accuracy: float


class Run(BaseModel):
    """One trajectory. `key` names its settings, so that a changed benchmark runs anew."""

    case: str
    method: str
    seed: int
    key: str
    points: list[Point]
    cpu_seconds: float


class Reference(BaseModel):
    """The converged dense network of one seed, and what its dense training took."""

    seed: int
    key: str
    val_accuracy: float
    accuracy: float
    dense_cpu_seconds: float


class Results(Kept):
    """What has been measured of a task so far."""

    task: str
    bar: float = BAR
    machine: str = platform.platform()
    references: list[Reference] = Field([])
    runs: list[Run] = Field([])

    def add(self, found: Run | Reference, path: Path | None = None) -> None:
        """Note one result in place of an older one of the same trajectory, and write the file."""
        if isinstance(found, Reference):
            self.references = [r for r in self.references if r.seed != found.seed] + [found]
        else:
            name = (found.case, found.method, found.seed)
            self.runs = [r for r in self.runs if (r.case, r.method, r.seed) != name] + [found]
        self.machine = platform.platform()
        self.write(path)

    @property
    def accuracy(self) -> float:
        """Test accuracy of the converged dense network, the mean over its seeds."""
        return fmean(one.accuracy for one in self.references)

    def ordered(self) -> list[Run]:
        """Return the trajectories in the order of the task's cases, methods and seeds."""
        cases = list(TASKS[self.task].cases)
        known = [run for run in self.runs if run.case in cases]
        return sorted(known, key=lambda r: (cases.index(r.case), METHODS.index(r.method), r.seed))
