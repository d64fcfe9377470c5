"""Requirements on a data set; each fault is a `DataError` that names file, array and row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.core.named import Outputs
from rfprune.data.dataset import PARTS, Array, Features, RawData, named
from rfprune.data.stored.features import Stored
from rfprune.errors import DataError

if TYPE_CHECKING:
    from rfprune.tasks import Task

__all__ = ["check", "check_weights", "one_hot_notes"]

#: numpy's letters for truth values, integers with and without sign, and floats.
_NUMBERS = "biuf"
_LARGEST = float(np.finfo(np.float32).max)


def check(raw: RawData, task: Task) -> Outputs:
    """Check every array and return the number of outputs that the network needs, by head.

    Raises:
        DataError: the first fault found.
    """
    # Arrays by themselves before anything that compares them: the first fault is the one to mend.
    for part in PARTS:
        for features in raw.features():
            if part in features.parts:
                _check_features(features, part, raw.rows(part))
        if part in raw.of("y"):
            task.check(raw.source, part, raw.of("y")[part], raw.rows(part))
        if part in raw.of("w"):
            check_weights(raw.source, f"w_{part}", raw.of("w")[part], raw.rows(part))
    for features in raw.features():
        train = features.parts["train"]
        for part, x in features.parts.items():
            if x.shape[1:] != train.shape[1:]:
                raise DataError(
                    f"{raw.source}: a row of {features.called(part)} has shape {x.shape[1:]}, a "
                    f"row of {features.called('train')} {train.shape[1:]}; they must be equal."
                )
    outputs = task.outputs(raw.source, raw.of("y"))
    if raw.class_names is not None and len(raw.class_names) != outputs:
        raise DataError(f"{raw.source}: {len(raw.class_names)} class names for {outputs} classes.")
    return outputs


def one_hot_notes(read: dict[str, Any], encoded: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each target of the training rows that came one-hot.

    Args:
        read: targets by part as they were read.
        encoded: as the task made them.
    """
    after = dict(named("y_train", encoded.get("train")))
    for name, target in named("y_train", read.get("train")):
        if target.ndim == 2 and target.shape[1] > 1 and after[name].ndim == 1:
            classes = target.shape[1]
            yield f"{name} holds one-hot labels of {classes} classes; their numbers are used."


def check_weights(source: str, name: str, weight: Array, rows: int) -> None:
    """Check that there is one weight per row: finite, none negative, not all zero.

    Raises:
        DataError: the first fault found.
    """
    where = f"{source}: {name}"
    if weight.shape != (rows,):
        raise DataError(
            f"{where} has shape {weight.shape}, but x_{name[2:]} has {rows} rows; allowed is "
            f"({rows},), one weight per row."
        )
    if weight.dtype.kind not in _NUMBERS:
        raise DataError(f"{where} is of type {weight.dtype}; allowed are numbers from 0 on.")
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        raise DataError(
            f"{where} holds {len(wrong)} values that are negative, NaN or infinite, the first in "
            f"row {wrong[0]} ({weight[wrong[0]]:g}); a weight is a finite number from 0 on."
        )
    if not weight.any():
        raise DataError(f"{where} is 0 in all {rows} rows; at least one must be above 0.")


def _check_features(features: Features, part: str, rows: int) -> None:
    x, name = features.parts[part], features.called(part)
    where = f"{features.source}: {name}"
    if x.dtype.kind not in _NUMBERS:
        raise DataError(f"{where} is of type {x.dtype}; allowed are real numbers.")
    if x.ndim < 2 or x.ndim > 4 or 0 in x.shape:
        raise DataError(
            f"{where} has shape {x.shape}; allowed are rows of features (N, F), sequences "
            "(N, C, L) or images (N, C, H, W), none of them empty."
        )
    if len(x) != rows:
        raise DataError(
            f"{where} has {len(x)} rows, but the first input has {rows}; all inputs of a part have "
            "the same rows."
        )
    # Only floats can be NaN, infinite or too large for float32; a scan looks at what is not here.
    if isinstance(x, Stored) or x.dtype.kind != "f":
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


def _first_row(bad: Array) -> int:
    """Return the first row (axis 0) that holds a True."""
    return int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])
