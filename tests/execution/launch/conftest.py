"""A Ray head on this machine with its own ports, folder and token, ended without ``ray stop``."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.ports import free_ports

_UP_SECONDS = 120


@dataclass(frozen=True)
class Head:
    """A Ray head: the addresses of dashboard and cluster, and the file that holds its token."""

    address: str
    cluster: str
    token_file: Path
    folder: Path


def descendants(process: int) -> list[int]:
    """Return the numbers of all processes below `process`."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, waiting = [], [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started, and nothing else."""
    tree = descendants(process.pid)
    process.terminate()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    for number in (*tree, process.pid):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def end_marked(marker: str) -> None:
    """Kill the processes that have `marker`, the path of a test's own folder, in their variables.

    Job steps and drivers begin sessions of their own and are nobody's descendants any more.
    """
    for path in Path("/proc").glob("[0-9]*/environ"):
        number = int(path.parent.name)
        try:
            if number != os.getpid() and marker.encode() in path.read_bytes():
                os.kill(number, signal.SIGKILL)
        except OSError:
            continue


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the head did not come up: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def ray_head() -> Iterator[Head]:
    """Start a Ray head with two CPUs and token authentication on loopback."""
    # Sockets' paths are limited to 107 bytes: pytest's own temporary folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="rfp", dir="/tmp"))
    token_file = folder / "token"
    token_file.write_text(secrets.token_hex(32))
    token_file.chmod(0o600)
    gcs, dashboard, client, agent, metrics = free_ports(5)
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=2"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
        *(f"--metrics-export-port={metrics}", f"--temp-dir={folder}/ray"),
        *("--object-store-memory=80000000", "--disable-usage-stats"),
    ]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment = {
        **inherited,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "head.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        _wait_for(f"{address}/api/version", process, log)
        yield Head(address, f"127.0.0.1:{gcs}", token_file, folder)
    finally:
        end_tree(process)
        end_marked(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a home folder of its own, without tokens, profiles and notes."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith(("RAY_", "XDG_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    return folder
