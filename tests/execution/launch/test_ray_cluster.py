"""A sweep sent to a real Ray head by its Jobs API, followed, and cancelled."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rfprune.errors import ClusterError, UnknownNameError
from rfprune.execution.launch import find_job
from rfprune.results import SweepFolder

from .conftest import Head
from .users import ROOT, User

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=1)]


@pytest.fixture
def user(ray_head: Head, tmp_path: Path) -> User:
    profile = (
        f"kind: ray\naddress: {ray_head.address}\n"
        'environment: {GREETING: "it\'s $(touch hit)", RFPRUNE_TRACKING: 1}\n'
    )
    return User(tmp_path, profile, {"RAY_AUTH_TOKEN_PATH": str(ray_head.token_file)})


def test_sweep_runs_on_the_cluster_and_can_be_followed(user: User) -> None:
    job = user.submit("--trials", "2")
    log = user.run("logs", job, "--follow")
    assert log.returncode == 0, log.stderr
    assert "2 of 2 trials complete" in log.stdout, log.stdout
    state = json.loads(user.run("status", job, "--json").stdout)
    assert state["state"] == "succeeded", state
    trials = list(SweepFolder(user.runs / "digits").trials())
    results = [trial.result() for trial in trials]
    assert [result is not None and result.state for result in results] == ["complete"] * 2
    assert (user.runs / "mlflow.db").exists(), log.stdout
    assert not list(user.folder.rglob("hit"))


@pytest.mark.long
def test_cancelled_sweep_goes_on_when_it_is_submitted_again(user: User) -> None:
    job = user.submit("--trials", "200")
    deadline = time.monotonic() + 120
    while not list((user.runs / "digits").glob("trials/*/result.json")):
        assert time.monotonic() < deadline, user.run("logs", job).stdout
        time.sleep(0.5)
    done = user.run("cancel", job)
    assert done.returncode == 0, done.stderr
    assert json.loads(user.run("status", job, "--json").stdout)["state"] == "cancelled"
    finished = {t.number for t in SweepFolder(user.runs / "digits").trials() if t.result()}
    again = user.submit("--trials", str(len(finished) + 1))
    log = user.run("logs", again, "--follow")
    assert f"{len(finished) + 1} of {len(finished) + 1} trials complete" in log.stdout, log.stdout


def test_failed_sweep_says_why(user: User) -> None:
    job = user.submit("--trials", "1", "--set", "data.name=null", "--set", "data.file=absent.npz")
    user.run("logs", job, "--follow")
    state = json.loads(user.run("status", job, "--json").stdout)
    assert state["state"] == "failed"
    assert "absent.npz" in state["message"]


def test_driver_without_the_token_is_told_what_to_do(user: User, ray_head: Head) -> None:
    user.environment["RAY_AUTH_TOKEN_PATH"] = str(user.folder / "other")
    (user.folder / "other").write_text("0" * 64)
    sweep = str(ROOT / "sweeps" / "digits.yml")
    done = user.run("sweep", sweep, "--address", ray_head.cluster)
    assert done.returncode == 1
    assert "does not let this process in" in done.stderr
    said = " ".join(done.stderr.split())
    assert "set RAY_AUTH_MODE=token, and put the cluster's into ~/.ray/auth_token" in said


def test_wrong_token_and_unknown_job(
    ray_head: Head, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ClusterError, match="this side has no token"):
        find_job("ray:rfprune-absent", ray_head.address).status()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(ClusterError, match="this side has another token"):
        find_job("ray:rfprune-absent", ray_head.address).status()
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_head.token_file.read_text())
    with pytest.raises(UnknownNameError, match="unknown job 'ray:rfprune-absent' at http"):
        find_job("ray:rfprune-absent", ray_head.address).status()
