"""Locks between processes: who holds one, who waits, and what a killed holder leaves."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rfprune.core.locks import is_locked, locked, take
from rfprune.errors import WorkError

HOLD = """
import sys
from pathlib import Path
from rfprune.core.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
COUNT = """
import sys
from pathlib import Path
from rfprune.core.locks import locked
lock, counter = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(100):
    with locked(lock):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


@contextmanager
def _holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_of_another_process_is_seen_and_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with _holder(path) as process, path.open("r+") as file:
        assert is_locked(path)
        assert not take(file, seconds=0.1)
        process.kill()
        process.wait()
        assert not is_locked(path), "the lock of a killed process is free"
        assert take(file, seconds=0)
        assert is_locked(path)
    assert not is_locked(path)


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with _holder(path) as process, path.open("r+") as file:
        assert process.stdin is not None
        process.stdin.close()
        assert take(file, seconds=60)


def test_who_looks_is_not_taken_for_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_locked(path)


def test_no_file_is_no_lock_and_none_is_made(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


def test_processes_take_turns(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path / "lock"), str(counter)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert counter.read_text() == "300"


def test_a_lock_is_let_go_when_its_holder_fails(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    try:
        with locked(path):
            assert is_locked(path)
            raise KeyError
    except KeyError:
        pass
    assert not is_locked(path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*arguments: object) -> None:
        raise OSError(number, "not here")

    monkeypatch.setattr(fcntl, "flock", flock)
    words = r"lock has no file locks \(not here\).*--runs"
    with pytest.raises(WorkError, match=words), locked(tmp_path / "lock"):
        pytest.fail("nothing was locked")
    # Where there are no locks, nobody can hold one: reports can still be read.
    assert not is_locked(tmp_path / "lock")
