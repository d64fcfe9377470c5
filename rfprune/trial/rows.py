"""The rows of the last trial of this process, for the next one: warm workers load a set once."""

from __future__ import annotations

import os
from pathlib import Path

from rfprune.data import Dataset, data_files, load
from rfprune.data.places import cache_dir, data_dir, find_file
from rfprune.data.spec import DataSpec
from rfprune.tasks import Task

__all__ = ["rows"]

_Key = tuple[str, tuple[tuple[str, int, int], ...]]

#: One set, so that a worker never holds more rows than a single trial needs.
_held: tuple[_Key, Dataset] | None = None


def rows(spec: DataSpec, base_dir: Path, task: Task) -> Dataset:
    """Return what `rfprune.data.load` returns, which must not be changed in place.

    A set is loaded again when any of its files has another size or time of change.

    Args:
        spec: what to load.
        base_dir: folder that relative paths in `spec` refer to.
        task: says what targets look like.

    Raises:
        DataError: the data are missing or faulty.
    """
    global _held
    what = f"{task.spec.model_dump_json()} {spec.model_dump_json()}"
    key = (what, tuple(_stamps(spec, base_dir)))
    if _held is None or _held[0] != key:
        _held = None  # let the old rows go before the new ones come
        data = load(spec, base_dir, task)
        # Read again: what was not there may have been downloaded meanwhile.
        _held = (what, tuple(_stamps(spec, base_dir))), data
    return _held[1]


def _stamps(spec: DataSpec, base_dir: Path) -> list[tuple[str, int, int]]:
    """Return path, size and time of change of every file that the data may come from."""
    files: list[Path] = []
    if spec.file is not None:
        files = data_files(find_file(spec.file, base_dir))
    elif spec.name is not None:
        for root in (data_dir(), cache_dir()):
            # Nothing is yielded for a folder that is not there.
            walk = os.walk(root / spec.name) if root is not None else ()
            files += [Path(folder, name) for folder, _, names in walk for name in names]
    stamps = [(str(path.resolve()), path.stat()) for path in files]
    return sorted((path, facts.st_size, facts.st_mtime_ns) for path, facts in stamps)
