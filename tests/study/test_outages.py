"""Storages that do not answer for a while: waited for, told once, written once."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, OperationalError

from rfprune.errors import WorkError
from rfprune.study import outages
from rfprune.study.optuna_private import OwnedStudy
from rfprune.study.outages import Patience, is_outage
from rfprune.study.storage import OwnedStorage


def _away() -> OperationalError:
    return OperationalError("SELECT 1", {}, sqlite3.OperationalError("connection refused"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_FIRST_PAUSE_SECONDS", 0.001)


def test_what_an_outage_is() -> None:
    wrapped = StorageInternalError("commit")
    wrapped.__cause__ = _away()
    assert is_outage(_away())
    assert is_outage(wrapped)
    assert is_outage(OSError(28, "No space left on device"))
    assert not is_outage(IntegrityError("INSERT", {}, sqlite3.IntegrityError("unique")))
    assert not is_outage(KeyError("x"))


def test_a_storage_is_waited_for_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    left = [_away(), _away(), _away()]

    def work() -> int:
        if left:
            raise left.pop()
        return 3

    with caplog.at_level(logging.WARNING):
        assert Patience("the study").call(work) == 3
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "the study cannot be reached or written",
        "the study answers again; the sweep continues.",
    ]


def test_a_storage_that_stays_away_is_one_sentence() -> None:
    def work() -> None:
        raise _away()

    patience = Patience("postgresql://me@h/db", seconds=0.01)
    with pytest.raises(WorkError, match=r"me@h/db: .* for 0 s \(connection refused\)\. Finished"):
        patience.call(work)
    hurried = Patience("x")
    hurried.hurry()
    with pytest.raises(WorkError):
        hurried.call(work)


class LosesAnswers:
    """Carries every other write out and then loses its answer."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._n = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._backend, name)
        if not name.startswith(("set_", "create_new_trial")):
            return method

        def call(*args: Any) -> Any:
            found = method(*args)
            self._n += 1
            if self._n % 2:
                raise _away()
            return found

        return call


def test_a_lost_answer_doubles_nothing(tmp_path: Path) -> None:
    backend = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    backend.create_new_study([StudyDirection.MINIMIZE], "s")
    study = OwnedStudy("s", OwnedStorage(LosesAnswers(backend)))  # type: ignore[arg-type]
    for number in range(4):
        study.enqueue_trial({"x": number / 4})
    for _ in range(6):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("key", x)
        study.tell(trial, x)
    found = backend.get_all_trials(0 if backend.get_n_trials(1) == 0 else 1)
    assert [trial.number for trial in found] == list(range(6))
    assert all(trial.state == TrialState.COMPLETE for trial in found)
    assert all(trial.values == [trial.user_attrs["key"]] for trial in found)
