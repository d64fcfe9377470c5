"""What a data set must fulfil; each fault is a `DataError` that names file, array and row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rfprune.data.dataset import Array, RawData
from rfprune.errors import DataError

__all__ = ["check", "encode_text_labels"]

_NUMBERS = "biuf"
_LARGEST = float(np.finfo(np.float32).max)


def check(raw: RawData) -> int:
    """Check every array and return the number of classes.

    Raises:
        DataError: the first fault found.
    """
    for part in ("train", "test"):
        if f"x_{part}" in raw.parts():
            _check_features(raw, f"x_{part}")
            _check_pair(raw, part)
    if raw.x_test is not None and raw.x_test.shape[1:] != raw.x_train.shape[1:]:
        raise DataError(
            f"{raw.source}: a row of x_test has shape {raw.x_test.shape[1:]}, a row of x_train "
            f"{raw.x_train.shape[1:]}; they must be equal."
        )
    return _check_classes(raw)


def encode_text_labels(raw: RawData) -> RawData:
    """Replace class names in the labels by their numbers in alphabetical order.

    Raises:
        DataError: the test part has a class that the training part has not.
    """
    if raw.y_train.dtype.kind != "U" or raw.y_train.ndim != 1:
        return raw
    names, y_train = np.unique(raw.y_train, return_inverse=True)
    y_test = raw.y_test
    if y_test is not None:
        if y_test.dtype.kind != "U":
            raise DataError(
                f"{raw.source}: y_test is of type {y_test.dtype}, but y_train holds text; both "
                "must be of one kind."
            )
        foreign = np.flatnonzero(~np.isin(y_test, names))
        if len(foreign):
            raise DataError(
                f"{raw.source}: row {foreign[0]} of y_test has the class '{y_test[foreign[0]]}', "
                f"which y_train has not; its classes are {', '.join(names)}."
            )
        y_test = np.searchsorted(names, y_test)
    titles = tuple(str(name) for name in names)
    return replace(raw, y_train=y_train, y_test=y_test, class_names=titles)


def _check_features(raw: RawData, name: str) -> None:
    x = raw.parts()[name]
    where = f"{raw.source}: {name}"
    if x.dtype.kind not in _NUMBERS:
        raise DataError(f"{where} is of type {x.dtype}; allowed are real numbers.")
    if x.ndim < 2 or x.ndim > 4 or 0 in x.shape:
        raise DataError(
            f"{where} has shape {x.shape}; allowed are rows of features (N, F), sequences "
            "(N, C, L) or images (N, C, H, W), none of them empty."
        )
    if x.dtype.kind != "f":
        return
    bad = ~np.isfinite(x)
    if bad.any():
        raise DataError(
            f"{where} holds {int(bad.sum())} values that are NaN or infinite, the first in row "
            f"{_first_row(bad)}; every value must be finite."
        )
    if x.dtype.itemsize > 4 and np.abs(x).max() > _LARGEST:
        large = np.abs(x) > _LARGEST
        raise DataError(
            f"{where} holds {int(large.sum())} values beyond float32's {_LARGEST:.3g}, the first "
            f"in row {_first_row(large)}; rescale them."
        )


def _check_pair(raw: RawData, part: str) -> None:
    x, y = raw.parts()[f"x_{part}"], raw.parts()[f"y_{part}"]
    where = f"{raw.source}: y_{part}"
    if y.ndim != 1:
        raise DataError(f"{where} has shape {y.shape}; allowed is ({len(x)},), one class per row.")
    if len(y) != len(x):
        raise DataError(f"{where} has {len(y)} rows, but x_{part} has {len(x)}; they must agree.")
    if y.dtype.kind not in "biu":
        raise DataError(
            f"{where} is of type {y.dtype}; labels must be integers 0..n_classes-1 (or all text)."
        )
    negative = np.flatnonzero(y < 0)
    if len(negative):
        raise DataError(
            f"{where} has {len(negative)} negative labels, the first in row {negative[0]} "
            f"({y[negative[0]]}); labels must be 0..n_classes-1."
        )


def _check_classes(raw: RawData) -> int:
    present = np.unique(raw.y_train)
    n_classes = int(present[-1]) + 1
    if len(present) < 2:
        raise DataError(
            f"{raw.source}: y_train has the one class {present[0]}; at least two are needed."
        )
    if len(present) < n_classes:
        gap = int(np.flatnonzero(present != np.arange(len(present)))[0])
        raise DataError(
            f"{raw.source}: y_train has labels up to {n_classes - 1}, but none is {gap}; labels "
            "must be 0..n_classes-1 without gaps."
        )
    if raw.y_test is not None and int(raw.y_test.max()) >= n_classes:
        row = int(np.flatnonzero(raw.y_test >= n_classes)[0])
        raise DataError(
            f"{raw.source}: row {row} of y_test has label {raw.y_test[row]}; y_train has classes "
            f"0..{n_classes - 1}."
        )
    if raw.class_names is not None and len(raw.class_names) != n_classes:
        raise DataError(
            f"{raw.source}: {len(raw.class_names)} class names for {n_classes} classes."
        )
    return n_classes


def _first_row(bad: Array) -> int:
    """Return the first row (axis 0) that holds a True."""
    return int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])
