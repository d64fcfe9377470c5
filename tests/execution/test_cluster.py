"""A sweep on a given Ray cluster whose nodes know nothing of the driver's folder, and lose one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfprune.results import SweepFolder
from rfprune.study import count_trials, read_study
from tests.ray_nodes import cluster, environment

HERE = Path(__file__).parents[1] / "study"
ROOT = HERE.parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.flaky(reruns=1)]


@pytest.fixture
def cluster_of_two(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """Yield address and nodes of a cluster with two nodes beside its head."""
    with cluster(tmp_path, 2) as made:
        yield made


def test_a_sweep_on_a_cluster_that_loses_a_node(
    tmp_path: Path, cluster_of_two: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    address, nodes = cluster_of_two
    runs = tmp_path / "runs"
    runs.mkdir()
    variables = {**environment(), "PYTHONPATH": str(ROOT), "RAY_ADDRESS": address}
    driver = subprocess.Popen(
        [sys.executable, str(HERE / "drive_demo.py"), str(runs), "12", "0.3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        cwd=runs,
    )
    assert driver.stdout is not None
    complete = 0
    for line in driver.stdout:
        complete += line.startswith("complete")
        if complete == 4:
            break
    os.killpg(nodes[0].pid, signal.SIGKILL)
    _, errors = driver.communicate(timeout=240)
    assert driver.returncode == 0, errors
    folder = SweepFolder(runs / "demo")
    counts = count_trials(read_study(folder))
    assert (counts.complete, counts.running, counts.waiting) == (12, 0, 0)
    for trial in read_study(folder).trials:
        if trial.state.name == "COMPLETE":
            steps = folder.trial(trial.user_attrs["folder"]).steps()
            assert [record.step for record in steps] == [0, 1, 2, 3]
