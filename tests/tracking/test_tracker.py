"""Tracking in the background: complete when MLflow works, harmless when it does not."""

from __future__ import annotations

import logging
import socket
import time

import pytest

from benchmarks.ports import free_port
from rfprune.tracking import Tracker, TrackingConfig, project


@pytest.fixture
def dead_server(monkeypatch: pytest.MonkeyPatch) -> TrackingConfig:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    port = free_port()
    return TrackingConfig(tracking_uri=f"http://127.0.0.1:{port}")


def test_every_finished_trial_gets_written(make, config) -> None:
    folder = make.sweep()
    tracker = Tracker(folder, config)
    for number in range(4):
        make.trial(folder, number)
        tracker.trial_finished(number)
    report = tracker.close(timeout=60)
    assert report.missing == ()
    assert report.error is None
    assert set(report.run_ids) == {0, 1, 2, 3}
    assert project(folder, config) == report.run_ids


def test_trials_of_an_earlier_driver_are_written_too(make, config) -> None:
    folder = make.sweep(trials=3)
    make.trial(folder, 3, state="running", steps=2)
    assert set(Tracker(folder, config).close(timeout=60).run_ids) == {0, 1, 2}


def test_a_dead_server_costs_nothing_and_is_told_once(make, dead_server, config, caplog) -> None:
    folder = make.sweep()
    tracker = Tracker(folder, dead_server)
    with caplog.at_level(logging.WARNING, logger="rfprune.tracking"):
        for number in range(3):
            make.trial(folder, number)
            tracker.trial_finished(number)
        report = tracker.close(timeout=60)
    assert report.missing == (0, 1, 2)
    assert report.run_ids == {}
    assert report.error.startswith(f"MLflow at {dead_server.tracking_uri}:")
    told = [record for record in caplog.records if record.name == "rfprune.tracking"]
    assert len(told) == 1
    assert "The sweep continues" in told[0].getMessage()
    # What is missing gets written by the next projection.
    assert set(project(folder, config)) == {0, 1, 2}


def test_a_server_that_never_answers_does_not_hold_the_driver(make, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        folder = make.sweep(trials=1)
        tracker = Tracker(folder, TrackingConfig(tracking_uri=uri))
        tracker.trial_finished(0)
        report = tracker.close(timeout=0.2)
        assert report.missing == (0,)
        assert report.error == "MLflow did not answer within 0.2 s"
        tracker.close(timeout=60)


def test_it_comes_back_when_the_server_does(make, config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("rfprune.tracking.tracker._FIRST_RETRY_SECONDS", 0.05)
    database = tmp_path / "mlflow.db"
    tables = database.read_bytes()
    database.write_bytes(b"not a database, but a text that is long enough to be read as one" * 100)
    folder = make.sweep(trials=2)
    tracker = Tracker(folder, config)
    tracker.trial_finished(0)
    deadline = time.monotonic() + 30
    while tracker.error is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "MLflow at sqlite" in tracker.error
    database.write_bytes(tables)
    report = tracker.close(timeout=60)
    assert report.error is None
    assert set(report.run_ids) == {0, 1}


def test_switched_off_it_does_nothing(make, config) -> None:
    folder = make.sweep(trials=1)
    tracker = Tracker(folder, config.model_copy(update={"enabled": False}))
    tracker.trial_finished(0)
    report = tracker.close()
    assert (report.run_ids, report.missing, report.error) == ({}, (), None)
