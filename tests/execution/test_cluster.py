"""A sweep on a given Ray cluster whose nodes know nothing of the driver's folder, and lose one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from rfprune.results import SweepFolder
from rfprune.study import count_trials, read_study

HERE = Path(__file__).parents[1] / "study"
ROOT = HERE.parents[1]
RAY = Path(sys.executable).with_name("ray")

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=1)]


def _environment() -> dict[str, str]:
    return {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def _node(folder: Path, name: str, *options: str) -> subprocess.Popen[str]:
    """Start a node in a process group of its own, outside the checkout and without its path.

    It is there when this returns: nodes that start at once on one machine may pick the same ports.
    """
    environment = _environment()
    environment.pop("PYTHONPATH", None)
    log = folder / f"{name}.log"
    with log.open("w") as output:
        node = subprocess.Popen(
            [str(RAY), "start", "--block", "--object-store-memory=80000000", *options],
            stdout=output,
            stderr=output,
            text=True,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    for _ in range(240):
        if "Ray runtime started" in log.read_text():
            return node
        if node.poll() is not None:
            break
        time.sleep(0.25)
    _end(node)
    pytest.fail(f"{name} did not start: {log.read_text()}")


def _end(node: subprocess.Popen[str]) -> None:
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGTERM)
    try:
        node.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, signal.SIGKILL)


@pytest.fixture
def cluster_of_two(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """Start a head without CPUs and two nodes with one each; yield address and nodes."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    head = _node(
        tmp_path,
        "head",
        "--head",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
        "--num-cpus=0",
        "--include-dashboard=false",
    )
    nodes: list[subprocess.Popen[str]] = []
    try:
        for number in range(2):
            join = f"--address={address}"
            nodes.append(_node(tmp_path, f"node {number}", join, "--num-cpus=1"))
        yield address, nodes
    finally:
        for node in [*nodes, head]:
            _end(node)


def test_a_sweep_on_a_cluster_that_loses_a_node(
    tmp_path: Path, cluster_of_two: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    address, nodes = cluster_of_two
    runs = tmp_path / "runs"
    runs.mkdir()
    environment = {**_environment(), "PYTHONPATH": str(ROOT), "RAY_ADDRESS": address}
    driver = subprocess.Popen(
        [sys.executable, str(HERE / "drive_demo.py"), str(runs), "12", "0.3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
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
