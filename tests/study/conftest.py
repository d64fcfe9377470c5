"""Sweeps of quick real trials: specs, an executor without Ray, and one Ray session per module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rfprune.execution.cluster import cluster, quiet_environment
from rfprune.execution.worker import WorkerContext, execute
from rfprune.results import SweepFolder
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study.expand import expand
from rfprune.study.record import Record, TrialJob
from rfprune.study.study import lock, open_study

HERE = Path(__file__).parent
LAYERS = {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 5)}
RF = "hardware.layers.{}.reuse_factor".format
FUNCTION = "quick_trials:run"

SpecMaker = Callable[..., SweepSpec]


def _make_spec(**keys: Any) -> SweepSpec:
    fault = keys.pop("fault", None)
    seconds = keys.pop("seconds", 0.0)
    args = {"fault": fault, "seconds": seconds} if fault else {"seconds": seconds}
    values = {
        "name": "demo",
        "model": {"name": "mlp", "args": args},
        "data": {"name": "digits"},
        "prune": {"steps": 2},
        "search": {RF("*"): {"valid": True}},
        "objectives": {"val_accuracy": "max", "dsp": "min"},
        "sampler": {"name": "random"},
        "trials": 6,
        **keys,
    }
    return parse_spec(SweepSpec, values, "demo.yml")


class Inline:
    """Drives a record in this process; the lock is held as a real driver holds it."""

    def __init__(self, spec: SweepSpec, path: Path) -> None:
        self.spec = spec
        self.folder = SweepFolder(path / spec.name)
        self.context = WorkerContext(self.folder.path, HERE, FUNCTION)
        with lock(self.folder):
            self.study = open_study(spec, self.folder, LAYERS)
            self.record = Record(spec, self.folder, expand(spec, LAYERS), self.study)
            self.folder.write_spec(spec, {})

    def ask(self) -> TrialJob:
        """Return the next job, which must exist."""
        job = self.record.ask()
        assert job is not None
        return job

    def work(self, job: TrialJob) -> None:
        """Run one job and record its end."""
        ended = execute(self.context, job.folder, job.attempt, lambda step: None)
        self.record.finish(job.number, ended)

    def run(self) -> Inline:
        """Run all that is missing."""
        while not self.record.finished:
            job = self.record.ask()
            if job is not None:
                self.work(job)
        return self


@pytest.fixture
def make_spec() -> SpecMaker:
    """Return a function that makes sweep specs; ``fault`` and ``seconds`` go to the trials."""
    return _make_spec


@pytest.fixture
def inline(tmp_path: Path) -> Callable[..., Inline]:
    """Return a function that opens a sweep for execution in this process."""

    def make(spec: SweepSpec, path: Path = tmp_path) -> Inline:
        return Inline(spec, path)

    return make


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """Start Ray once for a module's tests."""
    with quiet_environment(), cluster(None):
        yield
