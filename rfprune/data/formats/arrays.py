"""From arrays by the names that files give them to a `RawData`.

``x_train``, ``y_train``, ``x_val``, ... are one input and one target; ``x_train_NAME`` are several
inputs, by the arguments of the network's ``forward``, ``y_train_HEAD`` the targets of several
heads, and ``w_train`` weights of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rfprune.core.registry import nearest
from rfprune.data.dataset import PARTS, Array, RawData, named
from rfprune.data.stored.features import Stored
from rfprune.errors import DataError

__all__ = ["is_used", "raw_data"]

_NAME = re.compile(r"^([xyw])_(train|val|test)(?:_(\w+))?$")
_CLASS_NAMES = ("class_names", "classes")
_MEANT = {"x": "an input", "y": "a head"}


def is_used(name: str) -> bool:
    """Return whether an array of this name has a meaning."""
    return name in _CLASS_NAMES or _NAME.match(name) is not None


def raw_data(
    source: str, arrays: Mapping[str, Array | Stored], others: Sequence[str] = ()
) -> RawData:
    """Return the data set that arrays make up.

    An array ``class_names`` (or ``classes``) of strings gives the names; others are left alone.

    Args:
        source: file or function that they come from, for messages.
        arrays: by name.
        others: names of further arrays that were found, and not read.

    Raises:
        DataError: an array is missing, or there is one of the same meaning twice.
    """
    found: dict[str, Any] = {}
    left = list(others)
    for name, array in arrays.items():
        match = _NAME.match(name)
        if match is None:
            # Names of classes are used below.
            left += [] if name in _CLASS_NAMES else [name]
            continue
        letter, part, own = match.groups()
        if letter == "w" and own is not None:
            raise DataError(
                f"{source}: '{name}': weights are of whole rows. Allowed: w_{part}, of shape (N,)."
            )
        _add(source, found, f"{letter}_{part}", own, array)
    for part in PARTS:
        _check_part(source, found, part, [*arrays, *others])
    titles = [np.asarray(arrays[name]) for name in _CLASS_NAMES if name in arrays]
    text = [title for title in titles if title.ndim == 1 and title.dtype.kind == "U"]
    return RawData(
        source=source,
        **{"y_train": None, **found},
        class_names=tuple(str(name) for name in text[0]) if text else None,
        left=tuple(left),
    )


def _add(
    source: str, found: dict[str, Any], name: str, own: str | None, array: Array | Stored
) -> None:
    """Put one array beside those of the same letter and part."""
    known = found.get(name)
    if own is None and known is None:
        found[name] = array
    elif own is not None and (known is None or isinstance(known, dict)):
        found[name] = {**(known or {}), own: array}
    else:
        other = own or next(iter(known or {}), "")
        raise DataError(
            f"{source}: both '{name}' and '{name}_{other}'; either one array, or every one named "
            f"after {_MEANT[name[0]]}."
        )


def _check_part(source: str, found: dict[str, Any], part: str, names: list[str]) -> None:
    """Check that a part is whole: features and targets, under the names of the training part."""
    x, y = f"x_{part}", f"y_{part}"
    if part != "train" and not {x, y, f"w_{part}"} & set(found):
        return
    # Training rows may have no labels, where the task needs none.
    missing = [name for name in (x, *([] if part == "train" else [y])) if name not in found]
    for name in (x, y):
        usual = f"{name[0]}_train"
        if usual in found and name in found:
            wanted = [own for own, _ in named(name, found[usual])]
            there = [own for own, _ in named(name, found[name])]
            missing += [own for own in wanted if own not in there]
            missing += [own.replace(name, usual, 1) for own in there if own not in wanted]
    if missing:
        raise DataError(
            f"{source}: array '{missing[0]}' is missing.{_found(missing[0], names)} Needed are "
            "x_train and y_train, and of x_test and y_test, and of x_val and y_val, both or none; "
            "every part has the same inputs and targets."
        )


def _found(name: str, names: list[str]) -> str:
    others = [other for other in names if _NAME.match(other) is None]
    return nearest(name, others) + f" Found: {', '.join(names) or 'nothing'}."
