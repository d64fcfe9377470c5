"""Data from a function of the user's: a dict of arrays, or a pair or triple of torch Datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.core.registry import a_type, importable, resolve
from rfprune.data.dataset import Array
from rfprune.data.formats.arrays import is_used
from rfprune.data.formats.columns import NamedArrays
from rfprune.errors import DataError, RfpruneError, UnknownNameError

if TYPE_CHECKING:
    from torch.utils.data import Dataset as TorchDataset

__all__ = ["call_function", "from_mapping", "from_parts"]

#: Which part each of two or three torch Datasets is.
_PARTS = {2: ("train", "test"), 3: ("train", "val", "test")}
_ALLOWED = (
    "a dict of arrays (x_train, y_train, ...), or a pair (train, test) or triple (train, "
    "validation, test) of torch Datasets"
)


def call_function(name: str, args: Mapping[str, Any], base_dir: Path | None) -> NamedArrays:
    """Call ``package.module:make`` and return the arrays that it makes.

    Args:
        name: of the function.
        args: its keyword arguments.
        base_dir: folder of the file that names it, where its module is looked for first.

    Raises:
        UnknownNameError: it cannot be imported.
        DataError: it raised, or returned something else than data.
    """
    where = f"data.function: {name}"
    with importable(base_dir):
        try:
            function = resolve(name)
        except UnknownNameError as error:
            raise UnknownNameError(f"data.function: {error}") from None
        if not callable(function):
            raise DataError(f"{where} is {a_type(function)}, not a function.")
        try:
            made = function(**args)
            # Rows of a torch Dataset are made by the user's code too.
            return _arrays(name, made)
        except RfpruneError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{where} raised {type(error).__name__}: {reason}.") from error


def _arrays(name: str, made: Any) -> NamedArrays:
    where = f"data.function: {name}"
    if isinstance(made, Mapping):
        return from_mapping(where, made)
    is_group = isinstance(made, tuple | list) and len(made) in _PARTS
    if not is_group or not all(
        hasattr(part, "__getitem__") or hasattr(part, "__iter__") for part in made
    ):
        kind = "nothing (None)" if made is None else f"{a_type(made)}"
        if isinstance(made, tuple | list):
            kind += f" of {len(made)} ({', '.join(type(part).__name__ for part in made[:4])})"
        raise DataError(f"{where} returned {kind}; allowed is {_ALLOWED}.")
    return from_parts(where, made)


def from_parts(where: str, made: Sequence[Any]) -> NamedArrays:
    """Return the arrays of two or three torch Datasets: train and test, or validation between.

    Args:
        where: they come from, for messages.
        made: the Datasets.

    Raises:
        DataError: one of them has no length, no rows, or rows of another kind.
    """
    found = NamedArrays()
    for part, rows in zip(_PARTS[len(made)], made, strict=True):
        if (
            isinstance(rows, np.ndarray)
            or not hasattr(rows, "__getitem__")
            or not hasattr(rows, "__len__")
        ):
            raise DataError(
                f"{where}: the {part} part is {a_type(rows)}; allowed are torch Datasets "
                "with a length, or return a dict of arrays."
            )
        found.arrays |= _rows_of(f"{where}: the {part} part", part, rows)
    return found


def from_mapping(where: str, made: Mapping[Any, Any]) -> NamedArrays:
    """Return arrays by name: numpy arrays, torch tensors, or lists of numbers.

    Args:
        where: they come from, for messages.
        made: by name; what has no meaning is left out.

    Raises:
        DataError: a value that is no array.
    """
    found = NamedArrays()
    for name, value in made.items():
        if isinstance(name, str) and is_used(name):
            found.arrays[name] = _array(f"{where}: '{name}'", value)
        else:
            found.left.append(str(name))
    return found


def _array(where: str, value: Any) -> Array:
    if value is None:
        raise DataError(f"{where} is None; allowed is an array. Leave out what is not there.")
    # A torch tensor, which may be on a GPU and have a graph.
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} is not an array ({error}).") from error
    if array.dtype.kind == "O":
        raise DataError(f"{where} holds Python objects; allowed are numbers, or text of classes.")
    return array


def _rows_of(where: str, part: str, rows: TorchDataset[Any]) -> dict[str, Array]:
    """Return x, y and, where rows have three parts, w, of every row of a torch Dataset."""
    items = [rows[i] for i in range(len(rows))]  # type: ignore[arg-type]
    if not items:
        raise DataError(f"{where} has no rows.")
    first = items[0]
    if not isinstance(first, tuple | list) or len(first) not in (2, 3):
        kind = type(first).__name__
        size = f" of {len(first)}" if isinstance(first, tuple | list) else ""
        raise DataError(
            f"{where}: row 0 is a {kind}{size}; allowed is (features, target) or (features, "
            "target, weight)."
        )
    found: dict[str, Array] = {}
    for letter, values in zip("xyw", zip(*items, strict=True), strict=False):
        if isinstance(values[0], Mapping):
            for own in values[0]:
                found[f"{letter}_{part}_{own}"] = _stacked(where, letter, [v[own] for v in values])
        else:
            found[f"{letter}_{part}"] = _stacked(where, letter, values)
    return found


def _stacked(where: str, letter: str, values: Sequence[Any]) -> Array:
    what = {"x": "features", "y": "target", "w": "weight"}[letter]
    arrays = [_array(f"{where}: the {what} of row {i}", value) for i, value in enumerate(values)]
    other = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if other is not None:
        raise DataError(
            f"{where}: the {what} of row {other} has shape {arrays[other].shape}, of row 0 "
            f"{arrays[0].shape}; they must be equal."
        )
    return np.stack(arrays)
