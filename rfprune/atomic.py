"""Files that appear whole or not at all. Knows paths, nothing of what stands in the files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


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
