"""From raw values to the numbers that a network gets: ``(raw - offset) / scale``."""

from __future__ import annotations

import numpy as np

from rfprune.data.dataset import Array, RawData, Rows
from rfprune.data.pixels import Pixels
from rfprune.data.spec import DataSpec

__all__ = ["scaled"]

_ROWS_AT_ONCE = 2048


def scaled(
    features: dict[str, Array], raw: RawData, spec: DataSpec
) -> tuple[dict[str, Rows], Array, Array]:
    """Return the rows of each part, and offset and scale in units of the raw values.

    Args:
        features: raw rows by part; those of ``train`` decide mean and standard deviation.
        raw: what they are.
        spec: whether they are standardised.
    """
    return (_as_bytes if raw.keeps_bytes else _as_floats)(features, raw, spec)


def _as_floats(
    features: dict[str, Array], raw: RawData, spec: DataSpec
) -> tuple[dict[str, Rows], Array, Array]:
    import torch

    x = {part: _to_float(rows, raw.full_scale) for part, rows in features.items()}
    offset, scale = _statistics(x["train"], raw, spec)
    if offset.any() or (scale != 1).any():
        for rows in x.values():
            rows -= offset
            rows /= scale
    tensors: dict[str, Rows] = {part: torch.from_numpy(rows) for part, rows in x.items()}
    full = np.float32(raw.full_scale)
    return tensors, offset * full, scale * full


def _as_bytes(
    features: dict[str, Array], raw: RawData, spec: DataSpec
) -> tuple[dict[str, Rows], Array, Array]:
    import torch

    x = {part: np.ascontiguousarray(rows) for part, rows in features.items()}
    offset, scale = _byte_statistics(x["train"], raw, spec)
    pixels: dict[str, Rows] = {
        part: Pixels(torch.from_numpy(rows), torch.from_numpy(offset), torch.from_numpy(scale))
        for part, rows in x.items()
    }
    return pixels, offset, scale


def _to_float(rows: Array, full_scale: float) -> Array:
    x = np.array(rows, dtype=np.float32, order="C")
    if full_scale != 1.0:
        x /= np.float32(full_scale)
    return x


def _statistics(x: Array, raw: RawData, spec: DataSpec) -> tuple[Array, Array]:
    """Return what to subtract and what to divide by, broadcastable to a row.

    Mean and standard deviation per feature (flat rows) or per channel; a constant feature is only
    centred.
    """
    wanted = not raw.is_image if spec.standardize == "auto" else spec.standardize
    shape = x.shape[1:2] + (1,) * (x.ndim - 2)
    if not wanted:
        return np.zeros(shape, np.float32), np.ones(shape, np.float32)
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axis=axes, dtype=np.float64).reshape(shape)
    std = x.std(axis=axes, dtype=np.float64).reshape(shape)
    constant = (x.min(axis=axes) == x.max(axis=axes)).reshape(shape)
    std = np.where(constant, 1.0, std)
    return mean.astype(np.float32), std.astype(np.float32)


def _byte_statistics(x: Array, raw: RawData, spec: DataSpec) -> tuple[Array, Array]:
    """As `_statistics`, in units of the bytes, from a histogram per channel or feature."""
    shape = x.shape[1:2] + (1,) * (x.ndim - 2)
    if spec.standardize is not True:
        return np.zeros(shape, np.float32), np.full(shape, raw.full_scale, np.float32)
    counts = np.zeros((x.shape[1], 256), dtype=np.int64)
    for start in range(0, len(x), _ROWS_AT_ONCE):
        part = x[start : start + _ROWS_AT_ONCE]
        counts += [np.bincount(part[:, i].reshape(-1), minlength=256) for i in range(x.shape[1])]
    share = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256, dtype=np.float64)
    mean = share @ values
    std = np.sqrt(share @ values**2 - mean**2)
    std = np.where((counts > 0).sum(axis=1) == 1, raw.full_scale, std)
    return mean.reshape(shape).astype(np.float32), std.reshape(shape).astype(np.float32)
