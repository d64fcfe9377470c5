"""Following a sweep by its folder: the events of another driver, and the end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from rfprune.errors import RunsError
from rfprune.results import SweepFolder
from rfprune.study.attach import attach
from rfprune.study.events import SweepEvent
from rfprune.study.record import Ended
from rfprune.study.study import is_driven, lock

from .conftest import Inline, SpecMaker

HERE = Path(__file__).parent


def _content(folder: SweepFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def _follow(one: Inline, work: Callable[[], None]) -> list[SweepEvent]:
    """Return what an attached shell sees while `work` runs under the lock."""
    heard: list[SweepEvent] = []
    watcher = Thread(target=lambda: attach(one.folder, heard.append, poll_seconds=0.02))
    with lock(one.folder):
        watcher.start()
        work()
    watcher.join(30)
    assert not watcher.is_alive()
    return heard


def test_the_ends_of_trials_are_told(inline: Callable[..., Inline], make_spec: SpecMaker) -> None:
    one = inline(make_spec(trials=3))
    one.work(one.ask())

    def work() -> None:
        one.work(one.ask())
        one.record.finish(one.ask().number, Ended("error", "too flat"))

    heard = [event for event in _follow(one, work) if event.kind not in ("started", "step")]
    assert [event.kind for event in heard] == ["complete", "failed"]
    assert heard[0].metrics["step"] == one.study.trials[1].user_attrs["step"]
    assert heard[0].metrics["dsp"] is not None
    assert heard[1].reason == "error: too flat"


def test_a_running_trial_is_shown_step_by_step(
    inline: Callable[..., Inline], make_spec: SpecMaker
) -> None:
    one = inline(make_spec(seconds=0.2, trials=1))
    heard = _follow(one, lambda: one.work(one.ask()))
    kinds = [event.kind for event in heard]
    assert kinds[-1] == "complete"
    assert "step" in kinds
    steps = [event.metrics["step"] for event in heard if event.kind == "step"]
    assert steps == sorted(steps)


def test_a_retry_is_told_as_one(inline: Callable[..., Inline], make_spec: SpecMaker) -> None:
    one = inline(make_spec(retries=1))
    heard = _follow(one, lambda: one.record.died(one.ask().number, "gone"))
    assert [(event.kind, event.reason) for event in heard if event.kind != "started"] == [
        ("retried", "died: gone")
    ]


def test_attaching_changes_nothing_and_ends_without_a_driver(
    inline: Callable[..., Inline], make_spec: SpecMaker
) -> None:
    one = inline(make_spec(trials=2)).run()
    before = _content(one.folder)
    counts = attach(one.folder, lambda event: pytest.fail(f"{event} ended before"))
    assert counts.complete == 2
    assert _content(one.folder) == before


def test_who_looks_keeps_no_driver_out(inline: Callable[..., Inline], make_spec: SpecMaker) -> None:
    one = inline(make_spec())
    assert not is_driven(one.folder)
    with lock(one.folder):
        assert is_driven(one.folder)
        with pytest.raises(RunsError, match="in use by process"), lock(one.folder):
            pass
    assert not is_driven(one.folder)
    assert not is_driven(SweepFolder(one.folder.path / "absent"))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
def test_another_shell_follows_a_real_sweep(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(HERE / "drive_demo.py"), str(tmp_path), "4", "0.5"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as driver:
        while not is_driven(SweepFolder(tmp_path / "demo")) and driver.poll() is None:
            time.sleep(0.1)
        while not (tmp_path / "demo" / "sweep.json").exists() and driver.poll() is None:
            time.sleep(0.1)
        attached = subprocess.run(
            [sys.executable, "-m", "rfprune", "sweep", "demo", "--runs", str(tmp_path), "--attach"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert driver.returncode == 0
    assert attached.returncode == 0, attached.stderr
    assert "[4/4] trial " in attached.stderr
    assert "4 of 4 trials complete, 0 failed." in attached.stdout
