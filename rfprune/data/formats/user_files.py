"""Data of the user's own, by kind: arrays or tables in files or folders, or a function.

Nothing is ever unpickled: an array of Python objects is an error.
"""

from __future__ import annotations

from pathlib import Path

from rfprune.data.dataset import PARTS
from rfprune.data.formats.array_files import (
    hdf5_holds_arrays,
    npy_files,
    read_hdf5,
    read_npy,
    read_npz_arrays,
)
from rfprune.data.formats.columns import NamedArrays, read_tables
from rfprune.data.formats.table_files import TABLE_SUFFIXES, open_table
from rfprune.data.spec import DataSpec
from rfprune.errors import DataError

__all__ = ["data_files_of", "read_file", "table_files"]

_OF_COLUMNS = ("label_column", "features", "target", "weight", "pad_to")


def read_file(path: Path, spec: DataSpec) -> NamedArrays:
    """Read a user's file or folder by its kind.

    Args:
        path: the file, or a folder with tables or arrays.
        spec: names what is used of it.

    Raises:
        DataError: another kind of file, an unreadable one, or missing arrays or columns.
        MissingExtraError: a .root file, and uproot is not installed.
    """
    kind = _kind(path)
    for key, wanted in (("tree", ".root"), ("group", ".h5")):
        if getattr(spec, key) is not None and kind != wanted:
            raise DataError(
                f"data.{key}: is of {wanted} files, and {path} is none; remove the key."
            )
    if kind == ".h5" and not path.is_dir() and hdf5_holds_arrays(path, spec.group):
        kind = ".h5 arrays"
    if kind in (".npz", ".npy", ".h5 arrays"):
        for key in _OF_COLUMNS:
            if getattr(spec, key) is not None:
                raise DataError(f"data.{key}: {path} holds arrays by name and has no columns.")
    if kind == ".npz":
        if spec.stream is True:
            raise DataError(
                f"data.stream: {path} is an .npz archive, which is read whole; save each array as "
                ".npy in a folder, or all of them as .h5."
            )
        return read_npz_arrays(path)
    if kind == ".npy":
        return read_npy(path, spec.stream)
    if kind == ".h5 arrays":
        return read_hdf5(path, spec.group, spec.stream)
    files = table_files(path) if path.is_dir() else {"train": path}
    tables = {part: open_table(file, kind, spec.tree, spec.group) for part, file in files.items()}
    return read_tables(tables, spec)


def _kind(path: Path) -> str:
    """Return how a file or folder is read: an ending."""
    if path.is_dir():
        tables = table_files(path)
        if tables:
            return _suffix(tables["train"])
        if (path / "x_train.npy").is_file() or any(path.glob("x_train_*.npy")):
            return ".npy"
        raise DataError(
            f"{path}: a folder without train.parquet (or .csv, .h5, .root; and, optionally, test "
            "and val), without x_train.npy, and without train/ of images."
        )
    if path.suffix in (".npz", ".npy"):
        return path.suffix
    kind = _suffix(path)
    if not kind:
        raise DataError(
            f"{path}: unknown kind of data file '{path.suffix}'; allowed are .npz, .npy, .parquet, "
            ".csv, .h5, .root, and folders with train and test tables, .npy files or images."
        )
    return kind


def _suffix(path: Path) -> str:
    return next((kind for end, kind in TABLE_SUFFIXES.items() if path.name.endswith(end)), "")


def table_files(path: Path) -> dict[str, Path]:
    """Return the tables of a folder by part: ``train``, and ``val`` and ``test`` if there are.

    Raises:
        DataError: a part is there twice, in two formats.
    """
    found: dict[str, Path] = {}
    for end in TABLE_SUFFIXES:
        for part in PARTS:
            file = path / f"{part}{end}"
            if file.is_file():
                if part in found:
                    raise DataError(f"{path}: has both {found[part].name} and {file.name}.")
                found[part] = file
    kinds = {_suffix(file) for file in found.values()}
    if "train" not in found and found:
        raise DataError(f"{path}: has {next(iter(found.values())).name}, but no training table.")
    if len(kinds) > 1:
        raise DataError(f"{path}: its tables are of several kinds ({', '.join(sorted(kinds))}).")
    return found


def data_files_of(path: Path) -> list[Path]:
    """Return every file that reading a user's file or folder may need."""
    if path.suffix == ".npy":
        return list(npy_files(path).values())
    if not path.is_dir():
        return [path]
    return [*table_files(path).values(), *sorted(path.glob("*.npy"))]
