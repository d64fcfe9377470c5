"""Calls to MLflow that fail, or whose answer is lost: each trial still has one run, and it ends."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from rfprune.results import SweepFolder
from rfprune.study.study import lock
from rfprune.tracking import Projection, Tracker, TrackingConfig, project
from rfprune.tracking import projection as projections


def runs_of(client, config: TrackingConfig) -> list[Any]:
    experiment = client.get_experiment_by_name(config.experiment)
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def check(client, config: TrackingConfig, numbers: list[int], ended: bool = True) -> None:
    """One run per trial below one parent, and nothing that runs for ever."""
    runs = runs_of(client, config)
    kinds = Counter(run.data.tags["kind"] for run in runs)
    assert kinds == {"sweep": 1, "trial": len(numbers)}
    assert sorted(
        int(run.data.tags["trial_number"]) for run in runs if run.data.tags["kind"] == "trial"
    ) == sorted(numbers)
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"} or not ended
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs} - {None}
    assert parents == {run.info.run_id for run in runs if run.data.tags["kind"] == "sweep"}


class Broken:
    """Passes calls on to a client; some fail before or after they are carried out."""

    def __init__(self, client: Any, fails: Any, after: bool) -> None:
        self._client, self._fails, self._after = client, fails, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            failing = self._fails(name)
            if failing and not self._after:
                raise ConnectionError("connection reset")
            found = method(*args, **options)
            if failing:
                raise ConnectionError("the answer was lost")
            return found

        return call


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that breaks the clients which are made from now on."""
    monkeypatch.setattr("rfprune.tracking.tracker._FIRST_RETRY_SECONDS", 0.0)
    connect = projections.connect

    def install(fails: Any, after: bool = False) -> None:
        monkeypatch.setattr(
            projections, "connect", lambda config: Broken(connect(config), fails, after)
        )

    return install


def test_files_that_cannot_be_stored_leave_no_second_run(make, config, client, broken) -> None:
    folder = make.sweep(trials=2)
    left = {"log_artifacts": 3}

    def fails(name: str) -> bool:
        left[name] = left.get(name, 0) - 1
        return left[name] >= 0

    broken(fails)
    tracker = Tracker(folder, config)
    tracker.trial_finished(0)
    report = tracker.close(timeout=60)
    assert (report.missing, report.error, report.closed) == ((), None, True)
    check(client, config, [0, 1])


@pytest.mark.parametrize("after", [False, True])
def test_a_server_that_loses_a_quarter_of_its_calls(make, config, client, broken, after) -> None:
    folder = make.sweep(trials=6)
    turns = itertools.count(1)
    broken(lambda name: next(turns) % 4 == 0, after)
    assert sorted(project(folder, config)) == list(range(6))
    check(client, config, list(range(6)))


def test_runs_that_are_there_twice_are_removed(make, config, client) -> None:
    folder = make.sweep(trials=3)
    ids = project(folder, config)
    run = client.get_run(ids[1])
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    experiment = run.info.experiment_id
    tags = {"sweep_id": run.data.tags["sweep_id"]}
    other = client.create_run(experiment, tags={**tags, "kind": "sweep"})
    child = {**tags, "kind": "trial", "trial_number": "1"}
    client.create_run(experiment, tags={**child, "mlflow.parentRunId": other.info.run_id})
    client.create_run(experiment, tags={**child, "mlflow.parentRunId": parent.info.run_id})
    assert project(folder, config) == ids
    check(client, config, [0, 1, 2])


def test_what_was_cut_off_does_not_run_for_ever(make, config, client) -> None:
    folder: SweepFolder = make.sweep(trials=1)
    make.trial(folder, 1, state="running", steps=2)
    with lock(folder):
        project(folder, config)
    assert sorted(run.info.status for run in runs_of(client, config)) == [
        "FINISHED",
        "RUNNING",
        "RUNNING",
    ]
    project(folder, config)
    runs = runs_of(client, config)
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED", "KILLED"]
    assert all(run.info.end_time for run in runs)
    # The next driver finishes the trial, and its run is that of a finished one.
    make.trial(folder, 1, state="complete", steps=3)
    project(folder, config)
    check(client, config, [0, 1])
    assert {run.info.status for run in runs_of(client, config)} == {"FINISHED"}


def test_a_slow_server_is_waited_for_while_it_writes(make, config, client, monkeypatch) -> None:
    import time

    write = Projection.write_trial

    def slowly(self: Projection, number: int) -> None:
        time.sleep(0.15)
        write(self, number)

    monkeypatch.setattr(Projection, "write_trial", slowly)
    folder = make.sweep(trials=5)
    tracker = Tracker(folder, config)
    tracker.trial_finished(0)
    report = tracker.close(timeout=5)
    assert (report.missing, report.closed) == ((), True)
    check(client, config, list(range(5)))
