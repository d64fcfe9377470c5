"""Files of the user's that hold tables: .csv, .parquet, .h5 and .root, each as a `Table`."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.core.registry import nearest
from rfprune.data.dataset import Array
from rfprune.data.formats.columns import Column, Lists, Table
from rfprune.data.stored.features import Hdf5Rows, RowSource, TableRows
from rfprune.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TABLE_SUFFIXES", "Hdf5Table", "open_hdf5", "open_table", "reading"]

_HDF5 = (".h5", ".hdf5", ".hdf")
#: Endings of files that hold one table each, with what they are called in messages.
TABLE_SUFFIXES = {
    ".csv": ".csv",
    ".csv.gz": ".csv",
    ".parquet": ".parquet",
    **dict.fromkeys(_HDF5, ".h5"),
    ".root": ".root",
}
_DELIMITERS = ",;\t|"
#: How much of a .csv file tells what its cells are; a later cell of another kind is an error.
_CSV_BLOCK_BYTES = 1 << 24


def open_table(path: Path, kind: str, tree: str | None, group: str | None) -> Table:
    """Open a file as a table.

    Args:
        path: the file.
        kind: ``.csv``, ``.parquet``, ``.h5`` or ``.root``.
        tree: of a .root file; its only one if not given.
        group: of an .h5 file; the top if not given.

    Raises:
        DataError: another kind of file, a damaged one, or no such tree or group.
        MissingExtraError: a .root file, and uproot is not installed.
    """
    if kind == ".root":
        return _RootTable(path, tree)
    if kind == ".h5":
        return Hdf5Table(path, group)
    return (_ParquetTable if kind == ".parquet" else _CsvTable)(path)


@contextmanager
def reading(path: Path, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn what a library raises while the block reads a file into one sentence."""
    try:
        yield
    except DataError:
        raise  # it is a ValueError too, and complete already
    except (OSError, EOFError, ValueError, KeyError, *errors) as error:  # type: ignore[misc]
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable {kind} file ({reason}).") from error


class _ArrowTable(Table):
    """A table whose columns pyarrow reads."""

    def _column(self, name: str) -> pa.ChunkedArray:
        raise NotImplementedError

    def read(self, name: str) -> Column:
        """Return one column."""
        from pyarrow import types

        column = self._column(name)
        # Categories of pandas: their values count, not their codes.
        if types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind = column.type
        if types.is_list(kind) or types.is_large_list(kind):
            return self._lists(name, column)
        if types.is_fixed_size_list(kind):
            self._check_no_null(name, column)
            values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            return np.asarray(values).reshape(len(column), kind.list_size)
        if types.is_string(kind) or types.is_large_string(kind):
            self._check_no_null(name, column)
            return np.asarray(column.to_numpy()).astype(str)
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise DataError(
                f"{self.where}: column '{name}' is of type {kind}; allowed are numbers, text of "
                "classes, and lists of numbers."
            )
        if column.null_count and not types.is_floating(kind):
            column = column.cast("float64")  # an empty cell becomes NaN, which is refused
        return np.asarray(column.to_numpy())

    def _lists(self, name: str, column: pa.ChunkedArray) -> Column:
        from pyarrow import compute

        self._check_no_null(name, column)
        lengths = np.asarray(compute.list_value_length(column).to_numpy(), np.int64)
        values = np.asarray(compute.list_flatten(column).to_numpy())
        return Lists(values, lengths)

    def _check_no_null(self, name: str, column: pa.ChunkedArray) -> None:
        if column.null_count:
            raise DataError(f"{self.where}: column '{name}' has {column.null_count} empty cells.")


class _ParquetTable(_ArrowTable):
    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.path, self.where = path, str(path)
        self._faults: type[Exception] = pa.ArrowException
        with reading(path, ".parquet", self._faults):
            self._file = parquet.ParquetFile(path)
        self.names = self._file.schema_arrow.names
        facts = self._file.metadata
        self.rows = facts.num_rows
        sizes = [facts.row_group(i).num_rows for i in range(facts.num_row_groups)]
        self._edges = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.piece = max(sizes, default=1)

    def _column(self, name: str) -> pa.ChunkedArray:
        with reading(self.path, ".parquet", self._faults):
            return self._file.read([name])[name]

    def source(self, names: Sequence[str]) -> RowSource | None:
        """Return columns of numbers, or one of vectors."""
        from pyarrow import types

        kinds = [self._file.schema_arrow.field(name).type for name in names]
        if len(kinds) == 1 and types.is_fixed_size_list(kinds[0]):
            return TableRows(self, names, (self.rows, kinds[0].list_size))
        if all(types.is_integer(kind) or types.is_floating(kind) for kind in kinds):
            return TableRows(self, names, (self.rows, len(names)))
        return None

    def piece_at(self, row: int) -> tuple[int, int]:
        """Return the row group that holds a row."""
        group = int(np.searchsorted(self._edges, row, side="right")) - 1
        return int(self._edges[group]), int(self._edges[group + 1])

    def read_range(self, name: str, start: int, stop: int) -> Array:
        """Return a column of one row group."""
        group = int(np.searchsorted(self._edges, start, side="right")) - 1
        with reading(self.path, ".parquet", self._faults):
            column = self._file.read_row_group(group, [name])[name]
        if hasattr(column.type, "list_size"):
            values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            return np.asarray(values).reshape(stop - start, -1)
        return np.asarray(column.to_numpy())


class _CsvTable(_ArrowTable):
    """Cells apart by one of ``, ; | tab``; the first line names the columns."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        self.path, self.where = path, str(path)
        with reading(path, ".csv", pa.ArrowException):
            names, delimiter = _csv_header(path)
            options = arrow_csv.ReadOptions(
                column_names=names, skip_rows=1, block_size=_CSV_BLOCK_BYTES
            )
            parse = arrow_csv.ParseOptions(delimiter=delimiter)
            # Positions stand for names, which need not be unique until they have been checked.
            self._table = arrow_csv.read_csv(path, options, parse)
        self.names = names

    def _column(self, name: str) -> pa.ChunkedArray:
        return self._table.column(self.names.index(name))


def _csv_header(path: Path) -> tuple[list[str], str]:
    """Return the names of the columns and what is between cells."""
    # Opened as it is read whole: pyarrow unpacks by the ending too.
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8-sig") as file:
        line = file.readline()
    # numpy.savetxt puts a '#' in front of its header.
    text = line.lstrip("# ").rstrip("\r\n")
    if not text:
        raise DataError(f"{path}: is empty, or its first line is; it must name the columns.")
    # Names hold few of these characters; the one that occurs most is between them.
    delimiter = max(_DELIMITERS, key=text.count)
    names = [name.strip() for name in next(csv.reader(io.StringIO(text), delimiter=delimiter))]
    if all(_is_number(name) for name in names):
        raise DataError(
            f"{path}: the first line holds numbers ({', '.join(names[:3])}, ...); it must name the "
            "columns."
        )
    return names, delimiter


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Hdf5Table(Table):
    """Data sets of one group, each a column; or the fields of one data set of records."""

    piece = 1 << 16

    def __init__(self, path: Path, group: str | None) -> None:
        self.where = f"{path}:{group}" if group else str(path)
        self.path, self._group = path, group
        with open_hdf5(path) as file, reading(path, ".h5"):
            place = _hdf5_place(path, file, group)
            self._is_records = not hasattr(place, "keys")
            if self._is_records and place.dtype.names is None:
                raise DataError(
                    f"data.group: '{group}' of {path} is a single array of shape {place.shape}; "
                    "allowed is a group, or a data set of records. Name arrays in data.features."
                )
            if not self._is_records and "pandas_type" in place.attrs:
                raise DataError(
                    f"{self.where}: was written by pandas' to_hdf, which keeps columns in a form "
                    "of its own; write it with to_parquet, or each column with h5py."
                )
            self.names = list(place.dtype.names) if self._is_records else _hdf5_names(place)
            if not self.names:
                raise DataError(
                    f"data.group: {self.where} holds no data sets itself, name the group that "
                    f"does. Found: {', '.join(_all_names(place)) or 'nothing'}."
                )

    def read(self, name: str) -> Column:
        """Return one column."""
        with open_hdf5(self.path) as file, reading(self.path, ".h5"):
            place = _hdf5_place(self.path, file, self._group)
            found = place.fields(name)[:] if self._is_records else place[name][()]
            kind = place.dtype[name] if self._is_records else place[name].dtype
        return self._plain(name, np.asarray(found), kind)

    def source(self, names: Sequence[str]) -> RowSource | None:
        """Return columns of numbers, or one array."""
        with open_hdf5(self.path) as file:
            place = _hdf5_place(self.path, file, self._group)
            if self._is_records:
                self.rows = len(place)
                is_number = all(place.dtype[name].kind in "biuf" for name in names)
                return TableRows(self, names, (self.rows, len(names))) if is_number else None
            first = place[names[0]]
            # An array of its own shape is the input as it is.
            if len(names) == 1 and first.dtype.kind in "biuf" and first.ndim > 1:
                return Hdf5Rows(self.path, first.name, first)
            self.rows = len(first) if first.ndim else 0
            columns = [place[name] for name in names]
            if all(c.dtype.kind in "biuf" and c.shape == (self.rows,) for c in columns):
                return TableRows(self, names, (self.rows, len(names)))
        return None

    def piece_at(self, row: int) -> tuple[int, int]:
        """Return rows of about so many as are read at a time."""
        # On a grid, so that neighbouring rows ask for the same piece.
        first = row - row % self.piece
        return first, min(first + self.piece, self.rows)

    def read_range(self, name: str, start: int, stop: int) -> Array:
        """Return some rows of a column."""
        with open_hdf5(self.path) as file, reading(self.path, ".h5"):
            place = _hdf5_place(self.path, file, self._group)
            if self._is_records:
                return np.asarray(place.fields(name)[start:stop])
            return np.asarray(place[name][start:stop])

    def _plain(self, name: str, values: Array, kind: Any) -> Column:
        import h5py

        if values.ndim == 0:
            raise DataError(f"{self.where}: '{name}' is a single value, not one per row.")
        if h5py.check_string_dtype(kind) is not None:
            return np.char.decode(values.astype(bytes), "utf-8")
        if h5py.check_vlen_dtype(kind) is not None:
            lengths = np.array([len(row) for row in values], dtype=np.int64)
            return Lists(np.concatenate([*values, np.zeros(0)]), lengths)
        if values.dtype.kind == "O":
            raise DataError(
                f"{self.where}: '{name}' holds Python objects, which would have to be unpickled."
            )
        return values


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Raises:
        DataError: it is none, or damaged.
    """
    import h5py

    with reading(path, ".h5"):
        file = h5py.File(path, "r")
    with file:
        yield file


def _hdf5_place(path: Path, file: Any, group: str | None) -> Any:
    if group is None:
        return file
    if group not in file:
        raise DataError(
            f"data.group: {path} has no '{group}'.{nearest(group, _all_names(file))} Found: "
            f"{', '.join(_all_names(file)) or 'nothing'}."
        )
    return file[group]


def _all_names(file: Any) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def _hdf5_names(group: Any) -> list[str]:
    return [name for name, item in group.items() if hasattr(item, "dtype")]


class _RootTable(Table):
    """The branches of a TTree, or the fields of an RNTuple."""

    def __init__(self, path: Path, tree: str | None) -> None:
        self.path = path
        try:
            import uproot
        except ImportError as error:
            raise MissingExtraError(
                f"{path}: reading .root files needs uproot: pip install 'rfprune[root]'."
            ) from error
        with self._faults(path):
            self._file = uproot.open(path)
            self._tree = self._file[_only_tree(path, self._file, tree)]
            self.where = f"{path}:{self._tree.name}"
            names = list(self._tree.keys())
        # A record of several fields is none of its own columns.
        self.names = [n for n in names if not any(other.startswith(f"{n}.") for other in names)]

    @staticmethod
    def _faults(path: Path) -> Any:
        from uproot.deserialization import DeserializationError

        return reading(path, ".root", DeserializationError, NotImplementedError, IndexError)

    def read(self, name: str) -> Column:
        """Return one branch."""
        import awkward as ak

        with self._faults(self.path):
            array = self._tree[name].array()
        if array.ndim == 1 and "string" in str(array.type):
            return np.array(array.to_list(), dtype=str)
        try:
            return np.asarray(ak.to_numpy(array, allow_missing=False))
        except ValueError:
            pass
        if array.ndim != 2 or array.fields:
            raise DataError(
                f"{self.where}: branch '{name}' is of type {array.type.content}; allowed are "
                "numbers, and lists of numbers."
            )
        values = np.asarray(ak.to_numpy(ak.flatten(array)))
        return Lists(values, np.asarray(ak.to_numpy(ak.num(array)), np.int64))


def _only_tree(path: Path, file: Any, tree: str | None) -> str:
    """Return the tree that is meant: the one that is named, or the only one."""
    kinds = {name.partition(";")[0]: kind for name, kind in file.classnames().items()}
    trees = [name for name, kind in kinds.items() if kind in ("TTree", "ROOT::RNTuple", "TNtuple")]
    found = f"Found: {', '.join(trees) or 'none'}."
    if tree is not None:
        if tree not in trees:
            raise DataError(
                f"data.tree: {path} has no tree '{tree}'.{nearest(tree, trees)} {found}"
            )
        return tree
    if len(trees) != 1:
        raise DataError(f"data.tree: is needed, as {path} holds {len(trees)} trees. {found}")
    only: str = trees[0]
    return only
