"""The two forms of a data set: raw arrays as they were read, and tensors ready for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from rfprune.core.named import InputShape, Named, Outputs, shape_of
from rfprune.data.input_scaling import Scaling
from rfprune.data.pixels import Pixels
from rfprune.data.stored.features import Array, Stored
from rfprune.data.stored.rows import StoredRows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "PARTS",
    "Array",
    "Arrays",
    "Dataset",
    "Features",
    "RawData",
    "Rows",
    "each",
    "named",
    "of_one_input",
]

#: One array, or several over the same rows: of inputs, or of the targets of heads, by name.
Arrays: TypeAlias = Array | dict[str, Array]
Rows: TypeAlias = "Tensor | Pixels | StoredRows | Named"
#: Of training, of validation and of the test, as arrays are called in files.
PARTS = ("train", "val", "test")


def each(arrays: Arrays, function: Callable[[Array], Array]) -> Arrays:
    """Return what `function` makes of the array, or of each of several."""
    if isinstance(arrays, dict):
        return {name: function(array) for name, array in arrays.items()}
    return function(arrays)


def named(name: str, arrays: Arrays | None) -> Iterator[tuple[str, Array]]:
    """Yield each array as files call it: ``x_train``, or ``x_train_NAME`` for several."""
    if isinstance(arrays, dict):
        yield from ((f"{name}_{own}", array) for own, array in arrays.items())
    elif arrays is not None:
        yield name, arrays


@dataclass(frozen=True)
class Features:
    """The arrays of one input of a network.

    Attributes:
        source: file or name, for messages.
        name: of the input; empty where there is only one.
        parts: (N, ...) rows by part: ``train``, and ``val`` and ``test`` where there are such.
        full_scale: pixels are divided by it, so that they lie in [0, 1]; 1 leaves them alone.
        is_image: the features are pixels, which `standardize: auto` leaves alone.
        keeps_bytes: the pixels are bytes and so many that they stay bytes, see `Pixels`.
    """

    source: str
    name: str
    parts: dict[str, Array | Stored]
    full_scale: float = 1.0
    is_image: bool = False
    keeps_bytes: bool = False

    def called(self, part: str) -> str:
        """Return what files call the array of a part."""
        return f"x_{part}_{self.name}" if self.name else f"x_{part}"


@dataclass(frozen=True)
class RawData:
    """Arrays as a reader found them, before checks, splits and scaling.

    Attributes:
        source: file or name, for messages.
        x_train: features (N, F), sequences (N, C, L) or images (N, C, H, W); numbers. Of a network
            of several inputs, by the names of the arguments of its ``forward``.
        y_train: target of each row, as the task of the trial takes it: a class (N,), a number (N,)
            or several (N, K); of several heads by name. None where rows have no labels.
        x_test: as x_train, or None where the data have no test part.
        y_test: as y_train, or None.
        class_names: name of each class, or None.
        full_scale: see `Features`; of the only input.
        is_image: likewise.
        keeps_bytes: likewise.
        digests: name of an array to the hash of its content, where it is known without reading it.
        x_val: as x_train, or None where validation rows are to be cut from the training part.
        y_val: as y_train, or None.
        w_train: (N,) weight of each row in the loss and the metrics, or None.
        w_val: likewise.
        w_test: likewise.
        left: names of arrays or columns that were there and are not used.
        columns: of a table that are features, by input; the only input has an empty name.
        notes: what was done to what is used, one sentence each.
    """

    source: str
    x_train: Arrays
    y_train: Arrays | None
    x_test: Arrays | None = None
    y_test: Arrays | None = None
    class_names: tuple[str, ...] | None = None
    full_scale: float = 1.0
    is_image: bool = False
    keeps_bytes: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)
    x_val: Arrays | None = None
    y_val: Arrays | None = None
    w_train: Array | None = None
    w_val: Array | None = None
    w_test: Array | None = None
    left: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def parts(self) -> dict[str, Array]:
        """Return the arrays that are there, by the names that files give them."""
        # In this order: run folders hold hashes of it.
        names = ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val")
        every = [*names, *(f"w_{part}" for part in PARTS)]
        return {own: array for name in every for own, array in named(name, getattr(self, name))}

    def of(self, letter: str) -> dict[str, Any]:
        """Return the features (``x``), targets (``y``) or weights (``w``) that are there, by part.

        Each is an array, or several by name.
        """
        found = {part: getattr(self, f"{letter}_{part}") for part in PARTS}
        return {part: arrays for part, arrays in found.items() if arrays is not None}

    def rows(self, part: str) -> int:
        """Return how many rows a part has."""
        x = getattr(self, f"x_{part}")
        return 0 if x is None else len(next(iter(x.values())) if isinstance(x, dict) else x)

    def features(self) -> list[Features]:
        """Return the features by input: one, with an empty name, or several."""
        parts = self.of("x")
        if not isinstance(self.x_train, dict):
            about = (self.full_scale, self.is_image, self.keeps_bytes)
            return [Features(self.source, "", parts, *about)]
        return [
            of_one_input(Features(self.source, name, {part: x[name] for part, x in parts.items()}))
            for name in self.x_train
        ]


def of_one_input(found: Features) -> Features:
    """Return an input of which nothing is known: bytes of two or more axes are images."""
    x = found.parts["train"]
    # uint8 with axes of its own: nothing but images looks like that.
    is_bytes = x.dtype.str == "|u1" and x.ndim >= 3
    about = (255.0 if is_bytes else 1.0, is_bytes or x.ndim == 4)
    return Features(found.source, found.name, found.parts, *about)


@dataclass(frozen=True)
class Dataset:
    """A data set in memory: three disjoint sets of rows.

    Attributes:
        name: the data set's name, or the file's stem.
        source: where the rows came from.
        x_train: (N, *input_shape) float32, or bytes that become float32 when they are read; of
            several inputs a `Named`.
        y_train: targets as the task takes them: (N,) int64 classes, (N, K) float32 numbers; of
            several heads a `Named`.
        x_val: validation rows, cut from the training part or given; for every selection.
        y_val: their targets.
        x_test: test rows; for reporting only.
        y_test: their targets.
        n_outputs: outputs that a network needs: classes, or numbers per row; by head if there are
            several.
        class_names: name of each class, or None.
        offset: what was subtracted from the raw values, broadcastable to a sample; by input if
            there are several.
        scale: what they were divided by afterwards: ``x = (raw - offset) / scale``.
        sha256: hash of the raw arrays and of everything that shapes the splits and the scaling.
        w_train: (N,) float32 weights of the rows in loss and metrics, or None.
        w_val: likewise.
        w_test: likewise.
        notes: what a user should know of the rows, one sentence each.
        left: names of arrays or columns that were there and are not used.
        columns: of a table that are features, by input; the only input has an empty name.
        ranges: smallest and largest raw value of each feature or channel of the training rows, by
            input, where the rows stay in their file.
    """

    name: str
    source: str
    x_train: Rows
    y_train: Any
    x_val: Rows
    y_val: Any
    x_test: Rows
    y_test: Any
    n_outputs: Outputs
    class_names: tuple[str, ...] | None
    offset: Any
    scale: Any
    sha256: str
    w_train: Tensor | None = None
    w_val: Tensor | None = None
    w_test: Tensor | None = None
    notes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[list[float], list[float]]] = field(default_factory=dict)

    @property
    def scaling(self) -> Scaling:
        """What was done to raw rows."""
        return Scaling.of(self.offset, self.scale)

    def in_raw_units(self) -> Dataset:
        """Return the same rows as they are in the data's files."""
        scaling = self.scaling
        zeros, ones = scaling.none_like()
        parts = {name: getattr(self, name) for name in ("x_train", "x_val", "x_test")}
        rows = {name: _unscaled(x, scaling) for name, x in parts.items()}
        return replace(self, **rows, offset=zeros, scale=ones)

    @property
    def input_shape(self) -> InputShape:
        """Shape of one sample, without the batch axis: (F,), (C, L) or (C, H, W), or by input."""
        return shape_of(self.x_train)

    @property
    def rows(self) -> dict[str, int]:
        """Number of rows of each part."""
        return {"train": len(self.y_train), "val": len(self.y_val), "test": len(self.y_test)}


def _unscaled(x: Any, scaling: Scaling, name: str = "") -> Any:
    """Return rows as they are in the file, whatever holds them."""
    if isinstance(x, Named):
        return Named({own: _unscaled(part, scaling, own) for own, part in x.parts.items()})
    if isinstance(x, Pixels | StoredRows):
        return replace(
            x, offset=x.offset.new_zeros(x.offset.shape), scale=x.scale.new_ones(x.scale.shape)
        )
    only = Scaling({"": scaling.offset[name]}, {"": scaling.scale[name]})
    return only.raw(x)
