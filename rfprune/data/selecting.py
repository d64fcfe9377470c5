"""Some of the classes of a data set, renumbered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from rfprune.data.dataset import Array, RawData, each
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
                f"data.classes: {wanted}, but {source} has only {n_classes} classes. Allowed: 2 to "
                f"{n_classes}."
            )
        return list(range(wanted))
    foreign = [number for number in wanted if number >= n_classes]
    if foreign:
        raise DataError(
            f"data.classes: {foreign[0]} is not a class of {source}; allowed are 0 to "
            f"{n_classes - 1}."
        )
    return list(wanted)


def rows_of(y: Array, classes: Sequence[int]) -> tuple[Array, Array]:
    """Return the numbers of the rows of these classes, and their new labels 0, 1, ..."""
    # A table of new labels by old ones: one lookup for all rows, -1 for classes that are left out.
    new_label = np.full(int(y.max(initial=-1)) + 1, -1, dtype=np.int64)
    for label, number in enumerate(classes):
        # A class that no row of this part has.
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
    changed: dict[str, Any] = {}
    for part, y in raw.of("y").items():
        rows, labels = rows_of(y, classes)
        changed[f"x_{part}"] = each(raw.of("x")[part], partial(np.take, indices=rows, axis=0))
        changed[f"y_{part}"] = labels
        if part in raw.of("w"):
            changed[f"w_{part}"] = raw.of("w")[part][rows]
    if raw.class_names is not None:
        changed["class_names"] = tuple(raw.class_names[number] for number in classes)
    return replace(raw, **changed)
