"""Data that are handed over in Python, as files that every worker can read.

Arrays become one ``.npy`` file each in a folder, tables one ``.parquet`` file, named by their
content: the same data give the same name, so that a sweep continues with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rfprune.core.registry import a_type, nearest
from rfprune.data.formats.arrays import is_used
from rfprune.data.formats.functions import from_mapping
from rfprune.data.spec import DataSpec
from rfprune.errors import DataError, SpecError

__all__ = ["write_data"]

_FORMS = (
    "the name of a data set or file, a dict of arrays (x_train, y_train, ...), a pair (x, y), four "
    "arrays (x_train, y_train, x_test, y_test), a pandas DataFrame, a pair (DataFrame, target), or "
    "a function that makes one of these"
)


def write_data(data: Any, folder: Path, is_object: Callable[[Any], bool]) -> dict[str, Any]:
    """Return the ``data:`` section for what was handed over; arrays are written into `folder`.

    Args:
        data: see `rfprune.sweep`.
        folder: for the files.
        is_object: whether a value is a function or the like, which stays what it is.

    Raises:
        DataError: it is none of the forms, or an array holds objects.
    """
    if isinstance(data, DataSpec):
        return data.model_dump(mode="json", exclude_none=True)
    if isinstance(data, str | Path):
        return _named(str(data))
    if _is_frame(data):
        return {"file": _write_frame(data, folder)}
    if isinstance(data, Mapping):
        # A recorded section writes out what is not set.
        return _of_mapping({k: v for k, v in data.items() if v is not None}, folder)
    if isinstance(data, tuple | list):
        return _of_tuple(tuple(data), folder)
    if is_object(data):
        return {"function": data}
    raise DataError(f"data: is of type {type(data).__name__}. Allowed: {_FORMS}.")


def _named(text: str) -> dict[str, Any]:
    from rfprune.data.sets.named import DATASETS

    if ":" in text and not Path(text).exists():
        return {"function": text}
    return {"name": text} if text in DATASETS else {"file": text}


def _is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "to_parquet")


def _of_mapping(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the section of a mapping: keys of the section, arrays by name, or both."""
    frame = data.pop("frame", None)
    if frame is not None:
        if not _is_frame(frame):
            raise DataError(f"data.frame: is {a_type(frame)}. Allowed: a pandas DataFrame.")
        return {**data, "file": _write_frame(frame, folder)}
    keys = set(DataSpec.model_fields)
    arrays = {name: value for name, value in data.items() if name not in keys or is_used(name)}
    # `classes` is a key of the section and an array of names; numbers are the key.
    arrays = {n: v for n, v in arrays.items() if n not in keys or not _is_choice(v)}
    if not arrays:
        return data
    rest = {name: value for name, value in data.items() if name not in arrays}
    unknown = [name for name in arrays if not is_used(name)]
    if unknown:
        raise SpecError(
            f"data: '{unknown[0]}' is neither a key of the section nor an array that is used."
            f"{nearest(unknown[0], [*_ARRAYS, *keys])} Allowed: x_train, y_train, x_val, y_val, "
            f"x_test, y_test, w_train, ..., and the keys {', '.join(sorted(keys))}."
        )
    return {**rest, "file": _write_arrays(arrays, folder)}


#: Names of arrays, for the nearest one to a misspelled name.
_ARRAYS = tuple(f"{kind}_{part}" for kind in "xyw" for part in ("train", "val", "test"))


def _is_choice(value: Any) -> bool:
    return isinstance(value, int) or (
        isinstance(value, list | tuple) and all(isinstance(each, int) for each in value)
    )


def _of_tuple(data: tuple[Any, ...], folder: Path) -> dict[str, Any]:
    if len(data) == 2 and _is_frame(data[0]):
        frame, target = data
        if isinstance(target, str):
            return {"file": _write_frame(frame, folder), "target": target}
        name = str(getattr(target, "name", None) or "label")
        return {"file": _write_frame(frame.assign(**{name: target}), folder), "target": name}
    if len(data) in (2, 3) and all(hasattr(part, "__getitem__") for part in data):
        if all(hasattr(part, "dtype") or isinstance(part, list) for part in data):
            return {"file": _write_arrays(dict(zip(_ROWS, data, strict=False)), folder)}
        # Torch Datasets: train and test, or train, validation and test.
        from rfprune.data.formats.functions import from_parts

        return {"file": _write_arrays(dict(from_parts("data", data).arrays), folder)}
    if len(data) == 4:
        names = ("x_train", "y_train", "x_test", "y_test")
        return {"file": _write_arrays(dict(zip(names, data, strict=True)), folder)}
    raise DataError(f"data: is {a_type(data)} of {len(data)} values. Allowed: {_FORMS}.")


#: Rows that are split here: features, target and, where there are three, weights.
_ROWS = ("x_train", "y_train", "w_train")


def _write_arrays(given: Mapping[str, Any], folder: Path) -> str:
    arrays = from_mapping("data", given).arrays
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        flat = np.ascontiguousarray(array)
        digest.update(f"{name} {flat.dtype.str} {flat.shape}".encode())
        # As bytes: arrays of text have no buffer of their own.
        digest.update(flat.reshape(-1).view(np.uint8).data)
    place = folder / f"data_{digest.hexdigest()[:12]}"
    place.mkdir()
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", np.asarray(array), allow_pickle=False)
    return place.name


def _write_frame(frame: Any, folder: Path) -> str:
    import pandas

    columns = [str(name) for name in frame.columns]
    values = pandas.util.hash_pandas_object(frame, index=False).to_numpy()
    digest = hashlib.sha256("\n".join(columns).encode() + values.tobytes()).hexdigest()
    path = folder / f"data_{digest[:12]}.parquet"
    frame.rename(columns=str).to_parquet(path, index=False)
    return path.name
