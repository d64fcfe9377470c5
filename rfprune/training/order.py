"""In which order the rows of an epoch come: all of them shuffled, or window by window."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rfprune.core.named import Named
from rfprune.data import Rows, StoredRows, Window

__all__ = ["batches", "stored_parts"]


def batches(x: Rows, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of shuffled minibatches; the rows stay where they are, no worker processes.

    Rows that stay in their file are mixed within windows of pieces drawn at random, of which the
    next one is read while this one is worked on. The last minibatch is left out if it has a single
    row, on which batch norm cannot train.

    Args:
        x: (N, ...) rows.
        batch_size: rows of a minibatch.
        generator: decides the order; on the CPU, so that a seed gives the same one on every device.
    """
    stored = stored_parts(x)
    if not stored:
        chosen = torch.split(torch.randperm(len(x), generator=generator), batch_size)
    for index in _by_window(stored, batch_size, generator) if stored else chosen:
        # A batch norm cannot train on a single row.
        if len(index) > 1 or len(x) == 1:
            yield index


def stored_parts(x: Rows) -> list[StoredRows]:
    """Return the inputs whose rows stay in their file."""
    parts = x.parts.values() if isinstance(x, Named) else [x]
    return [part for part in parts if isinstance(part, StoredRows)]


def _by_window(
    stored: list[StoredRows], batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    def hold(window: Window | None) -> None:
        for part in stored:
            part.hold(window)

    windows = stored[0].windows(generator)
    window: Window | None = next(windows)
    hold(window)
    left = torch.zeros(0, dtype=torch.int64)
    try:
        while window is not None:
            following = next(windows, None)
            if following is not None:
                # The next window is read while this one is trained on.
                hold(following)
            rows = torch.cat([torch.arange(start, stop) for start, stop in window])
            # What was left of the last window comes first; otherwise it could wait for ever.
            index = torch.cat([left, rows[torch.randperm(len(rows), generator=generator)]])
            # Whole minibatches, as many as of rows in memory; the rest goes with the next window.
            whole = len(index) if following is None else len(index) - len(index) % batch_size
            yield from torch.split(index[:whole], batch_size)
            left, window = index[whole:], following
    finally:
        hold(None)
