"""Rows that are read from their file as a training or a measurement needs them.

`StoredRows` has what training and evaluation need of a tensor. Shuffled rows come in windows: some
pieces of the file, drawn at random, are read together, the next ones while the training works on
these, and their rows are mixed. An epoch reads every row once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.data.stored.features import Array, Stored

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["StoredRows", "Window"]

#: Rows that are read at once, and how many such pieces are mixed in a window.
_PIECE_BYTES = 4 << 20
_PIECES = 16
#: How far a window may exceed its size for pieces that the file holds together.
_WINDOW_BYTES = _PIECE_BYTES * _PIECES

#: Ranges of rows that are read together.
Window = list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class _Held:
    """The rows of a window, in ascending order.

    Attributes:
        rows: (M, ...) of all ranges.
        starts: (R,) first row of each range.
        stops: (R,) the row behind its last.
        places: (R,) where each range begins in `rows`.
    """

    rows: Tensor
    starts: Array
    stops: Array
    places: Array

    def find(self, index: Array) -> tuple[Array, Array]:
        """Return where rows are in `rows`, and whether they are there."""
        which = np.searchsorted(self.starts, index, side="right") - 1
        inside = (which >= 0) & (index < self.stops[which])
        return index - self.starts[which] + self.places[which], inside


@dataclass(eq=False)
class StoredRows:
    """Rows of a file as float32 tensors ``(raw - offset) / scale``.

    Attributes:
        stored: the rows.
        offset: broadcastable to a row.
        scale: likewise.
        device: where tensors go.
    """

    stored: Stored
    offset: Tensor
    scale: Tensor
    device: torch.device
    _held: list[Future[_Held]] = field(default_factory=list, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *input_shape)."""
        return self.stored.shape

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._on_device(self._read(start, max(start, stop)))
            rows = _tensor(np.arange(start, stop, step))
        return self.index_select(0, rows)

    def split(self, rows: int) -> Iterator[Tensor]:
        """Yield consecutive parts of so many rows; the last may be shorter."""
        left: list[Tensor] = []
        for part in self._ahead():
            joined = _joined([*left, part])
            whole = len(joined) - len(joined) % rows
            for start in range(0, whole, rows):
                yield self._on_device(joined[start : start + rows])
            left = [joined[whole:]] if whole < len(joined) else []
        if left:
            yield self._on_device(left[0])

    def to(self, device: torch.device) -> StoredRows:
        """Return the same rows for a device."""
        return StoredRows(self.stored, self.offset, self.scale, device)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the rows `index`, from the windows that are held, else from the file."""
        wanted = index.cpu()
        for held in self._windows_held():
            places, inside = held.find(wanted.numpy())
            if inside.all():
                return self._on_device(held.rows.index_select(0, _tensor(places)))
        return self._on_device(self._gathered(wanted))

    # Windows ----------------------------------------------------------------------------------

    def windows(self, generator: torch.Generator) -> Iterator[Window]:
        """Yield every piece of the rows once, in random order, as many as are mixed at a time."""
        import torch

        pieces = self.stored.pieces(_PIECE_BYTES)
        order = torch.randperm(len(pieces), generator=generator).tolist()
        row_bytes = 4 * int(np.prod(self.shape[1:]))
        window: Window = []
        size = 0
        for number in order:
            start, stop = pieces[number]
            more = (stop - start) * row_bytes
            if window and size + more > _WINDOW_BYTES:
                # Ascending, so that a file is read forwards.
                yield sorted(window)
                window, size = [], 0
            window.append((start, stop))
            size += more
        if window:
            yield sorted(window)

    def hold(self, window: Window | None) -> None:
        """Begin to read a window, beside the one before it; None lets all of them go."""
        if window is None:
            self._held = []
            return
        # Two stay: the one that is worked on, and the one whose rest goes into the next minibatch.
        self._held = [*self._held[-2:], self._reader.submit(self._read_window, window)]

    # Reading ----------------------------------------------------------------------------------

    @cached_property
    def _reader(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="rfprune-rows")

    def _read(self, start: int, stop: int) -> Tensor:
        """Return rows by their places, scaled."""
        rows = np.ascontiguousarray(self.stored.read(start, stop), dtype=np.float32)
        return _tensor(rows).sub_(self.offset).div_(self.scale)

    def _ahead(self) -> Iterator[Tensor]:
        """Yield all rows in order, the next ones being read while these are worked on."""
        coming: Future[Tensor] | None = None
        for piece in self.stored.pieces(_PIECE_BYTES):
            following = self._reader.submit(self._read, *piece)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()

    def _read_window(self, window: Window) -> _Held:
        starts, stops = np.array(window, dtype=np.int64).T
        ends = np.cumsum(stops - starts)
        rows = self.offset.new_empty((int(ends[-1]), *self.shape[1:]))
        places = ends - (stops - starts)
        for (start, stop), place in zip(window, places.tolist(), strict=True):
            rows[place : place + stop - start] = self._read(start, stop)
        return _Held(rows, starts, stops, places)

    def _windows_held(self) -> Iterator[_Held]:
        """Yield what is held, what is still being read last."""
        for reading in sorted(self._held, key=lambda reading: not reading.done()):
            yield reading.result()

    def _gathered(self, index: Tensor) -> Tensor:
        """Return rows from anywhere: those that are held, and each other piece read once."""
        out = self.offset.new_empty((len(index), *self.shape[1:]))
        missing = np.ones(len(index), dtype=bool)
        for held in self._windows_held():
            if not missing.any():
                break
            places, inside = held.find(index.numpy())
            out[_tensor(inside)] = held.rows.index_select(0, _tensor(places[inside]))
            missing &= ~inside
        pieces = self.stored.pieces(_PIECE_BYTES)
        which = np.searchsorted([start for start, _ in pieces], index.numpy(), side="right") - 1
        for number in np.unique(which[missing]).tolist():
            inside = missing & (which == number)
            start, stop = pieces[number]
            part = self._read(start, stop)
            out[_tensor(inside)] = part.index_select(0, index[_tensor(inside)] - start)
        return out

    def _on_device(self, rows: Tensor) -> Tensor:
        return rows if self.device.type == "cpu" else rows.to(self.device)


def _tensor(array: Any) -> Tensor:
    import torch

    return torch.from_numpy(array)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    import torch

    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
