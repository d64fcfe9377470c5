"""A part of the classes of a data set, numbered anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rfprune.data.dataset import Array, RawData
from rfprune.errors import DataError

__all__ = ["chosen_classes", "rows_of", "select_classes"]


def chosen_classes(wanted: int | Sequence[int] | None, n_classes: int, source: str) -> list[int]:
    """Return the numbers of the classes that ``data.classes`` asks for, in its order.

    Args:
        wanted: how many from the first on, their numbers, or None for all.
        n_classes: classes of the data.
        source: for the message.

    Raises:
        DataError: more classes, or other numbers, than there are.
    """
    if wanted is None:
        return list(range(n_classes))
    if isinstance(wanted, int):
        if wanted > n_classes:
            raise DataError(
                f"data.classes: {wanted}, but {source} has {n_classes} classes; at most all of "
                "them."
            )
        return list(range(wanted))
    foreign = [number for number in wanted if number >= n_classes]
    if foreign:
        raise DataError(
            f"data.classes: {foreign[0]} is no class of {source}; allowed are 0 to {n_classes - 1}."
        )
    return list(wanted)


def rows_of(y: Array, classes: Sequence[int]) -> tuple[Array, Array]:
    """Return the numbers of the rows of these classes, and their new labels 0, 1, ..."""
    new_label = np.full(int(y.max(initial=-1)) + 1, -1, dtype=np.int64)
    for label, number in enumerate(classes):
        if number < len(new_label):
            new_label[number] = label
    labels = new_label[y]
    rows = np.flatnonzero(labels >= 0)
    return rows, labels[rows]


def select_classes(raw: RawData, wanted: int | Sequence[int], n_classes: int) -> RawData:
    """Return the rows of some classes, labelled in the order of ``data.classes``.

    Raises:
        DataError: as `chosen_classes`.
    """
    classes = chosen_classes(wanted, n_classes, raw.source)
    train, y_train = rows_of(raw.y_train, classes)
    names = raw.class_names
    chosen = replace(
        raw,
        x_train=raw.x_train[train],
        y_train=y_train,
        class_names=names if names is None else tuple(names[number] for number in classes),
    )
    if raw.x_test is None or raw.y_test is None:
        return chosen
    test, y_test = rows_of(raw.y_test, classes)
    return replace(chosen, x_test=raw.x_test[test], y_test=y_test)
