"""The two forms of a data set: raw arrays as they were read, and tensors ready for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import NDArray

from rfprune.data.pixels import Pixels

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Array", "Dataset", "RawData", "Rows"]

Array = NDArray[Any]
Rows: TypeAlias = "Tensor | Pixels"


@dataclass(frozen=True)
class RawData:
    """Arrays as a reader found them, before checks, splits and scaling.

    Attributes:
        source: file or name, for messages.
        x_train: features (N, F), sequences (N, C, L) or images (N, C, H, W); numbers.
        y_train: class of each row (N,), integers 0..n_classes-1.
        x_test: as x_train, or None where the data have no test part.
        y_test: as y_train, or None.
        class_names: name of each class, or None.
        full_scale: pixels are divided by it, so that they lie in [0, 1]; 1 leaves them alone.
        is_image: the features are pixels, which `standardize: auto` leaves alone.
        keeps_bytes: the pixels are bytes and so many that they stay bytes, see `Pixels`.
        digests: name of an array to the hash of its content, where it is known without reading it.
    """

    source: str
    x_train: Array
    y_train: Array
    x_test: Array | None = None
    y_test: Array | None = None
    class_names: tuple[str, ...] | None = None
    full_scale: float = 1.0
    is_image: bool = False
    keeps_bytes: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)

    def parts(self) -> dict[str, Array]:
        """Return the arrays that are there, by name."""
        named = {
            "x_train": self.x_train,
            "y_train": self.y_train,
            "x_test": self.x_test,
            "y_test": self.y_test,
        }
        return {name: array for name, array in named.items() if array is not None}


@dataclass(frozen=True)
class Dataset:
    """A data set in memory: three disjoint sets of rows.

    Attributes:
        name: the data set's name, or the file's stem.
        source: where the rows came from.
        x_train: (N, *input_shape) float32, or bytes that become float32 when they are read.
        y_train: (N,) int64, 0..n_classes-1.
        x_val: validation rows, cut from the training part; for every selection.
        y_val: their classes.
        x_test: test rows; for reporting only.
        y_test: their classes.
        n_classes: number of classes.
        class_names: name of each class, or None.
        offset: what was subtracted from the raw values, broadcastable to a sample.
        scale: what they were divided by afterwards: ``x = (raw - offset) / scale``.
        sha256: hash of the raw arrays and of everything that shapes the splits and the scaling.
    """

    name: str
    source: str
    x_train: Rows
    y_train: Tensor
    x_val: Rows
    y_val: Tensor
    x_test: Rows
    y_test: Tensor
    n_classes: int
    class_names: tuple[str, ...] | None
    offset: Tensor
    scale: Tensor
    sha256: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis: (F,), (C, L) or (C, H, W)."""
        return tuple(self.x_train.shape[1:])

    @property
    def rows(self) -> dict[str, int]:
        """Number of rows of each part."""
        return {"train": len(self.y_train), "val": len(self.y_val), "test": len(self.y_test)}
