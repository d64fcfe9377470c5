"""What `rfprune.study.optuna_private` expects, checked on the Optuna that is installed."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection
from optuna.trial import TrialState

from rfprune.study.journal import Journal
from rfprune.study.optuna_private import OwnedStudy, ends_a_step, journal_lines, journal_lock
from rfprune.study.storage import OwnedStorage


def expect(holds: bool, expectation: str, needed_for: str) -> None:
    """Fail with a sentence that names the version, what it broke, and what rests on that."""
    if not holds:
        pytest.fail(
            f"Optuna {optuna.__version__} does not do what rfprune expects: {expectation}. "
            f"Needed for: {needed_for}."
        )


def fresh() -> tuple[OwnedStudy, OwnedStorage]:
    storage = OwnedStorage(InMemoryStorage())
    storage.create_new_study([StudyDirection.MINIMIZE], "s")
    return OwnedStudy("s", storage), storage


def test_a_study_is_made_from_a_name_and_a_storage() -> None:
    names = list(inspect.signature(optuna.Study.__init__).parameters)[1:3]
    expect(
        names == ["study_name", "storage"],
        "Study(study_name, storage) opens a study that exists",
        "OwnedStudy, by which a driver ends the trials that a dead driver left running",
    )
    study, storage = fresh()
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    study.tell(study.ask(), 1.0)
    expect(
        storage.get_all_trials(0)[0].values == [1.0],
        "a Study writes to the very storage that it is given",
        "OwnedStorage, without which each draw reads all trials four times",
    )


def test_attributes_of_a_running_trial_can_be_written_by_number() -> None:
    study, _ = fresh()
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    number = study.ask().number
    study.write_trial_attr(number, "reason", "orphan")
    study.write_trial_system_attr(number, "rfprune:generation", 3)
    study.tell(number, state=TrialState.FAIL)
    trial = study.trials[number]
    expect(
        trial.user_attrs["reason"] == "orphan",
        "a storage takes user attributes of a trial that another process has begun",
        "the reason of a failure, from which retries and counts are derived",
    )
    expect(
        trial.system_attrs["rfprune:generation"] == 3,
        "FrozenTrial.system_attrs shows what set_trial_system_attr has written",
        "NSGA-II and NSGA-III, which go on in the generation of the last driver",
    )


def test_the_driver_s_storage_has_every_method_of_a_storage() -> None:
    missing = set(BaseStorage.__abstractmethods__) - set(vars(OwnedStorage))
    expect(
        not missing,
        f"BaseStorage has no abstract method that is new here ({', '.join(sorted(missing))})",
        "OwnedStorage, the driver's view of the study",
    )


def journal_of_a_trial(path: Path) -> list[dict[str, Any]]:
    """Return the lines that Optuna's own backend writes for a study with one trial."""
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path))), study_name="s"
    )
    study.set_user_attr("rfprune", {"format": 2})
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("values", {"x": 1})
    trial.set_user_attr("folder", 0)
    study.tell(trial, 0.5)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_lines_of_a_journal_say_what_ends_a_step(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    logs = journal_of_a_trial(path)
    expect(
        journal_lines(path.read_bytes()) == path.read_bytes(),
        "a journal begins with the key op_code",
        "mending a journal whose lines were torn or merged, and leaving other files alone",
    )
    synced = [log for log in logs if ends_a_step(log, frozenset({"folder"}))]
    kinds = [next(k for k in ("directions", "state", "user_attr") if k in log) for log in synced]
    expect(
        kinds == ["directions", "user_attr", "user_attr", "state"],
        "the lines of a journal name directions, state, user_attr and trial_id",
        "syncing the journal before a worker begins and after a trial ends, and only then",
    )
    expect(
        list(synced[2]["user_attr"]) == ["folder"],
        "one line holds one user attribute",
        "syncing the journal before a worker begins",
    )


def test_optuna_reads_what_the_driver_s_journal_writes(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study = optuna.create_study(storage=JournalStorage(Journal(str(path))), study_name="s")
    study.tell(study.ask(), 0.25)
    backend = JournalStorage(JournalFileBackend(str(path)))
    read = optuna.load_study(study_name="s", storage=backend)
    expect(
        [trial.values for trial in read.trials] == [[0.25]],
        "JournalFileBackend reads one JSON object per line, written by append_logs",
        "the study's journal, which is not synced at every line",
    )


def test_the_link_that_locks_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    found = journal_lock(path).is_symlink()
    lock.release()
    expect(
        found,
        "JournalFileSymlinkLock links to FILE.lock",
        "starting at once after a driver was killed while it wrote, instead of after 30 s",
    )


def test_infeasible_trials_are_ranked_by_the_sum_of_what_they_exceed() -> None:
    from optuna.samplers._tpe.sampler import _get_infeasible_trial_score

    study, _ = fresh()
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    trial = study.ask()
    for name, excess in {"a": 2.0, "b": -5.0, "c": 0.5}.items():
        trial.set_constraint(name, excess)
    study.tell(trial, 1.0)
    expect(
        _get_infeasible_trial_score(study.trials[0]) == 2.5,
        "TPE ranks infeasible trials by the sum of their positive constraints",
        "the choice of the step that stands for a trial without a feasible one",
    )
