"""Trials where the driver's folder is not there: files go and come, and nothing stays behind.

A transport whose token is not the one in the folder works on a copy, as on another node.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from rfprune.errors import ClusterError
from rfprune.execution.transport import Transport, transport
from rfprune.execution.worker import StoppedError, WorkerContext
from rfprune.results import StepRecord, SweepFolder
from rfprune.study.events import SweepEvent
from rfprune.study.record import Ended

from .conftest import FUNCTION, HERE, SpecMaker

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow, pytest.mark.flaky(reruns=1)]


@pytest.fixture
def context(tmp_path: Path, make_spec: SpecMaker) -> WorkerContext:
    folder = SweepFolder(tmp_path / "demo")
    folder.write_spec(make_spec(), {})
    return WorkerContext(folder.path, HERE, FUNCTION)


@pytest.fixture
def near(context: WorkerContext) -> Iterator[Transport]:
    with transport(context, given_cluster=True) as opened:
        yield opened


@pytest.fixture
def far(near: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Transport:
    """A transport on a node of its own disk, on which user modules lie as a job brings them."""
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    monkeypatch.syspath_prepend(str(HERE))
    return dataclasses.replace(near, token="elsewhere")


def _write_spec(context: WorkerContext, make_spec: SpecMaker, number: int = 0, **keys: Any) -> None:
    from rfprune.spec import TrialSpec

    values = make_spec(**keys).canonical()
    own = {key: value for key, value in values.items() if key in TrialSpec.model_fields}
    spec = TrialSpec.model_validate(own)
    SweepFolder(context.sweep).trial(number).write_spec(spec)


def _copies(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "disk").rglob("trials/*"))


def test_every_step_is_on_the_driver_before_it_counts(
    far: Transport, context: WorkerContext, make_spec: SpecMaker, tmp_path: Path
) -> None:
    _write_spec(context, make_spec)
    trial = SweepFolder(context.sweep).trial(0)
    seen: list[list[int]] = []

    def on_step(record: StepRecord) -> None:
        seen.append([step.step for step in trial.steps()])
        assert trial.result() is None

    ended = far.execute(0, 0, on_step)
    assert ended.reason == "", ended
    assert seen == [[0], [0, 1], [0, 1, 2]]
    result = trial.result()
    assert result is not None
    assert result.state == "complete"
    assert not (trial.path / ".worker.lock").exists()
    assert _copies(tmp_path) == []


def test_a_trial_goes_on_elsewhere(
    far: Transport, context: WorkerContext, make_spec: SpecMaker
) -> None:
    _write_spec(context, make_spec)
    trial = SweepFolder(context.sweep).trial(0)

    def cut(record: StepRecord) -> None:
        if record.step == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        far.execute(0, 0, cut)
    assert [step.step for step in trial.steps()] == [0, 1]
    steps: list[int] = []
    far.execute(0, 1, lambda record: steps.append(record.step))
    assert steps == [2]
    assert [step.step for step in trial.steps()] == [0, 1, 2]


def test_a_worker_that_was_given_up_changes_nothing(
    far: Transport, context: WorkerContext, make_spec: SpecMaker
) -> None:
    _write_spec(context, make_spec)
    ray.get(far.remote_files.claim.remote(0, 1, "another"))
    with pytest.raises(StoppedError):
        far.execute(0, 0, lambda record: None)
    assert not (SweepFolder(context.sweep).trial(0).path / "steps.jsonl").exists()


def test_a_lost_remote_files_is_a_death_of_the_worker_not_of_the_trial(
    far: Transport, context: WorkerContext, make_spec: SpecMaker
) -> None:
    _write_spec(context, make_spec)
    ray.kill(far.remote_files)
    ended = far.execute(0, 0, lambda record: None)
    assert ended.reason == "died"
    assert "the driver's node does not answer" in ended.error


def test_faults_name_the_node(far: Transport, context: WorkerContext, make_spec: SpecMaker) -> None:
    _write_spec(context, make_spec, fault="raise")
    ended = far.execute(0, 0, lambda record: None)
    assert ended.reason == "error"
    assert ended.error.startswith("on node ")
    assert "too flat" in ended.error
    log = SweepFolder(context.sweep).trial(0).path / "log.txt"
    assert "ValueError" in log.read_text()


def test_another_version_and_absent_data_are_said(
    far: Transport, context: WorkerContext, make_spec: SpecMaker
) -> None:
    _write_spec(context, make_spec)
    older = dataclasses.replace(far, version="0.0.1")
    assert "0.0.1 on the driver: install the same" in older.execute(0, 0, _ignore).error
    _write_spec(context, make_spec, number=1, data={"file": "/absent/rows.npz"})
    assert "'/absent/rows.npz' is not on this node" in far.execute(1, 0, _ignore).error


def _ignore(record: StepRecord) -> None:
    """Take no note."""


def test_named_files_and_large_ones_come_along(
    near: Transport, context: WorkerContext, tmp_path: Path
) -> None:
    from rfprune.execution.transport import unpack

    beside = dataclasses.replace(context, base_dir=tmp_path / "base", sweep=tmp_path / "other")
    beside.base_dir.mkdir()
    beside.sweep.mkdir()
    content = bytes(range(256)) * 100_000
    (beside.base_dir / "rows.npz").write_bytes(content)
    with transport(beside, given_cluster=True) as opened:
        files = ray.get(opened.remote_files.supply.remote("rows.npz"))
        assert len(files["rows.npz"]) == 4
        unpack(files, tmp_path / "there")
    assert (tmp_path / "there" / "rows.npz").read_bytes() == content


def test_who_waits_goes_on_when_the_leader_ends(near: Transport) -> None:
    assert ray.get(near.remote_files.lead.remote("key", 1))
    waiting = near.remote_files.lead.remote("key", 2)
    assert ray.wait([waiting], timeout=0.2)[0] == []
    heard: list[SweepEvent] = []
    near.listener(heard.append)(SweepEvent("failed", 1))
    assert ray.get(waiting, timeout=30)
    assert [event.trial for event in heard] == [1]


def test_the_shared_folder_is_recognised(
    near: Transport, context: WorkerContext, make_spec: SpecMaker, tmp_path: Path
) -> None:
    _write_spec(context, make_spec)
    ended, again = near.execute(0, 0, _ignore), near.execute(0, 0, _ignore)
    assert ended == Ended(
        metrics=again.metrics,
        stopped="quick",
        seconds=pytest.approx(0, abs=60),
        steps=again.steps,
    )
    assert (SweepFolder(context.sweep).trial(0).path / ".worker.lock").exists()
    assert ray.get(near.remote_files.nodes.remote()) == []


def test_a_folder_that_ray_does_not_see_is_said(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rfprune.execution.transport.write_atomic", lambda path, text: None)
    with pytest.raises(ClusterError, match="do not see this folder"), transport(context, True):
        pass


def test_nothing_is_started_on_this_machine_alone(context: WorkerContext) -> None:
    with transport(context, given_cluster=False) as opened:
        assert opened == Transport(context)
    assert not (context.sweep / ".transport").exists()
