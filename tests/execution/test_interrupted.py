"""Drivers that are killed or interrupted: the same command goes on, nothing is lost or repeated."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from rfprune.results import SweepFolder
from rfprune.study import count_trials, read_study

HERE = Path(__file__).parents[1] / "study"
ROOT = HERE.parents[1]


def start(runs: Path, trials: int, seconds: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, str(HERE / "drive_demo.py"), str(runs), str(trials), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=runs,
        start_new_session=True,
    )


def read_until(driver: subprocess.Popen[str], kind: str, times: int) -> None:
    """Read the driver's events until `kind` has come so many times."""
    assert driver.stdout is not None
    seen: list[str] = []
    for line in driver.stdout:
        seen.append(line)
        times -= line.startswith(kind)
        if times == 0:
            return
    assert driver.stderr is not None
    pytest.fail(f"the driver ended before: {seen} {driver.stderr.read()}")


def end(driver: subprocess.Popen[str]) -> int:
    driver.communicate(timeout=120)
    return driver.returncode


def check_consistent(runs: Path, wanted: int) -> None:
    """Exactly the wanted trials are complete, each point once, each step once, none running."""
    folder = SweepFolder(runs / "demo")
    study = read_study(folder)
    counts = count_trials(study)
    assert (counts.complete, counts.failed) == (wanted, 0)
    assert (counts.running, counts.waiting) == (0, 0)
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    keys = [trial.user_attrs["key"] for trial in complete]
    assert len(set(keys)) == wanted
    folders = {trial.user_attrs["folder"] for trial in complete}
    assert len(folders) == wanted
    for number in folders:
        trial = folder.trial(number)
        assert [record.step for record in trial.steps()] == [0, 1, 2, 3]
        result = trial.result()
        assert result is not None
        assert result.state == "complete"


def test_a_killed_driver_is_continued_and_a_second_one_refused(tmp_path: Path) -> None:
    first = start(tmp_path, 8, 0.25)
    read_until(first, "complete", 1)
    # On a slow machine its last trial would end before the second driver has started.
    first.send_signal(signal.SIGSTOP)
    second = start(tmp_path, 8, 0.25)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"in use by process {first.pid}" in err
    assert out == ""
    first.kill()
    end(first)
    assert count_trials(read_study(SweepFolder(tmp_path / "demo"))).running > 0
    third = start(tmp_path, 8, 0.25)
    assert end(third) == 0
    check_consistent(tmp_path, 8)


@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
def test_signals_end_the_driver_in_good_order(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        driver = start(tmp_path, 16, 0.3)
        read_until(driver, "complete", 1)
        # To the whole process group, as a closed terminal, systemd and `timeout` send it.
        os.killpg(driver.pid, number)
        began = time.monotonic()
        assert end(driver) == 130
        # Ray's own processes, had they gone with the group, would be waited for, for a minute.
        assert time.monotonic() - began < 40
        counts = count_trials(read_study(SweepFolder(tmp_path / "demo")))
        assert counts.running == 0
        assert counts.complete < 16
    # Another duration of a step is another sweep file.
    assert end(start(tmp_path, 16, 0.0)) == 2
    assert end(start(tmp_path, 16, 0.3)) == 0
    check_consistent(tmp_path, 16)


def test_a_signal_while_ray_starts(tmp_path: Path) -> None:
    driver = start(tmp_path, 4, 0.3)
    journal = tmp_path / "demo" / "sweep.json"
    while not journal.exists():
        assert driver.poll() is None
        time.sleep(0.02)
    time.sleep(3.5)
    os.killpg(driver.pid, signal.SIGTERM)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    # Ray's core says "*** SIGTERM received" where it meets the signal first.
    assert "Traceback" not in err
    assert "complete" not in out
    assert count_trials(read_study(SweepFolder(tmp_path / "demo"))).running == 0


@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
def test_an_interrupted_long_trial_does_not_hold_the_driver_up(tmp_path: Path) -> None:
    first = start(tmp_path, 4, 30.0)
    read_until(first, "started", 2)
    first.send_signal(signal.SIGINT)
    assert end(first) == 130
    assert count_trials(read_study(SweepFolder(tmp_path / "demo"))).waiting == 0


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
def test_drivers_killed_at_random_moments(tmp_path: Path) -> None:
    moments = random.Random(0)
    for _ in range(4):
        driver = start(tmp_path, 20, 0.1)
        try:
            driver.wait(timeout=moments.uniform(3, 9))
        except subprocess.TimeoutExpired:
            driver.kill()
        end(driver)
    assert end(start(tmp_path, 20, 0.1)) == 0
    check_consistent(tmp_path, 20)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
def test_killed_workers_are_replaced(tmp_path: Path) -> None:
    moments = random.Random(3)
    driver = start(tmp_path, 16, 0.1)
    read_until(driver, "complete", 1)
    folder = SweepFolder(tmp_path / "demo")
    for _ in range(4):
        time.sleep(moments.uniform(0.2, 1.0))
        pids = {line.split()[0] for line in _runs(folder)}
        alive = [int(pid) for pid in pids if Path(f"/proc/{pid}").exists()]
        if alive:
            os.kill(moments.choice(alive), signal.SIGKILL)
    assert end(driver) == 0
    study = read_study(folder)
    assert any(t.user_attrs.get("reason") == "died" for t in study.trials)
    counts = count_trials(study)
    assert counts.complete == 16
    assert counts.running == 0


def _runs(folder: SweepFolder) -> list[str]:
    return [
        line
        for trial in folder.trials()
        if (trial.path / "runs.txt").exists()
        for line in (trial.path / "runs.txt").read_text().splitlines()
    ]
