"""Sweeps on a machine whose clock jumps, and by a user that is not root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfprune.results import SweepFolder, read_front
from rfprune.study import count_trials, read_study

HERE = Path(__file__).parents[1] / "study"
ROOT = HERE.parents[1]
WANTED = 6

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=1)]

#: Stands before the C library: adds the seconds in a file to the wall clock, and to that alone.
SHIFTED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) {
    char text[32] = {0};
    const char *path = getenv("CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atol(text);
}
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, now);
    if (id == CLOCK_REALTIME) now->tv_sec += shift();
    return done;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int done = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return done;
}
time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
"""


def drive(runs: Path, *before: str, **variables: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    environment.pop("RAY_ADDRESS", None)
    with (runs / "log").open("ab") as log:
        return subprocess.Popen(
            [*before, sys.executable, str(HERE / "drive_demo.py"), str(runs), str(WANTED), "0.5"],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=runs,
        )


def check(runs: Path) -> None:
    folder = SweepFolder(runs / "demo")
    counts = count_trials(read_study(folder))
    assert (counts.complete, counts.failed, counts.running, counts.waiting) == (WANTED, 0, 0, 0)
    assert read_front(folder).counts.complete == WANTED


@pytest.mark.long
def test_jumps_of_the_clock_do_no_harm(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (tmp_path / "clock.c").write_text(SHIFTED)
    library = tmp_path / "clock.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", library, tmp_path / "clock.c", "-ldl"], check=True
    )
    shift = tmp_path / "shift"
    shift.write_text("0")
    driver = drive(tmp_path, LD_PRELOAD=str(library), CLOCK_SHIFT=str(shift))
    deadline = time.monotonic() + 180
    jumps = ["3600", "-3600", "7200", "0"]
    while driver.poll() is None and time.monotonic() < deadline:
        if jumps and (tmp_path / "log").read_text().count("complete") > 4 - len(jumps):
            shift.write_text(jumps.pop(0))
        time.sleep(0.1)
    assert driver.wait(timeout=10) == 0, (tmp_path / "log").read_text()
    assert len(jumps) < 2
    check(tmp_path)


@pytest.fixture
def for_nobody() -> Iterator[Path]:
    """A folder of a user that is not root."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user, with util-linux's setpriv")
    folder = Path(tempfile.mkdtemp(prefix="rfprune-nobody-"))
    os.chown(folder, 65534, 65534)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_user_that_is_not_root(for_nobody: Path) -> None:
    become = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    # A child of its own too: Ray starts its servers by the same interpreter.
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    reads = [*become, sys.executable, "-c", f"import rfprune, ray, optuna; {again}"]
    if subprocess.run(reads, cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("other users may not run this interpreter or read its packages")
    state = {name: str(for_nobody / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME")}
    # Not the folder of another user's sessions.
    state |= {"HOME": str(for_nobody), "RAY_TMPDIR": str(for_nobody)}
    driver = drive(for_nobody, *become, **state)
    assert driver.wait(timeout=240) == 0, (for_nobody / "log").read_text()
    check(for_nobody)
    owners = {path.stat().st_uid for path in (for_nobody / "demo").rglob("*")}
    assert owners == {65534}
