"""A full disk is recognised in the words of everything that writes."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rfprune.core.full_disk import is_full_disk


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path]:
    """A file system of one megabyte; not below pytest's folder, which it could not remove then."""
    folder = Path(tempfile.mkdtemp(prefix="rfprune-small-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("no permission to mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def _torch(folder: Path) -> None:
    import torch

    from rfprune.core.value_files import save_content

    save_content(folder / "a.pt", {"x": torch.zeros(10**6)})


def _torch_by_path(folder: Path) -> None:
    import torch

    torch.save({"x": torch.zeros(10**6)}, folder / "b.pt")


def _sqlite(folder: Path) -> None:
    database = sqlite3.connect(folder / "c.db")
    try:
        database.execute("CREATE TABLE t (a)")
        database.execute("INSERT INTO t VALUES (zeroblob(4000000))")
    finally:
        database.close()


def _compiler(folder: Path) -> None:
    source = folder / "d.cpp"
    source.write_text("int a[3000000] = {1}; int main() {}")
    command = ["g++", str(source), "-o", str(folder / "d")]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"the compiler failed: {done.stderr}")


WRITERS: dict[str, Callable[[Path], object]] = {
    "write": lambda folder: (folder / "e").write_bytes(bytes(2 << 20)),
    "numpy.save": lambda folder: np.save(folder / "f.npy", np.zeros(10**6)),
    "numpy.savez": lambda folder: np.savez(folder / "g.npz", x=np.zeros(10**6)),
    "torch.save of a file": _torch,
    "torch.save of a path": _torch_by_path,
    "sqlite": _sqlite,
    "g++": _compiler,
}


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_a_full_disk_raises(small_disk: Path, name: str) -> None:
    if name == "g++" and not any(Path(p, "g++").exists() for p in os.get_exec_path()):
        pytest.skip("g++ is not installed")
    try:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
            WRITERS[name](small_disk)
    finally:
        for path in small_disk.iterdir():
            path.unlink()
    assert is_full_disk(caught.value)


def test_what_it_was_raised_from_counts_and_other_errors_do_not() -> None:
    wrapped = RuntimeError("the layer could not be written")
    wrapped.__cause__ = OSError(errno.EDQUOT, "quota")
    assert is_full_disk(wrapped)
    assert not is_full_disk(OSError(errno.EACCES, "denied"))
    assert not is_full_disk(ValueError("unexpected shape"))
