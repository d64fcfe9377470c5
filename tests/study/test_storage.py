"""The driver's view of its storage says at every moment what the storage itself says."""

from __future__ import annotations

import errno
import json
import os
import random
import threading
from collections.abc import Callable
from contextlib import nullcontext
from itertools import combinations
from pathlib import Path
from typing import IO

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from rfprune.study import journal
from rfprune.study.journal import Journal, StudyJournal
from rfprune.study.optuna_private import OwnedStudy, journal_lock
from rfprune.study.storage import OwnedStorage

SPACE = FloatDistribution(0.0, 1.0)
STATES = [None, *(pair for n in (1, 2) for pair in combinations(TrialState, n))]
ENDS = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]


def same(view: BaseStorage, backend: BaseStorage, study_id: int) -> None:
    for states in STATES:
        seen = view.get_all_trials(study_id, deepcopy=False, states=states)
        assert seen == backend.get_all_trials(study_id, deepcopy=False, states=states)
    for number, trial in enumerate(backend.get_all_trials(study_id, deepcopy=False)):
        trial_id = backend.get_trial_id_from_study_id_trial_number(study_id, number)
        assert view.get_trial_id_from_study_id_trial_number(study_id, number) == trial_id
        assert view.get_trial(trial_id) == trial


def act(study: optuna.Study, chosen: random.Random, live: list[optuna.Trial]) -> None:
    """Do one of the things that a driver does."""
    kind = chosen.choice(["ask", "ask", "enqueue", "note", "report", "tell"])
    if kind == "ask" or (kind in ("note", "report", "tell") and not live):
        live.append(study.ask({"x": SPACE}))
    elif kind == "enqueue":
        study.enqueue_trial({"x": chosen.random()}, user_attrs={"retry_of": 0})
    elif kind == "note":
        chosen.choice(live).set_user_attr("key", chosen.random())
    elif kind == "report":
        study._storage.set_trial_intermediate_value(live[0]._trial_id, 1, chosen.random())
    else:
        trial = live.pop(chosen.randrange(len(live)))
        state = chosen.choice(ENDS)
        study.tell(trial, chosen.random() if state == TrialState.COMPLETE else None, state=state)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_view_and_storage_agree_after_every_act(seed: int, n_acts: int) -> None:
    backend = InMemoryStorage()
    chosen = random.Random(seed)
    study_id = backend.create_new_study([StudyDirection.MINIMIZE], "s")
    other = backend.create_new_study([StudyDirection.MINIMIZE], "other")
    backend.create_new_trial(other)
    live = [optuna.load_study(study_name="s", storage=backend).ask({"x": SPACE})]
    study = OwnedStudy("s", OwnedStorage(backend))
    live = [optuna.Trial(study, live[0]._trial_id)]
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    for _ in range(n_acts):
        act(study, chosen, live)
        same(study._storage, backend, study_id)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_what_is_written_is_there_for_the_next_reader(kind: str, tmp_path: Path) -> None:
    def backend() -> BaseStorage:
        if kind == "journal":
            return JournalStorage(Journal(str(tmp_path / "study.journal")))
        return optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")

    storage = OwnedStorage(backend())
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "s")
    study = OwnedStudy("s", storage)
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    chosen, live = random.Random(1), [study.ask({"x": SPACE})]
    for _ in range(40):
        act(study, chosen, live)
    study.write_trial_attr(live[-1].number, "reason", "orphan")
    same(storage, backend(), study_id)
    trial = backend().get_all_trials(study_id)[live[-1].number]
    assert trial.user_attrs["reason"] == "orphan"


def test_what_is_written_together_reads_at_once_and_lies_there_as_if_written_singly(
    tmp_path: Path,
) -> None:
    files = [tmp_path / "single.journal", tmp_path / "together.journal"]
    for path in files:
        backend = StudyJournal(str(path))
        study_id = backend.create_new_study([StudyDirection.MINIMIZE], "s")
        study = OwnedStudy("s", OwnedStorage(backend))
        study.sampler = optuna.samplers.RandomSampler(seed=0)
        # Another process writes between two steps, and its lines shift the numbers of all later.
        other = StudyJournal(str(path))
        chosen, live = random.Random(1), [study.ask({"x": SPACE})]
        for step in range(30):
            with study.together() if path is files[1] else nullcontext():
                for _ in range(chosen.randrange(4)):
                    act(study, chosen, live)
                    # A look from inside sees what is not in the file yet.
                    same(study._storage, backend, study_id)
            if step % 3 == 0:
                other.set_study_user_attr(study_id, f"note{step}", step)
        same(study._storage, StudyJournal(str(path)), study_id)
    lines = [[json.loads(line) for line in path.read_text().splitlines()] for path in files]
    for line in (*lines[0], *lines[1]):
        for key in ("worker_id", "datetime_start", "datetime_complete"):
            line.pop(key, None)
    assert lines[0] == lines[1]


def owned(path: Path) -> OwnedStudy:
    """Return a new study in a journal."""
    backend = StudyJournal(str(path))
    backend.create_new_study([StudyDirection.MINIMIZE], "s")
    return OwnedStudy("s", OwnedStorage(backend))


def test_what_was_written_before_an_error_is_kept_and_the_file_is_free(tmp_path: Path) -> None:
    study = owned(tmp_path / "study.journal")
    trial = study.ask()

    def write() -> None:
        with study.together():
            trial.set_user_attr("folder", 7)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    found = StudyJournal(str(tmp_path / "study.journal")).get_all_trials(0)
    assert [trial.user_attrs for trial in found] == [{"folder": 7}]
    assert not journal_lock(tmp_path / "study.journal").is_symlink()


def test_what_ends_a_step_is_on_the_disk_when_it_has_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    goes_on = threading.Event()
    goes_on.set()

    def slow(file: IO[bytes]) -> None:
        assert goes_on.wait(60)
        synced.append(os.fstat(file.fileno()).st_size)

    monkeypatch.setattr(journal, "sync", slow)
    path = tmp_path / "study.journal"
    study = owned(path)
    trial = study.ask()
    study.settle()
    begun = len(synced)
    goes_on.clear()
    trial.set_user_attr("folder", 0)
    assert len(synced) == begun  # beside
    goes_on.set()
    study.settle()
    assert synced[begun:] == [path.stat().st_size]
    study.tell(trial, 0.5)
    # The next write waits for it.
    study.ask()
    assert len(synced) == begun + 2
    study.settle()
    assert len(synced) == begun + 2  # nothing is due


def test_a_sync_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.journal"
    study = owned(path)
    trial = study.ask()
    study.settle()

    def full(file: IO[bytes]) -> None:
        # As a disk may: some of it is there.
        os.truncate(path, path.stat().st_size - 5)
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal, "sync", full)
    trial.set_user_attr("folder", 7)
    study.tell(trial, 0.25)
    study.close()
    (found,) = StudyJournal(str(path)).get_all_trials(0)
    assert (found.user_attrs, found.values) == ({"folder": 7}, [0.25])


def test_a_number_that_is_not_there_is_a_key_error() -> None:
    storage = OwnedStorage(InMemoryStorage())
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "s")
    for number in (-1, 0):
        with pytest.raises(KeyError):
            storage.get_trial_id_from_study_id_trial_number(study_id, number)


def test_no_look_at_the_backend_for_what_did_not_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = InMemoryStorage()
    study = OwnedStudy("s", OwnedStorage(backend)) if _made(backend) else None
    assert study is not None
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    reads: list[int] = []
    original: Callable[[int], optuna.trial.FrozenTrial] = backend.get_trial

    def counted(trial_id: int) -> optuna.trial.FrozenTrial:
        reads.append(trial_id)
        return original(trial_id)

    monkeypatch.setattr(backend, "get_trial", counted)
    per_trial = []
    for _ in range(50):
        before = len(reads)
        study.tell(study.ask({"x": SPACE}), 0.0)
        study.get_trials(deepcopy=False)
        per_trial.append(len(reads) - before)
    assert len(set(per_trial)) == 1


def _made(backend: BaseStorage) -> bool:
    return backend.create_new_study([StudyDirection.MINIMIZE], "s") == 0
