"""From raw values to the numbers that a network gets: ``(raw - offset) / scale``."""

from __future__ import annotations

import numpy as np

from rfprune.data.dataset import Array, Features, Rows
from rfprune.data.pixels import Pixels
from rfprune.data.spec import DataSpec
from rfprune.data.stored.features import Stored
from rfprune.data.stored.rows import StoredRows
from rfprune.data.stored.scanning import Scan, scan

__all__ = ["scaled", "scaled_in_files"]

_ROWS_AT_ONCE = 2048


def scaled(features: Features, spec: DataSpec) -> tuple[dict[str, Rows], Array, Array]:
    """Return the rows of each part, and offset and scale in units of the raw values.

    Args:
        features: raw rows; those of ``train`` decide mean and standard deviation.
        spec: whether they are standardised.
    """
    return (_as_bytes if features.keeps_bytes else _as_floats)(features, spec)


def scaled_in_files(
    features: Features, spec: DataSpec
) -> tuple[dict[str, Rows], Array, Array, Scan]:
    """As `scaled`, of rows that stay in their files; also what reading them once has found."""
    import torch

    parts = {part: rows for part, rows in features.parts.items() if isinstance(rows, Stored)}
    assert parts.keys() == features.parts.keys()
    found = scan(features.source, parts, {part: features.called(part) for part in parts})
    shape = (-1,) + (1,) * (parts["train"].ndim - 2)
    offset = np.zeros(len(found.mean), np.float32)
    scale = np.full(len(found.mean), features.full_scale, np.float32)
    if _is_standardized(features, spec):
        low, high = np.array(found.low), np.array(found.high)
        offset = np.array(found.mean, np.float32)
        scale = np.where(low == high, features.full_scale, found.std).astype(np.float32)
    offset, scale = offset.reshape(shape), scale.reshape(shape)
    given = torch.from_numpy(offset), torch.from_numpy(scale), torch.device("cpu")
    x: dict[str, Rows] = {part: StoredRows(rows, *given) for part, rows in parts.items()}
    return x, offset, scale, found


def _is_standardized(features: Features, spec: DataSpec) -> bool:
    return not features.is_image if spec.standardize == "auto" else spec.standardize


def _as_floats(features: Features, spec: DataSpec) -> tuple[dict[str, Rows], Array, Array]:
    import torch

    full = np.float32(features.full_scale)
    # Copies, which are scaled in place below; the arrays of the caller stay as they are.
    x = {part: np.array(rows, np.float32, order="C") for part, rows in features.parts.items()}
    if full != 1:
        for rows in x.values():
            rows /= full
    offset, scale = _statistics(x["train"], features, spec)
    if offset.any() or (scale != 1).any():
        # In place: a copy would double the memory of the largest arrays of a trial.
        for rows in x.values():
            rows -= offset
            rows /= scale
    tensors: dict[str, Rows] = {part: torch.from_numpy(rows) for part, rows in x.items()}
    return tensors, offset * full, scale * full


def _as_bytes(features: Features, spec: DataSpec) -> tuple[dict[str, Rows], Array, Array]:
    import torch

    x = {part: np.ascontiguousarray(rows) for part, rows in features.parts.items()}
    offset, scale = _byte_statistics(x["train"], features, spec)
    pixels: dict[str, Rows] = {
        part: Pixels(torch.from_numpy(rows), torch.from_numpy(offset), torch.from_numpy(scale))
        for part, rows in x.items()
    }
    return pixels, offset, scale


def _statistics(x: Array, features: Features, spec: DataSpec) -> tuple[Array, Array]:
    """Return what to subtract and what to divide by, broadcastable to a row.

    Mean and standard deviation per feature (flat rows) or per channel; a constant feature is only
    centred.
    """
    shape = x.shape[1:2] + (1,) * (x.ndim - 2)
    if not _is_standardized(features, spec):
        return np.zeros(shape, np.float32), np.ones(shape, np.float32)
    axes = (0, *range(2, x.ndim))
    # In double: sums of many float32 values lose digits.
    mean = x.mean(axis=axes, dtype=np.float64).reshape(shape)
    std = x.std(axis=axes, dtype=np.float64).reshape(shape)
    # By its range: the deviation of equal floats is seldom exactly 0.
    constant = (x.min(axis=axes) == x.max(axis=axes)).reshape(shape)
    std = np.where(constant, 1.0, std)
    return mean.astype(np.float32), std.astype(np.float32)


def _byte_statistics(x: Array, features: Features, spec: DataSpec) -> tuple[Array, Array]:
    """As `_statistics`, in units of the bytes, from a histogram per channel or feature."""
    shape = x.shape[1:2] + (1,) * (x.ndim - 2)
    if spec.standardize is not True:
        return np.zeros(shape, np.float32), np.full(shape, features.full_scale, np.float32)
    # Exact, and without a copy of the images as floats, which would take four times their memory.
    counts = np.zeros((x.shape[1], 256), dtype=np.int64)
    for start in range(0, len(x), _ROWS_AT_ONCE):
        part = x[start : start + _ROWS_AT_ONCE]
        counts += [np.bincount(part[:, i].reshape(-1), minlength=256) for i in range(x.shape[1])]
    share = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256, dtype=np.float64)
    mean = share @ values
    std = np.sqrt(share @ values**2 - mean**2)
    std = np.where((counts > 0).sum(axis=1) == 1, features.full_scale, std)
    return mean.reshape(shape).astype(np.float32), std.reshape(shape).astype(np.float32)
