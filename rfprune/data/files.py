"""Readers of the user's own files: .npz, .parquet, or a folder with two .parquet files.

Nothing is ever unpickled: an array of Python objects is an error.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfprune.data.dataset import Array, RawData
from rfprune.errors import DataError
from rfprune.registry import nearest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_file", "read_npz", "read_parquet"]

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_CLASS_NAMES = ("class_names", "classes")
_DEFAULT_LABEL = "label"


def read_file(path: Path, label_column: str | None) -> RawData:
    """Read a user's file or folder by its kind.

    Raises:
        DataError: another kind of file, an unreadable one, or missing arrays or columns.
    """
    if path.is_dir() or path.suffix == ".parquet":
        return read_parquet(path, label_column or _DEFAULT_LABEL)
    if path.suffix != ".npz":
        raise DataError(
            f"{path}: unknown kind of data file '{path.suffix}'; allowed are .npz, .parquet and a "
            "folder with train.parquet and test.parquet."
        )
    if label_column is not None:
        raise DataError(f"data.label_column: {path} is an .npz file and has no columns.")
    return read_npz(path)


def read_npz(path: Path) -> RawData:
    """Read x_train, y_train and, together or not at all, x_test and y_test.

    An array ``class_names`` (or ``classes``) of strings gives the names; others are left alone.

    Raises:
        DataError: no readable archive, a missing array, or one of Python objects.
    """
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(f"{path}: a single array (.npy), not an .npz archive of several.")
            with archive:
                return _from_arrays(path, archive)
    except DataError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a readable .npz archive ({error}).") from error


def _from_arrays(path: Path, archive: np.lib.npyio.NpzFile) -> RawData:
    names = archive.files
    needed = _ARRAYS if any(name in names for name in ("x_test", "y_test")) else _ARRAYS[:2]
    for name in needed:
        if name not in names:
            raise DataError(
                f"{path}: array '{name}' is missing.{_found(name, names)} Needed are x_train and "
                "y_train, and x_test with y_test unless a test part is to be cut off."
            )
    arrays = {name: _array(path, archive, name) for name in needed}
    titles = [_array(path, archive, name) for name in _CLASS_NAMES if name in names]
    text = [title for title in titles if title.ndim == 1 and title.dtype.kind == "U"]
    return RawData(
        source=str(path),
        x_train=arrays["x_train"],
        y_train=arrays["y_train"],
        x_test=arrays.get("x_test"),
        y_test=arrays.get("y_test"),
        class_names=tuple(str(name) for name in text[0]) if text else None,
    )


def _array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> Array:
    try:
        array: Array = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: array '{name}' holds Python objects, which would have to be unpickled; "
            "save it as numbers (np.asarray(..., dtype=np.float32) or an integer dtype)."
        ) from error
    return array


def read_parquet(path: Path, label_column: str) -> RawData:
    """Read one .parquet file, or the train.parquet and test.parquet of a folder.

    Every column but ``label_column`` is a feature. Both files hold the same columns.

    Raises:
        DataError: no readable file, a missing or foreign column, or one that holds no numbers.
    """
    if not path.is_dir():
        x, y, _ = _read_table(path, label_column, None)
        return RawData(source=str(path), x_train=x, y_train=y)
    if not (path / "train.parquet").is_file():
        raise DataError(f"{path}: a folder without train.parquet (and, optionally, test.parquet).")
    x_train, y_train, columns = _read_table(path / "train.parquet", label_column, None)
    if not (path / "test.parquet").is_file():
        return RawData(source=str(path), x_train=x_train, y_train=y_train)
    x_test, y_test, _ = _read_table(path / "test.parquet", label_column, columns)
    return RawData(str(path), x_train, y_train, x_test, y_test)


def _read_table(
    path: Path, label_column: str, columns: list[str] | None
) -> tuple[Array, Array, list[str]]:
    """Return features (N, F), labels (N,) and the feature columns, in the order ``columns``."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable .parquet file ({error}).") from error
    names = table.column_names
    features = [name for name in names if name != label_column] if columns is None else columns
    for name in [label_column, *features]:
        if name not in names:
            raise DataError(
                f"{path}: column '{name}' is missing.{_found(name, names)} "
                "The column of the class is set by data.label_column."
            )
    extra = [name for name in names if name not in features and name != label_column]
    if extra:
        raise DataError(f"{path}: column '{extra[0]}' is not in the training file.")
    if not features:
        raise DataError(f"{path}: no feature column beside '{label_column}'.")
    x = np.column_stack([_numbers(path, table, name) for name in features])
    return x, _labels(path, table, label_column), features


def _numbers(path: Path, table: pa.Table, name: str) -> Array:
    from pyarrow import types

    kind = table.schema.field(name).type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise DataError(
            f"{path}: column '{name}' is of type {kind}; a feature must be a number. Encode it as "
            "numbers, or drop it."
        )
    values = table[name].cast("float64") if types.is_boolean(kind) else table[name]
    return np.asarray(values.to_numpy(), dtype=np.float64)


def _labels(path: Path, table: pa.Table, name: str) -> Array:
    from pyarrow import types

    column = table[name]
    if column.null_count:
        raise DataError(f"{path}: column '{name}' has {column.null_count} empty cells.")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values: Array = column.to_numpy()
    return values.astype(str) if values.dtype == object else values


def _found(name: str, names: list[str]) -> str:
    others = [other for other in names if other not in _ARRAYS]
    return nearest(name, others) + f" Found: {', '.join(names) or 'nothing'}."
