"""The command line in this process, and a small sweep that has really run."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rfprune.spec.yaml_files import set_path

#: 240 rows of 8 features in 3 classes, which two layers learn in a few epochs.
SWEEP: dict[str, Any] = {
    "name": "tiny",
    "model": {"name": "mlp", "args": {"hidden": [8]}},
    "data": {"file": "tiny.npz"},
    "hardware": {"part": "pynq-z2", "clock_ns": 10},
    "train": {"epochs": 3, "batch_size": 32, "learning_rate": 0.02},
    "prune": {"method": "greedy", "steps": 2, "epochs_per_step": 1, "warmup_epochs": 0},
    "search": {
        "hardware.layers.*.reuse_factor": {"valid": True, "low": 1, "high": 4},
        "prune.budget.dsp": {"low": 0.3, "high": 0.8},
    },
    "objectives": {"val_accuracy": "max", "dsp": "min"},
    "sampler": {"name": "random", "seed": 1},
    "trials": 3,
}
_SWEEP_KEYS = ("name", "search", "objectives", "sampler", "trials")


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with the data file, 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Maker(tmp_path).data()
    return tmp_path


@pytest.fixture
def run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``rfprune`` with its arguments, here and now."""
    from rfprune.cli import main

    def call(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, printed.out, printed.err)

    return call


class Maker:
    """Writes data, sweep and trial files; keys of changes are dotted paths with ``__`` for dots."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def data(self, name: str = "tiny.npz", **changes: Any) -> Path:
        """Write the data file; `changes` replace arrays, None leaves one out."""
        rng = np.random.default_rng(0)
        centers = rng.normal(0, 2, (3, 8))
        labels = np.arange(240) % 3
        rows = (centers[labels] + rng.normal(0, 1, (240, 8))).astype(np.float32)
        arrays: dict[str, Any] = {
            "x_train": rows[:180],
            "y_train": labels[:180],
            "x_test": rows[180:],
            "y_test": labels[180:],
            **changes,
        }
        np.savez(self.folder / name, **{k: v for k, v in arrays.items() if v is not None})
        return self.folder / name

    def sweep(self, **changes: Any) -> Path:
        """Write ``tiny.yml``."""
        return self._write("tiny.yml", _changed(changes))

    def trial(self, **changes: Any) -> Path:
        """Write ``one.yml``, a trial file with a fixed budget."""
        values = _changed({"prune__budget": {"dsp": 0.5}, **changes})
        dropped = set(_SWEEP_KEYS) - set(changes)
        trial = {key: value for key, value in values.items() if key not in dropped}
        return self._write("one.yml", trial)

    def files(self) -> list[str]:
        """Return every file and folder below, for comparison."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    def _write(self, name: str, values: dict[str, Any]) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path


def _changed(changes: dict[str, Any]) -> dict[str, Any]:
    values = copy.deepcopy(SWEEP)
    for key, value in changes.items():
        set_path(values, key.replace("__", "."), value)
    return values


@pytest.fixture
def make(workplace: Path) -> Maker:
    """Files in the current folder."""
    return Maker(workplace)


def run_without_ray(sweep: Path) -> None:
    """Run a sweep file by the same record and the same trials; its runs are beside it."""
    from rfprune.cli.common import read_sweep_file
    from rfprune.execution.worker import WorkerContext, execute
    from rfprune.study.outlook import outlook
    from rfprune.study.record import Record
    from rfprune.study.study import lock, open_study

    root = sweep.parent
    target = read_sweep_file(str(sweep), root / "runs")
    known = outlook(target.spec, root)
    context = WorkerContext(target.folder.path, root)
    with lock(target.folder):
        study = open_study(target.spec, target.folder, known.space.layers)
        facts = {"base_dir": str(root), "reference_point": known.reference_point}
        if (target.folder.path / "sweep.json").exists():
            before = target.folder.facts()
            facts |= {name: value for name, value in before.items() if name != "spec"}
        record = Record(target.spec, target.folder, known.space, study, known.reference_point)
        target.folder.write_spec(target.spec, facts)
        while not record.finished:
            job = record.ask()
            assert job is not None
            record.finish(job.number, execute(context, job.folder, job.attempt, lambda step: None))


@pytest.fixture(scope="session")
def _ran_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny sweep, run without Ray."""
    root = tmp_path_factory.mktemp("ran")
    made = Maker(root)
    made.data()
    run_without_ray(made.sweep())
    return root


@pytest.fixture
def finished(_ran_once: Path, workplace: Path) -> Path:
    """A copy of the finished sweep's run folder in the current folder: ``runs/tiny``."""
    shutil.copytree(_ran_once / "runs", workplace / "runs")
    shutil.copy(_ran_once / "tiny.yml", workplace)
    path = workplace / "runs" / "tiny" / "sweep.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "base_dir": os.fspath(workplace)}))
    return workplace / "runs" / "tiny"
