"""Ray that does not start: one sentence with the cause and what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfprune.errors import ClusterError
from rfprune.execution import cluster as module
from rfprune.execution.cluster import cluster, quiet_environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("place", ["long", "closed", "full", "shm"])
def test_places_that_ray_cannot_use(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path
    if place == "long":
        folder = tmp_path / ("x" * 60)
        folder.mkdir()
        words = r"too long a path for Ray's sockets \(at most 37 bytes\). Set RAY_TMPDIR"
    elif place == "full":
        monkeypatch.setattr(module, "_LEAST_FREE_BYTES", 1 << 60)
        folder, words = Path("/tmp"), "too little for Ray's files. Free some"
    elif place == "shm":
        real = os.access
        monkeypatch.setattr(os, "access", lambda p, mode: str(p) != "/dev/shm" and real(p, mode))
        folder, words = Path("/tmp"), "/dev/shm: cannot be written"
    else:
        monkeypatch.setattr(os, "access", lambda p, mode: False)
        words = "Ray cannot write its files there. Set RAY_TMPDIR"
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    with pytest.raises(ClusterError, match=words), quiet_environment(), cluster(None):
        pass


CAUSES = {
    "timeout": (RuntimeError("The current node timed out during startup."), "may be too busy"),
    "gcs": (RuntimeError("Failed to connect to GCS at address"), "central process (GCS) has ended"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "a disk is full"),
    "limits": (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -a"),
    "permission": (PermissionError(errno.EACCES, "denied", "/srv/ray"), "permission for /srv"),
    "interpreter": (PermissionError(errno.EACCES, "denied", sys.executable), "user may not run /"),
    "exit": (SystemExit(1), "Its logs are below"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_why_ray_did_not_start(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    error, words = CAUSES[cause]

    def init(**options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with pytest.raises(ClusterError) as caught, quiet_environment(), cluster(None):
        pass
    assert str(caught.value).startswith("Ray does not start on this machine: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    program = (
        "from rfprune.execution.cluster import cluster, quiet_environment\n"
        "with quiet_environment(), cluster(None):\n"
        "    import ray\n"
        "    print(ray.is_initialized())\n"
    )
    environment = {**os.environ, "HOME": "/proc", "PYTHONPATH": str(ROOT), "RAY_TMPDIR": "/tmp"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
