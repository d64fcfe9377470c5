"""From the columns of tables to named arrays: which are features, targets and weights.

``data.features`` names columns or patterns, in the order in which the network gets them. Columns of
one number per row become (N, F). Columns of lists become sequences (N, C, L): a channel per column,
lists of several lengths padded with zeros to ``data.pad_to``. What is not named is not used.
"""

from __future__ import annotations

import fnmatch
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from rfprune.core.registry import nearest
from rfprune.data.dataset import PARTS, Array
from rfprune.data.spec import DataSpec
from rfprune.data.stored.features import RowSource, Stored, is_streamed
from rfprune.errors import DataError

__all__ = ["Column", "Lists", "NamedArrays", "Table", "read_tables"]

_DEFAULT_TARGET = "label"
_SHOWN = 12


@dataclass(frozen=True)
class Lists:
    """A column of lists of several lengths.

    Attributes:
        values: (sum of lengths,) of all rows, one after the other.
        lengths: (N,) of each row's list.
    """

    values: Array
    lengths: Array


#: One number, text or fixed shape per row, or a list per row.
Column: TypeAlias = Array | Lists


class Table(ABC):
    """The columns of a file, read one at a time.

    Attributes:
        path: the file.
        where: the file, and what in it, for messages.
        names: of its columns, in the order of the file.
        rows: how many there are, where that is known without reading; else 0.
        piece: rows that the file holds together.
    """

    path: Path
    where: str
    names: Sequence[str]
    rows: int = 0
    piece: int = 1

    @abstractmethod
    def read(self, name: str) -> Column:
        """Return one column: numbers or text (N, ...), or lists.

        Raises:
            DataError: it holds something else, or cannot be read.
        """

    def source(self, names: Sequence[str]) -> RowSource | None:
        """Return columns that can be read in ranges of rows; None if they must be read whole."""
        return None

    def piece_at(self, row: int) -> tuple[int, int]:
        """Return the range of rows that the file holds together with `row`."""
        raise NotImplementedError

    def read_range(self, name: str, start: int, stop: int) -> Array:
        """Return some rows of a column that `source` takes."""
        raise NotImplementedError


@dataclass
class NamedArrays:
    """What was found in a user's file, by the names of `rfprune.data.formats.arrays`.

    Attributes:
        arrays: by name: ``x_train``, ``y_train``, ...
        left: names of what was there and is not used.
        notes: what was done to what is used, one sentence each.
        columns: of the features, by input; with an empty name where there is only one.
    """

    arrays: dict[str, Array | Stored] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_tables(tables: dict[str, Table], spec: DataSpec) -> NamedArrays:
    """Return features, targets and weights of each part.

    Args:
        tables: by part; the columns of ``train`` decide which are used.
        spec: names the columns.

    Raises:
        DataError: a column is missing, named twice, or not what it is used for.
    """
    train = tables["train"]
    # Before columns are looked up by their names.
    _check_unique(train)
    targets = _by_name(spec.target or spec.label_column or _DEFAULT_TARGET)
    weights = [] if spec.weight is None else [spec.weight]
    others = [name for names in targets.values() for name in names] + weights
    inputs = _inputs(train, spec, others)
    found = NamedArrays(columns={name: tuple(columns) for name, columns in inputs.items()})
    used = {*others, *(name for columns in inputs.values() for name in columns)}
    found.left = [name or "a column without a name" for name in train.names if name not in used]
    for part in (part for part in PARTS if part in tables):
        table = tables[part]
        _check_there(table, [*used], spec, all_of="train" if spec.features is None else None)
        for name, columns in inputs.items():
            pad_to = spec.pad_to.get(name) if isinstance(spec.pad_to, dict) else spec.pad_to
            array, notes = _features(table, columns, pad_to, spec.stream)
            found.arrays[f"x_{part}_{name}" if name else f"x_{part}"] = array
            found.notes += notes
        for name, columns in targets.items():
            array = _targets(table, columns, single=_is_single(spec.target, name))
            found.arrays[f"y_{part}_{name}" if name else f"y_{part}"] = array
        if spec.weight is not None:
            found.arrays[f"w_{part}"] = _numbers(table, spec.weight, "a weight")
    return found


def _by_name(
    target: str | Sequence[str] | dict[str, str | tuple[str, ...]],
) -> dict[str, list[str]]:
    """Return the columns of each head; an empty name where there is only one."""
    if isinstance(target, dict):
        return {head: _by_name(columns)[""] for head, columns in target.items()}
    return {"": [target] if isinstance(target, str) else list(target)}


def _is_single(target: object, head: str) -> bool:
    """Return whether a target is one column by name, which stays (N,), and not a list of one."""
    return not isinstance(target.get(head) if isinstance(target, dict) else target, tuple)


def _inputs(train: Table, spec: DataSpec, others: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns of each input; an empty name where there is only one."""
    for name in others:
        _check_there(train, [name], spec)
    if len(set(others)) < len(others):
        twice = next(name for name in others if list(others).count(name) > 1)
        raise DataError(f"data.target: the column '{twice}' is named twice.")
    if spec.features is None:
        # All but what is the answer: nobody has to list forty columns.
        rest = [name for name in train.names if name not in others and name]
        if not rest:
            raise DataError(f"{train.where}: has no feature column besides '{others[0]}'.")
        return {"": rest}
    wanted = spec.features if isinstance(spec.features, dict) else {"": spec.features}
    return {
        name: _matching(
            train, patterns, others, f"data.features.{name}" if name else "data.features"
        )
        for name, patterns in wanted.items()
    }


def _matching(table: Table, patterns: Sequence[str], others: Sequence[str], key: str) -> list[str]:
    """Return the columns that names and patterns stand for, in their order, each once."""
    found: dict[str, str] = {}
    for pattern in patterns:
        if pattern in table.names:
            if pattern in others:
                raise DataError(
                    f"{key}: '{pattern}' is the target or weight too; a network that is given the "
                    "answer learns nothing."
                )
            # Twice by name is a slip; by name and by a pattern is meant: the name says where it
            # goes first.
            if found.get(pattern) == pattern:
                raise DataError(f"{key}: the column '{pattern}' is named twice.")
            found.setdefault(pattern, pattern)
            continue
        hits = [n for n in fnmatch.filter(table.names, pattern) if n and n not in others]
        if not hits:
            raise DataError(
                f"{key}: '{pattern}' matches no column of {table.where}."
                f"{nearest(pattern, table.names)} {_list_of(table.names)}"
            )
        for name in hits:
            # A column that several patterns match stands where the first of them put it.
            found.setdefault(name, pattern)
    return list(found)


def _list_of(names: Sequence[str]) -> str:
    shown = ", ".join(name or "''" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"Found: {shown or 'nothing'}{more}."


def _check_unique(table: Table) -> None:
    seen: set[str] = set()
    for name in table.names:
        if name in seen:
            raise DataError(f"{table.where}: has two columns '{name}'; rename one.")
        seen.add(name)


def _check_there(
    table: Table, names: Sequence[str], spec: DataSpec, all_of: str | None = None
) -> None:
    """Check that a table has columns and, where all of another's are features, no others."""
    for name in names:
        if name not in table.names:
            key = (
                ""
                if spec.target or spec.features
                else (" The column of the class is set by data.target.")
            )
            raise DataError(
                f"{table.where}: column '{name}' is missing.{nearest(name, table.names)} "
                f"{_list_of(table.names)}{key}"
            )
    extra = [name for name in table.names if name and name not in names]
    if all_of and extra:
        raise DataError(f"{table.where}: column '{extra[0]}' is not in the training file.")


def _features(
    table: Table, names: Sequence[str], pad_to: int | None, stream: object
) -> tuple[Array | Stored, list[str]]:
    """Return (N, F) of numbers, (N, C, L) of lists, or the one array that a column holds."""
    # Lists have to be padded, which needs all of them.
    source = None if pad_to is not None else table.source(names)
    if source is not None and is_streamed(stream, source.shape):
        return Stored.all_of(source), []
    if stream is True:
        raise DataError(
            f"data.stream: {table.where} cannot be read in parts; allowed are .npy, .h5 and "
            ".parquet files with features of one shape."
        )
    columns = {name: table.read(name) for name in names}
    for name, column in columns.items():
        _check_numbers(table, name, column.values if isinstance(column, Lists) else column)
    notes: list[str] = []
    if any(isinstance(column, Lists) for column in columns.values()):
        columns, notes = _padded(table, columns, pad_to)
    elif pad_to is not None:
        raise DataError(f"data.pad_to: {table.where} has no column of lists; remove the key.")
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    _check_alike(table, arrays)
    if all(array.ndim == 1 for array in arrays.values()):
        # float64 holds every number of every column, and rows of a file hash as they always have.
        return np.column_stack([array.astype(np.float64) for array in arrays.values()]), notes
    # A column that holds vectors is the input as it is.
    if len(arrays) == 1 and not notes:
        return next(iter(arrays.values())), notes
    return np.stack(list(arrays.values()), axis=1), notes


def _check_alike(table: Table, arrays: dict[str, Array]) -> None:
    """Check that columns have equal rows and shapes."""
    (first, like), *rest = arrays.items()
    for name, array in rest:
        if len(array) != len(like):
            raise DataError(
                f"{table.where}: '{name}' has {len(array):,} rows, '{first}' {len(like):,}; "
                "they must agree."
            )
        if array.shape != like.shape:
            raise DataError(
                f"{table.where}: a row of '{name}' has shape {array.shape[1:]}, of '{first}' "
                f"{like.shape[1:]}; numbers and lists cannot be one input. Name them as two, e.g. "
                f"features: {{a: [{first}], b: [{name}]}}."
            )


def _padded(
    table: Table, columns: dict[str, Column], pad_to: int | None
) -> tuple[dict[str, Column], list[str]]:
    """Return lists as (N, L), and how."""
    lists = {name: column for name, column in columns.items() if isinstance(column, Lists)}
    (first, like), *rest = lists.items()
    for name, column in rest:
        if len(column.lengths) != len(like.lengths):
            raise DataError(
                f"{table.where}: '{name}' has {len(column.lengths):,} rows, '{first}' "
                f"{len(like.lengths):,}; they must agree."
            )
        other = np.flatnonzero(column.lengths != like.lengths)
        if len(other):
            row = other[0]
            raise DataError(
                f"{table.where}: in row {row} '{name}' is a list of {column.lengths[row]}, "
                f"'{first}' one of {like.lengths[row]}; columns of one input must agree. Name them "
                f"as two inputs, e.g. features: {{a: [{first}], b: [{name}]}}."
            )
    longest = int(like.lengths.max(initial=0))
    if pad_to is None:
        raise DataError(
            f"data.pad_to: is needed, as '{first}' of {table.where} holds lists of up to {longest} "
            "values, and a network takes equally many of every row. Longer lists are cut, shorter "
            "ones filled with 0."
        )
    cut = int((like.lengths > pad_to).sum())
    said = f"{cut:,} of {len(like.lengths):,} rows are longer and are cut" if cut else "none is cut"
    note = (
        f"{table.where}: {', '.join(lists)}: lists of up to {longest} values, filled with 0 to "
        f"{pad_to} ({said})."
    )
    return {
        name: _filled(column, pad_to) if isinstance(column, Lists) else column
        for name, column in columns.items()
    }, [note]


def _filled(column: Lists, length: int) -> Array:
    """Return (N, length): each list cut to it, or filled with zeros."""
    kept = np.minimum(column.lengths, length)
    starts = np.cumsum(column.lengths) - column.lengths
    row = np.repeat(np.arange(len(kept)), kept)
    # 0, 1, ... within each row, without a loop over rows.
    place = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
    out = np.zeros((len(kept), length), dtype=column.values.dtype)
    out[row, place] = column.values[np.repeat(starts, kept) + place]
    return out


def _targets(table: Table, names: Sequence[str], single: bool) -> Array:
    """Return (N,) of one column, or (N, K) of several."""
    if single:
        column = _flat(table, names[0], "a target")
        _check_no_gaps(table, names[0], column)
        return column
    return np.column_stack([_numbers(table, name, "one of several targets") for name in names])


def _numbers(table: Table, name: str, what: str) -> Array:
    """Return a column (N,) of numbers."""
    column = _flat(table, name, what)
    _check_numbers(table, name, column)
    _check_no_gaps(table, name, column)
    return column


def _flat(table: Table, name: str, what: str) -> Array:
    column = table.read(name)
    if isinstance(column, Lists):
        raise DataError(f"{table.where}: column '{name}' holds lists; {what} is one value per row.")
    return column


def _check_no_gaps(table: Table, name: str, column: Array) -> None:
    if column.dtype.kind == "f" and (gaps := np.isnan(column)).any():
        raise DataError(
            f"{table.where}: column '{name}' has {int(gaps.sum())} empty cells or NaN, the first "
            f"in row {int(np.flatnonzero(gaps)[0])}."
        )


def _check_numbers(table: Table, name: str, values: Array) -> None:
    if values.dtype.kind in "biuf":
        return
    example = next(iter(_no_numbers(values)), None)
    shown = "" if example is None else f" ('{example[1]}' in row {example[0]})"
    raise DataError(
        f"{table.where}: column '{name}' holds {_kind(values)}{shown}; a feature or weight must be "
        "a number. Encode it as numbers, or name the columns to use in data.features."
    )


def _no_numbers(values: Array) -> Iterator[tuple[int, str]]:
    """Yield row and text of each cell that is no number."""
    for row, value in enumerate(values.reshape(-1) if values.dtype.kind == "U" else []):
        try:
            float(value)
        except ValueError:
            yield row, str(value)


def _kind(values: Array) -> str:
    return "text" if values.dtype.kind == "U" else f"values of type {values.dtype}"
