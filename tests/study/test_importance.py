"""Importances of a study in which it is known what each objective depends on."""

from __future__ import annotations

import io
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from rfprune.results import SweepFolder
from rfprune.spec import SweepSpec
from rfprune.study import importance_png, importance_table, importances
from rfprune.study.importance import LEAST_TRIALS
from rfprune.study.journal import Journal

SPEC = {
    "name": "known",
    "model": {"name": "mlp"},
    "data": {"name": "digits"},
    "search": {
        "prune.budget.dsp": {"low": 0.0, "high": 1.0},
        "train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    },
    "objectives": {"val_accuracy": "max", "dsp": "min"},
    "trials": 60,
}


def sweep(home: Path, trials: int) -> SweepFolder:
    """Return a sweep whose accuracy is the learning rate's alone and whose cost the budget's."""
    folder = SweepFolder(home / "known")
    folder.path.mkdir()
    folder.write_spec(SweepSpec.model_validate(SPEC), {})
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name="known",
        storage=optuna.storages.JournalStorage(Journal(str(folder.study_path))),
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.RandomSampler(seed=3),
    )
    for _ in range(trials):
        trial = study.ask()
        budget = trial.suggest_float("prune.budget.dsp", 0.0, 1.0)
        rate = trial.suggest_float("train.learning_rate", 1e-4, 1e-1, log=True)
        study.tell(trial, [1.0 - rate, 100.0 * budget])
    return folder


def test_each_objective_names_what_it_depends_on(tmp_path: Path) -> None:
    found = importances(sweep(tmp_path, 60))
    assert list(found) == ["val_accuracy", "dsp"]
    for shares in found.values():
        assert sum(shares.values()) == pytest.approx(1.0)
        assert min(shares.values()) >= 0.0
    assert next(iter(found["val_accuracy"])) == "train.learning_rate"
    assert next(iter(found["dsp"])) == "prune.budget.dsp"
    assert found["val_accuracy"]["train.learning_rate"] > 0.75
    assert found["dsp"]["prune.budget.dsp"] > 0.75
    assert importances(SweepFolder(tmp_path / "known")) == found


def test_too_few_trials_and_no_study_say_nothing(tmp_path: Path) -> None:
    folder = sweep(tmp_path, LEAST_TRIALS - 1)
    assert importances(folder) == {}
    folder.study_path.unlink()
    assert importances(folder) == {}


def test_table_and_picture() -> None:
    found = {"val_accuracy": {"a": 0.9, "b": 0.1}, "dsp": {"b": 1.0}}
    out = io.StringIO()
    Console(file=out, width=80).print(importance_table(found, 80))
    rows = [
        line.split() for line in out.getvalue().splitlines() if line.split()[:1] in (["a"], ["b"])
    ]
    assert rows == [["b", "10%", "100%"], ["a", "90%", "0%"]]
    assert importance_png(found).startswith(b"\x89PNG")
