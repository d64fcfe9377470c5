"""A sweep on a real Slurm cluster of two nodes: sent, followed, requeued, cancelled."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfprune.results import SweepFolder

from . import slurm_cluster
from .slurm_cluster import SlurmCluster
from .users import ROOT, User

pytestmark = [
    pytest.mark.flaky(reruns=1),
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing() or "none"),
]


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    with slurm_cluster.cluster() as up:
        yield up


class SlurmUser(User):
    """Someone on a login node of the cluster."""

    def __init__(self, cluster: SlurmCluster, folder: Path) -> None:
        profile = (
            f"kind: slurm\nnodes: 2\ncpus: 1\nminutes: 10\ninterpreter: {sys.executable}\n"
            'environment: {GREETING: "it\'s $(touch hit)", OMP_NUM_THREADS: 1}\n'
        )
        super().__init__(folder, profile, cluster.environment)
        self.cluster = cluster

    def state(self, job: str) -> dict[str, str]:
        done = self.run("status", job, "--json")
        assert done.returncode == 0, done.stderr
        state: dict[str, str] = json.loads(done.stdout)
        return state

    def finished(self) -> int:
        return sum(1 for t in SweepFolder(self.runs / "digits").trials() if t.result())

    def wait_for(self, finished: int, job: str) -> None:
        deadline = time.monotonic() + 150
        while self.finished() < finished:
            assert time.monotonic() < deadline, self.run("logs", job).stdout
            time.sleep(0.5)


@pytest.fixture
def user(slurm: SlurmCluster, tmp_path: Path) -> SlurmUser:
    return SlurmUser(slurm, tmp_path)


def test_sweep_on_two_nodes_that_runs_out_of_time_goes_on(user: SlurmUser) -> None:
    job = user.submit("--trials", "6")
    user.wait_for(1, job)
    number = job.partition(":")[2]
    # What Slurm itself sends before the time limit.
    user.cluster.call("scancel", "--batch", "--signal=USR1", number)
    deadline = time.monotonic() + 90
    while user.state(job)["state"] != "pending":
        assert time.monotonic() < deadline, user.run("logs", job).stdout
    # Slurm holds a requeued job back for two minutes.
    user.cluster.call("scontrol", "update", f"JobId={number}", "StartTime=now")
    log = user.run("logs", job, "--follow").stdout
    assert "Out of time: back into the queue, start 2." in log
    assert "6 of 6 trials complete" in log, log
    # The log is appended to; the second driver runs only what is missing.
    assert log.count("trials into") == 2
    assert user.state(job)["state"] == "succeeded"
    results = [trial.result() for trial in SweepFolder(user.runs / "digits").trials()]
    assert [result is not None and result.state for result in results].count("complete") == 6
    (folder,) = (user.runs / ".jobs").iterdir()
    assert {path.name for path in folder.glob("ray-*.log")} == {"ray-n1.log", "ray-n2.log"}
    assert not list(user.folder.rglob("hit"))


def test_cancelled_job(user: SlurmUser) -> None:
    job = user.submit("--trials", "100")
    deadline = time.monotonic() + 60
    while user.state(job)["state"] != "running":
        assert time.monotonic() < deadline
    assert user.run("cancel", job).returncode == 0
    while user.state(job)["state"] != "cancelled":
        assert time.monotonic() < deadline + 60


def test_refusal_in_plain_words(user: SlurmUser) -> None:
    user.profile.write_text(user.profile.read_text() + "partition: absent\n")
    done = user.run("submit", str(ROOT / "sweeps" / "digits.yml"), "--on", str(user.profile))
    assert done.returncode == 1
    assert "there is no such partition" in done.stderr
