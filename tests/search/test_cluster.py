"""A sweep on a given Ray cluster whose nodes know nothing of the driver's folder, and lose one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfprune.runs import SweepFolder
from rfprune.search import count_trials, read_study

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RAY = Path(sys.executable).with_name("ray")

pytestmark = pytest.mark.slow


def _environment() -> dict[str, str]:
    return {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def _node(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a node in a process group of its own, outside the checkout and without its path."""
    environment = _environment()
    environment.pop("PYTHONPATH", None)
    return subprocess.Popen(
        [str(RAY), "start", "--block", "--object-store-memory=80000000", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )


def _end(node: subprocess.Popen[str]) -> None:
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGTERM)
    try:
        node.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster_of_two(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """Start a head without CPUs and two nodes with one each; yield address and nodes."""
    port = _free_port()
    address = f"127.0.0.1:{port}"
    head = _node(
        tmp_path,
        "--head",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
        "--num-cpus=0",
        "--include-dashboard=false",
    )
    nodes: list[subprocess.Popen[str]] = []
    try:
        _wait_for(address)
        for _ in range(2):
            nodes.append(_node(tmp_path, f"--address={address}", "--num-cpus=1"))
        yield address, nodes
    finally:
        for node in [*nodes, head]:
            _end(node)


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    for _ in range(240):
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            pass
        else:
            return
        subprocess.run(["sleep", "0.25"], check=True)
    pytest.fail("the cluster did not come up")


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
