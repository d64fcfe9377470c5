"""The folder of an export: whole or not at all, with checksums, and never another network."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rfprune.core.digests import digest_of_file
from rfprune.errors import RunsError

__all__ = ["SUMS", "checksums", "new_folder"]

SUMS = "SHA256SUMS"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a scratch folder that becomes `out` if all goes well, and vanishes otherwise.

    Raises:
        RunsError: the folder is in use, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunsError(f"{out}: is in use. Allowed: a new or empty folder.")
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        # Beside its place, so that the move at the end is one rename.
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    except OSError as error:
        raise RunsError(f"{out}: cannot be written ({error.strerror or error}).") from error
    try:
        yield scratch
        if out.exists():
            out.rmdir()
        # `mkdtemp` makes folders that only their owner can open; an export is meant for others.
        scratch.chmod(0o755)
        os.replace(scratch, out)
    except OSError as error:
        raise RunsError(f"{out}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def checksums(folder: Path) -> str:
    """Return the SHA-256 of every file, as ``sha256sum`` writes and checks them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{digest_of_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return "".join(lines)
