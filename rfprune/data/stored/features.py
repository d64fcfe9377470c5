"""Features that stay in their file: read in ranges of rows, since they are larger than memory.

A `RowSource` reads consecutive rows of an .npy, .h5 or .parquet file. `Stored` is some rows of one,
with what an array has of shape and type, so that checks and splits need not know which they have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rfprune.data.formats.columns import Table

__all__ = ["Array", "Hdf5Rows", "NpyRows", "RowSource", "Stored", "TableRows", "is_streamed"]

Array = NDArray[Any]
#: Features that take more than this as float32 are not held in memory, unless a file says so.
LIMIT_BYTES = 1 << 30


def is_streamed(stream: object, shape: Sequence[int]) -> bool:
    """Return whether features stay in their file.

    Args:
        stream: ``data.stream``: true, false or ``auto``.
        shape: of all rows.
    """
    return prod(shape) * 4 > LIMIT_BYTES if stream == "auto" else bool(stream)


class RowSource(ABC):
    """The rows of a file.

    Attributes:
        path: the file.
        what: the array or the columns in it.
        shape: (N, ...).
        dtype: of what is read.
        piece: rows that the file holds together, and that are cheap to read only together.
    """

    path: Path
    what: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    piece: int = 1

    @abstractmethod
    def read(self, start: int, stop: int) -> Array:
        """Return the rows from `start` up to `stop`, which the caller may change in place."""


class NpyRows(RowSource):
    """An .npy file. It is read, not mapped, so that its pages are not counted as this process's."""

    def __init__(self, path: Path, mapped: np.memmap[Any, Any]) -> None:
        """Take the shape and place of the rows from the mapped file."""
        self.path, self.what = path, "array"
        self.shape, self.dtype = mapped.shape, mapped.dtype
        self._begin = int(mapped.offset)
        self._row_bytes = prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, start: int, stop: int) -> Array:
        """Read from the file."""
        count = (stop - start) * prod(self.shape[1:])
        begin = self._begin + start * self._row_bytes
        # Opened anew each time: file positions are not shared between threads and workers.
        values = np.fromfile(self.path, self.dtype, count, offset=begin)
        return values.reshape(-1, *self.shape[1:])


class Hdf5Rows(RowSource):
    """A data set of an .h5 file."""

    def __init__(self, path: Path, name: str, data: Any) -> None:
        """Take the shape from the open data set `data`, by its full name."""
        self.path, self.what = path, name
        self.shape, self.dtype = tuple(data.shape), data.dtype
        self.piece = data.chunks[0] if data.chunks else 1

    def read(self, start: int, stop: int) -> Array:
        """Read a hyperslab."""
        import h5py

        # Opened for each read: an open file cannot travel to a worker.
        with h5py.File(self.path, "r") as file:
            return np.asarray(file[self.what][start:stop])


class TableRows(RowSource):
    """Columns of a table, side by side as float32."""

    def __init__(self, table: Table, names: Sequence[str], shape: tuple[int, ...]) -> None:
        """Take the columns `names` of a table that can be read in ranges."""
        self.path, self.what = table.path, ", ".join(names)
        self.shape, self.dtype = shape, np.dtype(np.float32)
        self.piece = table.piece
        self._table, self._names = table, names
        self._held: tuple[int, int, Array] | None = None
        # Training reads ahead in a thread of its own.
        self._lock = Lock()

    def read(self, start: int, stop: int) -> Array:
        """Read the pieces that hold the rows; the last one is kept for the next rows."""
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        with self._lock:
            at = start
            while at < stop:
                if self._held is None or not self._held[0] <= at < self._held[1]:
                    self._held = None  # let the old rows go before the new ones come
                    self._held = self._piece_with(at)
                first, last, rows = self._held
                end = min(stop, last)
                out[at - start : end - start] = rows[at - first : end - first]
                at = end
        return out

    def _piece_with(self, row: int) -> tuple[int, int, Array]:
        first, last = self._table.piece_at(row)
        rows = np.empty((last - first, *self.shape[1:]), self.dtype)
        for at, name in enumerate(self._names):
            column = self._table.read_range(name, first, last)
            if self.shape[1:] == column.shape[1:]:
                rows[:] = column
            else:
                rows[:, at] = column
        return first, last, rows


@dataclass(frozen=True, eq=False)
class Stored:
    """Some rows of a file, with the shape and type of an array.

    Attributes:
        source: the file.
        rows: (N,) which of its rows, ascending; None = all.
        change: what is done to rows as they are read: another layout of their axes.
        row_shape: of one row afterwards.
    """

    source: RowSource
    rows: Array | None
    change: Callable[[Array], Array]
    row_shape: tuple[int, ...]

    @classmethod
    def all_of(cls, source: RowSource) -> Stored:
        """Return every row of a file as it is there."""
        return cls(source, None, lambda rows: rows, source.shape[1:])

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""
        return (len(self), *self.row_shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 1 + len(self.row_shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what is read."""
        return self.source.dtype

    def __len__(self) -> int:
        return self.source.shape[0] if self.rows is None else len(self.rows)

    def __getitem__(self, rows: Array) -> Stored:
        """Return the rows whose numbers ascend in `rows`."""
        chosen = rows if self.rows is None else self.rows[rows]
        return Stored(self.source, chosen, self.change, self.row_shape)

    def changed(self, change: Callable[[Array], Array]) -> Stored:
        """Return the same rows in another layout of their axes."""
        before = self.change
        # Asked of an empty row, so that the layout is known without reading.
        shape = change(np.empty((1, *self.row_shape), self.dtype)).shape[1:]
        return Stored(self.source, self.rows, lambda rows: change(before(rows)), shape)

    def read(self, start: int, stop: int) -> Array:
        """Return rows by their places among these rows, as an array of the caller's own."""
        if self.rows is None:
            return self.change(self.source.read(start, stop))
        chosen = self.rows[start:stop]
        if not len(chosen):
            return self.change(np.empty((0, *self.source.shape[1:]), self.dtype))
        first = int(chosen[0])
        found = self.source.read(first, int(chosen[-1]) + 1)
        # One range from first to last: rows ascend, and reading gaps is faster than seeking.
        return self.change(found if len(found) == len(chosen) else found[chosen - first])

    def pieces(self, size_bytes: int) -> list[tuple[int, int]]:
        """Return consecutive ranges of about so many bytes as float32, whole pieces of the file."""
        row_bytes = 4 * prod(self.row_shape)
        piece = max(1, self.source.piece)
        step = max(1, round(size_bytes / row_bytes / piece)) * piece
        # Edges of whole pieces of the file: half a piece costs as much as all of it.
        edges = np.arange(0, self.source.shape[0] + step, step)
        places = edges if self.rows is None else np.searchsorted(self.rows, edges)
        places = np.unique(np.minimum(places, len(self)))
        return list(zip(places[:-1].tolist(), places[1:].tolist(), strict=True))
