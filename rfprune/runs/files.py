"""Writing that is never half done: whole files are replaced, lines are appended and synced."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rfprune.atomic import replacing

__all__ = ["append_line", "write_atomic", "write_json"]


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content` in one step; a crash leaves the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(path) as partial, partial.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=1) + "\n")


def append_line(path: Path, value: Any) -> None:
    """Append `value` as one line of JSON and sync it to disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, separators=(",", ":")) + "\n")
        file.flush()
        os.fsync(file.fileno())
