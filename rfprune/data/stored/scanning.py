"""One pass over features that stay in their file: faults, ranges, mean and deviation, and a hash.

What was found is kept in the user's cache, so that further trials and commands need not read
gigabytes again; a changed file or another split is read anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np

from rfprune.core.digests import sha256_of_parts
from rfprune.core.files import read_json, replacing
from rfprune.data.places import cache_dir, file_identity
from rfprune.data.stored.features import Array, Stored
from rfprune.errors import DataError

__all__ = ["Scan", "scan"]

#: Part of the name of every kept scan: another number when what is computed changes.
_VERSION = 1
_PIECE_BYTES = 16 << 20
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Scan:
    """What one pass found, per feature or channel.

    Attributes:
        mean: of the training rows.
        std: their standard deviation.
        low: smallest value of the training rows.
        high: largest.
        sha256: of the values of every part, by part.
    """

    mean: list[float]
    std: list[float]
    low: list[float]
    high: list[float]
    sha256: dict[str, str]


def scan(source: str, parts: Mapping[str, Stored], names: Mapping[str, str]) -> Scan:
    """Read every row of every part once.

    Args:
        source: of the data, for messages.
        parts: rows by part; statistics are of ``train``.
        names: what each part is called in messages, e.g. ``x_train``.

    Raises:
        DataError: a value is not finite or too large for float32.
    """
    place = cache_dir() / "scanned" / f"{_key(parts)}.json"
    if place.is_file():
        return Scan(**read_json(place))
    gigabytes = sum(4 * prod(part.shape) for part in parts.values()) / 1e9
    if gigabytes > 1:
        print(f"reading {gigabytes:.1f} GB of {source} once", file=sys.stderr, flush=True)
    moments = _Moments()
    digests = {
        part: _pass(rows, f"{source}: {names[part]}", moments if part == "train" else None)
        for part, rows in parts.items()
    }
    found = Scan(**moments.found(), sha256=digests)
    try:
        with replacing(place) as partial:
            partial.write_text(json.dumps(asdict(found)))
    except OSError:
        # Only time is lost: the next command reads the file again.
        pass
    return found


def _key(parts: Mapping[str, Stored]) -> str:
    """Return what names a scan: the files, the rows of each part, and their layout."""

    def lines() -> Iterator[str | memoryview]:
        for part, rows in parts.items():
            about = rows.source
            yield f"{_VERSION} {part} {file_identity(about.path)} {about.what} {rows.row_shape}\n"
            if rows.rows is not None:
                yield np.ascontiguousarray(rows.rows).data

    return sha256_of_parts(lines())[:32]


def _pass(rows: Stored, where: str, moments: _Moments | None) -> str:
    """Return the hash of some rows; they are checked, and counted in `moments`."""
    digest = hashlib.sha256()
    # hashlib and numpy both work without the interpreter's lock.
    with ThreadPoolExecutor(1) as pool:
        for start, stop in rows.pieces(_PIECE_BYTES):
            part = rows.read(start, stop)
            hashing = pool.submit(digest.update, np.ascontiguousarray(part).data)
            _check(part, where, start)
            if moments is not None:
                moments.add(part)
            hashing.result()
    return digest.hexdigest()


def _check(part: Array, where: str, start: int) -> None:
    if part.dtype.kind != "f":
        return
    fits = np.isfinite(part)
    if part.dtype.itemsize > 4:
        fits &= np.abs(part) <= _LARGEST
    if not fits.all():
        row = start + int(np.flatnonzero(~fits.reshape(len(part), -1).all(axis=1))[0])
        raise DataError(
            f"{where} holds a value that is NaN, infinite or beyond float32 in row {row:,} of the "
            "part; every value must be finite."
        )


class _Moments:
    """Mean, deviation and range per feature or channel, piece by piece (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Array = np.zeros(0)
        self.squares: Array = np.zeros(0)
        self.low: Array = np.zeros(0)
        self.high: Array = np.zeros(0)

    def add(self, part: Array) -> None:
        """Count the values of some rows (N, F, ...)."""
        axes = (0, *range(2, part.ndim))
        count = part.size // part.shape[1]
        mean = part.mean(axis=axes, dtype=np.float64)
        squares = part.var(axis=axes, dtype=np.float64) * count
        low, high = part.min(axis=axes), part.max(axis=axes)
        if self.count == 0:
            self.count, self.mean, self.squares = count, mean, squares
            self.low, self.high = low, high
            return
        total = self.count + count
        shift = mean - self.mean
        self.squares += squares + shift**2 * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    def found(self) -> dict[str, Any]:
        """Return mean, deviation and range as lists."""
        arrays = {"mean": self.mean, "low": self.low, "high": self.high}
        arrays["std"] = np.sqrt(self.squares / max(1, self.count))
        return {name: array.astype(np.float64).tolist() for name, array in arrays.items()}
