"""A Ray cluster in processes of its own on this machine, each node in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.ports import free_port

__all__ = ["cluster", "environment"]

RAY = Path(sys.executable).with_name("ray")


def environment() -> dict[str, str]:
    """Return what a driver of the cluster needs: its nodes speak without a token."""
    return {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def _node(folder: Path, name: str, *options: str) -> subprocess.Popen[str]:
    """Start a node in a process group of its own, outside the checkout and without its path.

    It is there when this returns: nodes that start at once on one machine may pick the same ports.
    """
    variables = environment()
    variables.pop("PYTHONPATH", None)
    place, log = folder / name, folder / f"{name}.log"
    place.mkdir()
    with log.open("w") as output:
        node = subprocess.Popen(
            [str(RAY), "start", "--block", "--object-store-memory=80000000", *options],
            stdout=output,
            stderr=output,
            text=True,
            env=variables,
            cwd=place,
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


@contextmanager
def cluster(folder: Path, size: int) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """Start a head without CPUs and nodes with one each below `folder`; yield address and nodes."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    head = _node(
        folder,
        "head",
        "--head",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
        "--num-cpus=0",
        "--include-dashboard=false",
    )
    nodes: list[subprocess.Popen[str]] = []
    try:
        for number in range(size):
            join = f"--address={address}"
            nodes.append(_node(folder, f"node {number}", join, "--num-cpus=1"))
        yield address, nodes
    finally:
        for node in [*nodes, head]:
            _end(node)
