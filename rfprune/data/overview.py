"""What a data set is, for people: rows, features and their ranges, targets, what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rfprune.core.named import Named
from rfprune.data.dataset import PARTS, Dataset
from rfprune.data.input_scaling import Scaling
from rfprune.data.pixels import Pixels

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FeatureRow", "Overview", "TargetRow", "overview"]

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class FeatureRow:
    """One feature of flat rows, or one channel.

    Attributes:
        input: its name; empty where there is only one.
        name: of the column, or the number of the feature or channel.
        low: smallest raw value of the training rows.
        high: largest.
        offset: what is subtracted from it.
        scale: what it is divided by.
    """

    input: str
    name: str
    low: float
    high: float
    offset: float
    scale: float


@dataclass(frozen=True)
class TargetRow:
    """A class of a target, or one of its numbers.

    Attributes:
        head: empty where there is only one.
        name: of the class or number.
        count: rows of the class, or with label 1, by part; None for numbers.
        low: smallest number of the training rows; None for classes.
        high: largest.
    """

    head: str
    name: str
    count: dict[str, int] | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Overview:
    """What a data set is.

    Attributes:
        source: where it came from.
        rows: number of rows by part.
        shapes: of one sample, by input; an empty name for the only one.
        features: of every input.
        targets: of every head.
        weights: by part that has some: smallest, mean and largest weight of a row.
        left_out: names of arrays or columns that were there and are not used.
        in_file: whether features stay in their file.
        notes: what was done to the data, one sentence each.
    """

    source: str
    rows: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    features: list[FeatureRow]
    targets: list[TargetRow]
    weights: dict[str, tuple[float, float, float]]
    left_out: list[str]
    in_file: bool
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def overview(data: Dataset) -> Overview:
    """Look through the rows of a data set, and say what they are."""
    shape = data.input_shape
    return Overview(
        source=data.source,
        rows=data.rows,
        shapes=shape if isinstance(shape, dict) else {"": shape},
        features=list(_features(data)),
        targets=list(_targets(data)),
        weights=dict(_weights(data)),
        left_out=list(data.left),
        in_file=bool(data.ranges),
        notes=list(data.notes),
    )


def _features(data: Dataset) -> Iterator[FeatureRow]:
    scaling = data.scaling
    for name, x in _parts(data.x_train).items():
        only = Scaling({"": scaling.offset[name]}, {"": scaling.scale[name]})
        if name in data.ranges:
            low, high = data.ranges[name]
        else:
            low, high = (_per_feature(only.raw(edge)) for edge in _edges(x, only.offset[""].shape))
        columns = data.columns.get(name, ())
        offset, scale = _per_feature(only.offset[""]), _per_feature(only.scale[""])
        for at, values in enumerate(zip(low, high, offset, scale, strict=True)):
            own = columns[at] if len(columns) == len(low) else str(at)
            yield FeatureRow(name, own, *values)


def _per_feature(values: Tensor) -> list[float]:
    found: list[float] = values.flatten().tolist()
    return found


def _edges(x: Any, shape: Any) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest scaled value of each feature or channel, in its shape."""
    lows, highs = [], []
    # Images that are bytes become floats part by part, never all at once.
    for rows in x.split(_ROWS_AT_ONCE) if isinstance(x, Pixels) else [x]:
        flat = rows.flatten(2).movedim(1, 0).flatten(1) if rows.ndim > 2 else rows.t()
        lows.append(flat.amin(dim=1))
        highs.append(flat.amax(dim=1))
    import torch

    low, high = torch.stack(lows).amin(dim=0), torch.stack(highs).amax(dim=0)
    return low.reshape(shape), high.reshape(shape)


def _parts(rows: Any) -> Mapping[str, Any]:
    return rows.parts if isinstance(rows, Named) else {"": rows}


def _targets(data: Dataset) -> Iterator[TargetRow]:
    for head, train in _parts(data.y_train).items():
        by_part = {part: _parts(getattr(data, f"y_{part}"))[head] for part in PARTS}
        if train.ndim == 1:
            classes = max(int(y.max()) for y in by_part.values()) + 1
            counts = {part: y.bincount(minlength=classes) for part, y in by_part.items()}
            names = data.class_names or tuple(map(str, range(classes)))
            for at in range(classes):
                count = {part: int(found[at]) for part, found in counts.items()}
                yield TargetRow(head, names[at], count)
            continue
        for at in range(train.shape[1]):
            columns = {part: y[:, at] for part, y in by_part.items()}
            # NaN stands for a label that is not known, as those of training on normal rows alone.
            if all(bool(((y == 0) | (y == 1) | y.isnan()).all()) for y in columns.values()):
                count = {part: int((y == 1).sum()) for part, y in columns.items()}
                yield TargetRow(head, "label 1" if train.shape[1] == 1 else f"label {at}", count)
            else:
                y = columns["train"]
                yield TargetRow(head, f"number {at}", None, float(y.min()), float(y.max()))


def _weights(data: Dataset) -> Iterator[tuple[str, tuple[float, float, float]]]:
    for part in PARTS:
        weight = getattr(data, f"w_{part}")
        if weight is not None:
            yield part, (float(weight.min()), float(weight.mean()), float(weight.max()))
