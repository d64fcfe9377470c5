"""The rows of the last trial of this process, for the next one: warm workers load a set once."""

from __future__ import annotations

import os
from pathlib import Path

from rfprune.data import Dataset, DataSpec, load
from rfprune.data.places import cache_dir, data_dir, find_file

__all__ = ["rows"]

_Key = tuple[str, tuple[tuple[str, int, int], ...]]

#: One set, so that a worker never holds more rows than a single trial needs.
_held: tuple[_Key, Dataset] | None = None


def rows(spec: DataSpec, base_dir: Path) -> Dataset:
    """Return what `rfprune.data.load` returns, which must not be changed in place.

    A set is loaded again when any of its files has another size or time of change.

    Args:
        spec: what to load.
        base_dir: folder that relative paths in `spec` refer to.

    Raises:
        DataError: the data are missing or faulty.
    """
    global _held
    key = (spec.model_dump_json(), tuple(_stamps(spec, base_dir)))
    if _held is None or _held[0] != key:
        _held = None  # let the old rows go before the new ones come
        data = load(spec, base_dir)
        # Read again: what was not there may have been downloaded meanwhile.
        _held = (spec.model_dump_json(), tuple(_stamps(spec, base_dir))), data
    return _held[1]


def _stamps(spec: DataSpec, base_dir: Path) -> list[tuple[str, int, int]]:
    """Return path, size and time of change of every file that the data may come from."""
    if spec.file is not None:
        places = [find_file(spec.file, base_dir)]
    else:
        roots = [root for root in (data_dir(), cache_dir()) if root is not None]
        places = [root / str(spec.name) for root in roots]
    files = [file for place in places for file in _files(place)]
    stamps = [(str(path.resolve()), path.stat()) for path in files]
    return sorted((path, facts.st_size, facts.st_mtime_ns) for path, facts in stamps)


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return [Path(folder, name) for folder, _, names in os.walk(place) for name in names]
