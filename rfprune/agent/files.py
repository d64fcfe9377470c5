"""Files of tensors and plain values: written whole or not at all, read without running code."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rfprune.errors import RunsError
from rfprune.runs.files import write_atomic

__all__ = ["read_values", "to_arrays", "to_tensors", "write_values"]


def write_values(path: Path, kind: str, values: dict[str, Any]) -> None:
    """Write plain values, numpy arrays and tensors; arrays become tensors.

    Args:
        path: replaced if it exists.
        kind: what the file is, e.g. ``rfprune.policy/1``; checked on reading.
        values: nested dicts and lists are fine.
    """
    import torch

    buffer = io.BytesIO()
    torch.save({"kind": kind, "values": to_tensors(values)}, buffer)
    write_atomic(path, buffer.getvalue())


def read_values(path: Path, kind: str) -> dict[str, Any]:
    """Return what `write_values` wrote; tensors come back as numpy arrays.

    Raises:
        RunsError: no such file, a damaged one, one that holds code, or another kind.
    """
    import torch

    if not path.is_file():
        raise RunsError(f"{path}: no such file.")
    try:
        # torch.load does not look at the archive's checksums.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader stumble anywhere
        raise RunsError(
            f"{path}: is damaged, or holds more than tensors and plain values; expected a file of "
            f"the kind '{kind}'."
        ) from error
    if damaged is not None:
        raise RunsError(f"{path}: is damaged; the checksum of its part '{damaged}' is wrong.")
    found = content.get("kind") if isinstance(content, dict) else None
    if found != kind:
        raise RunsError(f"{path}: is of the kind {found!r}, expected '{kind}'.")
    values: dict[str, Any] = to_arrays(content["values"])
    return values


def to_tensors(value: Any) -> Any:
    """Return nested dicts and lists with tensors in the place of arrays."""
    import torch

    if isinstance(value, dict):
        return {key: to_tensors(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_tensors(inner) for inner in value]
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def to_arrays(value: Any) -> Any:
    """Return nested dicts and lists with arrays in the place of tensors."""
    import torch

    if isinstance(value, dict):
        return {key: to_arrays(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [to_arrays(inner) for inner in value]
    return value.numpy() if isinstance(value, torch.Tensor) else value
