"""A private Slurm cluster on this machine: controller, two node daemons and their own munge."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ports import free_ports

from .conftest import end_marked, end_tree

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel", "srun")
_SBIN = "/usr/sbin"
_UP_SECONDS = 40

CONFIG = Path(__file__).parents[3] / "cluster" / "slurm" / "slurm.conf"


@dataclass(frozen=True)
class SlurmCluster:
    """A running cluster: the variables that lead Slurm's commands to it."""

    environment: dict[str, str]

    def call(self, *command: str) -> str:
        """Return what one of Slurm's commands prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout


def missing() -> str:
    """Return why Slurm cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root: slurmd starts jobs as their users"
    path = f"{os.environ['PATH']}:{_SBIN}"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (slurmctld slurmd slurm-client munge)"
    return ""


@contextmanager
def cluster() -> Iterator[SlurmCluster]:
    """Start the cluster, and end every process of it afterwards."""
    # munged refuses folders that others may write to, and long paths of sockets.
    folder = Path(tempfile.mkdtemp(prefix="rfps", dir="/var/tmp"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in _commands(folder):
            with (folder / "start.log").open("ab") as log:
                processes.append(
                    subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
                )
            time.sleep(0.5)
        up = SlurmCluster({"SLURM_CONF": str(folder / "slurm.conf")})
        _wait_until_idle(up, folder)
        try:
            yield up
        finally:
            _cancel_all(up)
    finally:
        for process in reversed(processes):
            end_tree(process)
        end_marked(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def _cancel_all(up: SlurmCluster) -> None:
    """Let Slurm end its jobs itself, as far as it still can."""
    with contextlib.suppress(subprocess.SubprocessError):
        up.call("scancel", "--user=root")
        deadline = time.monotonic() + 30
        while up.call("squeue", "--noheader") and time.monotonic() < deadline:
            time.sleep(0.5)


def _commands(folder: Path) -> list[list[str]]:
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    (folder / "state").mkdir()
    controller, first, second = free_ports(3)
    config = folder / "slurm.conf"
    text = CONFIG.read_text().replace("HOST", socket.gethostname())
    for given, own in (
        ("/var/lib/slurm", str(folder)),
        ("=6817", f"={controller}"),
        ("=17001", f"={first}"),
        ("=17002", f"={second}"),
        ("AuthType=", f"AuthInfo=socket={folder}/munge.socket\nAuthType="),
    ):
        assert given in text
        text = text.replace(given, own)
    config.write_text(text)
    munge = [
        *(f"{_SBIN}/munged", "--foreground", f"--key-file={key}"),
        *(f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"),
        *(f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"),
    ]
    daemons = [[f"{_SBIN}/slurmctld", "-D", "-f", str(config)]]
    daemons += [[f"{_SBIN}/slurmd", "-D", "-f", str(config), "-N", n] for n in ("n1", "n2")]
    return [munge, *daemons]


def _wait_until_idle(up: SlurmCluster, folder: Path) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while time.monotonic() < deadline:
        try:
            if up.call("sinfo", "--noheader", "--format=%T %D").split() == ["idle", "2"]:
                return
        except subprocess.SubprocessError:
            pass
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-800:] for path in folder.glob("*.log"))
    raise RuntimeError(f"Slurm did not come up: {logs}")
