"""NSGA-II and NSGA-III of the driver draw what Optuna's own draw, trial by trial."""

from __future__ import annotations

import random
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from rfprune.study.genetic import NSGA2, NSGA3
from rfprune.study.journal import Journal
from rfprune.study.optuna_private import OwnedStudy
from rfprune.study.storage import OwnedStorage

POPULATION = 6
PAIRS = [(NSGAIISampler, NSGA2), (NSGAIIISampler, NSGA3)]


def draw(trial: optuna.Trial) -> tuple[float, float]:
    x = trial.suggest_float("x", 0, 1)
    n = trial.suggest_int("n", 0, 9)
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    y = trial.suggest_float("y", 1e-5, 1e-2, log=True) if kind == "a" else 0.0
    return (x - 0.3) ** 2 + n, (x - 0.8) ** 2 - n + 100 * y


def work(study: optuna.Study, n_trials: int, seed: int) -> None:
    """Run trials three at a time that end in any order, some of them badly."""
    chosen = random.Random(seed)
    live: list[tuple[optuna.Trial, tuple[float, float]]] = []
    while n_trials or live:
        if n_trials and len(live) < 3:
            if chosen.random() < 0.05:
                study.enqueue_trial({"x": 0.5})
            trial = study.ask()
            live.append((trial, draw(trial)))
            n_trials -= 1
            continue
        trial, values = live.pop(chosen.randrange(len(live)))
        if chosen.random() < 0.1:
            study.tell(trial, state=chosen.choice([TrialState.FAIL, TrialState.PRUNED]))
        else:
            trial.set_constraint("c", values[0] - 8)
            study.tell(trial, values)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def stock(sampler: BaseSampler) -> optuna.Study:
    return optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_same_points_as_optunas_own(
    theirs: type[BaseSampler], ours: type[BaseSampler], seed: int
) -> None:
    one = stock(theirs(population_size=POPULATION, seed=seed))  # type: ignore[call-arg]
    storage = OwnedStorage(InMemoryStorage())
    storage.create_new_study([StudyDirection.MINIMIZE] * 2, "s")
    two = OwnedStudy("s", storage)
    two.sampler = ours(population_size=POPULATION, seed=seed)  # type: ignore[call-arg]
    for study in (one, two):
        work(study, 90, seed)
    assert [t.params for t in two.trials] == [t.params for t in one.trials]
    assert [t.state for t in two.trials] == [t.state for t in one.trials]
    generations = [t.system_attrs["rfprune:generation"] for t in two.trials]
    assert generations == [t.system_attrs[f"{theirs.__name__}:generation"] for t in one.trials]
    assert max(generations) > 5


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_next_driver_goes_on_in_the_same_generation(
    theirs: type[BaseSampler], ours: type[BaseSampler], tmp_path: Path
) -> None:
    one = stock(theirs(population_size=POPULATION, seed=0))  # type: ignore[call-arg]
    path = str(tmp_path / "study.journal")
    OwnedStorage(JournalStorage(Journal(path))).create_new_study([StudyDirection.MINIMIZE] * 2, "s")
    for part in range(4):
        one.sampler = theirs(population_size=POPULATION, seed=part)  # type: ignore[call-arg]
        two = OwnedStudy("s", OwnedStorage(JournalStorage(Journal(path))))
        two.sampler = ours(population_size=POPULATION, seed=part)  # type: ignore[call-arg]
        for study in (one, two):
            work(study, 17, part)
    assert [t.params for t in two.trials] == [t.params for t in one.trials]
