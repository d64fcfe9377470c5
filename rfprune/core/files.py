"""Files that appear whole or not at all: bytes, text and JSON."""

from __future__ import annotations

import contextvars
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rfprune.errors import RunsError

__all__ = [
    "link_or_copy",
    "read_json",
    "replacing",
    "sync",
    "synced_at_the_end",
    "write_atomic",
    "write_json",
    "write_sections",
]

_syncs_each = contextvars.ContextVar("syncs_each", default=True)


@contextmanager
def synced_at_the_end() -> Iterator[None]:
    """Bring what is written within to the disk once, at the end, instead of file by file.

    For thousands of small files that are of use only as a whole: one sync takes milliseconds.
    """
    token = _syncs_each.set(False)
    try:
        yield
        os.sync()
    finally:
        _syncs_each.reset(token)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file beside `path` that takes its place if all goes well.

    If anything is raised, the new file is removed and `path` is as it was; so it is when the
    process dies. The folder is made if it does not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `tempfile`: its files are for their owner alone, and this one becomes the user's.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sync(file: IO[Any]) -> None:
    """Bring what was written to a file to the disk.

    Without it a power failure may leave a new name on an empty file, though the order of the calls
    says otherwise.
    """
    file.flush()
    if _syncs_each.get():
        os.fsync(file.fileno())


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content` in one step; a crash leaves the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(path) as partial, partial.open("xb") as file:
        file.write(data)
        sync(file)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=1) + "\n")


def write_sections(path: Path, sections: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, atomically, with a line for each key.

    Without indentation Python's encoder is the one in C, which is ten times as fast.
    """
    lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in sections.items())
    write_atomic(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_json(path: Path) -> Any:
    """Return the value in a file of JSON.

    Raises:
        RunsError: no such file, or one that cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunsError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise RunsError(f"{path}: cannot be read ({error}).") from error


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the disk has no hard links.

    Files of run folders are replaced and never changed in place, so both may share one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)
