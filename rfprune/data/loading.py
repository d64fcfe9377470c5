"""From a `DataSpec` to a `Dataset`: read, check, lay out, split, scale."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rfprune.data.checks import check, encode_text_labels
from rfprune.data.dataset import Array, Dataset, RawData
from rfprune.data.files import read_file, read_npz
from rfprune.data.image_folders import (
    image_folder_files,
    is_image_folder,
    read_image_folder,
)
from rfprune.data.images import ImageSet, decode
from rfprune.data.places import find_file, locate
from rfprune.data.scaling import scaled
from rfprune.data.selecting import select_classes
from rfprune.data.spec import DataSpec
from rfprune.data.table import DATASETS
from rfprune.errors import DataError

__all__ = ["data_files", "load"]

_TEST_FRACTION = 0.2
_CHANNEL_COUNTS = (1, 3, 4)


def data_files(path: Path) -> list[Path]:
    """Return every file that a data set at `path` is read from: what another machine needs."""
    if not path.is_dir():
        return [path]
    return image_folder_files(path) if is_image_folder(path) else sorted(path.glob("*.parquet"))


def load(spec: DataSpec, base_dir: Path | None = None) -> Dataset:
    """Load a data set into memory.

    The test rows are those of the data, or, where the data have no test part, a share of the rows.
    Of the others, in the order of ``RandomState(split_seed).permutation``, the first
    ``train_rows`` are used, and of these the first ``val_fraction`` are the validation rows. Test
    and validation rows have no part in the standardisation.

    Args:
        spec: what to load.
        base_dir: folder of the file that holds ``spec``, for relative paths.

    Raises:
        DataError: the data are missing or faulty; see `rfprune.data.checks`.
    """
    raw = encode_text_labels(_read(spec, base_dir))
    n_classes = check(raw)
    if spec.classes is not None and not raw.keeps_bytes:
        raw = select_classes(raw, spec.classes, n_classes)
        n_classes = check(raw)
    raw = _lay_out(raw, spec)
    split = _split(raw, spec)
    x_test = raw.x_train if raw.x_test is None else raw.x_test
    y_test = raw.y_train if raw.y_test is None else raw.y_test
    sets = {
        "train": (raw.x_train[split.train], raw.y_train[split.train]),
        "val": (raw.x_train[split.val], raw.y_train[split.val]),
        "test": (x_test[split.test], y_test[split.test]),
    }
    return _to_tensors(raw, spec, n_classes, sets)


@dataclass(frozen=True)
class _Split:
    """Row numbers of each part; ``test`` counts in x_test where there is one, else in x_train."""

    train: Array
    val: Array
    test: Array


def _read(spec: DataSpec, base_dir: Path | None) -> RawData:
    found = _read_file(spec, spec.file, base_dir) if spec.file else _read_named(spec)
    if isinstance(found, ImageSet):
        return decode(found, spec)
    if spec.image_size is not None:
        raise DataError(
            f"data.image_size: {found.source} holds arrays, not image files; remove the key."
        )
    return found


def _read_file(spec: DataSpec, file: str, base_dir: Path | None) -> RawData | ImageSet:
    path = find_file(file, base_dir)
    if not is_image_folder(path):
        return _as_image(read_file(path, spec.label_column))
    if spec.label_column is not None:
        raise DataError(f"data.label_column: {path} is a folder of images and has no columns.")
    return read_image_folder(path)


def _read_named(spec: DataSpec) -> RawData | ImageSet:
    assert spec.name is not None
    ready = locate(spec.name, f"{spec.name}.npz")
    if ready is not None:
        return _as_image(read_npz(ready))
    found = DATASETS.load(spec.name)()
    assert isinstance(found, RawData | ImageSet)
    return found


def _as_image(raw: RawData) -> RawData:
    """Mark arrays of bytes with at least two axes per row as images of full scale 255."""
    x = raw.x_train
    is_bytes = x.dtype == np.uint8 and x.ndim >= 3
    full_scale = 255.0 if is_bytes else 1.0
    return replace(raw, is_image=is_bytes or x.ndim == 4, full_scale=full_scale)


def _lay_out(raw: RawData, spec: DataSpec) -> RawData:
    """Bring images to (N, C, H, W), or every row to one vector."""
    layout = _channel_axis(raw, spec)
    arrays = {}
    for name in ("x_train", "x_test"):
        x = getattr(raw, name)
        if x is None or x.ndim < 3:
            continue
        if layout == "none" and x.ndim == 3:
            x = x[:, None]
        elif layout == "last" and x.ndim == 4:
            x = np.moveaxis(x, -1, 1)
        arrays[name] = x.reshape(len(x), -1) if spec.flatten else x
    is_image = raw.is_image or layout == "none"
    return replace(raw, is_image=is_image, **arrays)


def _channel_axis(raw: RawData, spec: DataSpec) -> str:
    """Return first, last or none: where the images have their channels."""
    shape = raw.x_train.shape
    allowed = {3: ("auto", "none", "first"), 4: ("auto", "first", "last")}
    if spec.channels not in allowed.get(len(shape), ("auto",)):
        raise DataError(
            f"data.channels: '{spec.channels}' does not fit x_train of {raw.source}, which has "
            f"shape {shape}."
        )
    if spec.channels != "auto":
        return spec.channels
    if len(shape) == 3:
        return "none" if raw.is_image else "first"
    is_last = len(shape) == 4 and shape[3] in _CHANNEL_COUNTS and shape[1] not in _CHANNEL_COUNTS
    return "last" if is_last else "first"


def _split(raw: RawData, spec: DataSpec) -> _Split:
    """Cut the rows into training, validation and test, by ``split_seed`` alone."""
    # RandomState's stream is frozen (NEP 19); a Generator's may change with numpy's version.
    order = np.random.RandomState(spec.split_seed).permutation(len(raw.x_train))
    if raw.x_test is None:
        n_test = round(len(order) * (spec.test_fraction or _TEST_FRACTION))
        test, order = order[:n_test], order[n_test:]
    elif spec.test_fraction is not None:
        raise DataError(
            f"data.test_fraction: {raw.source} has its own test part of {len(raw.x_test)} rows; "
            "remove the key."
        )
    else:
        test = np.arange(len(raw.x_test))
        if spec.test_rows is not None and spec.test_rows < len(test):
            test = np.random.RandomState(spec.split_seed).permutation(test)
    order = order[: spec.train_rows]
    n_val = round(len(order) * spec.val_fraction)
    split = _Split(train=order[n_val:], val=order[:n_val], test=test[: spec.test_rows])
    _check_sizes(raw, split)
    return split


def _check_sizes(raw: RawData, split: _Split) -> None:
    sizes = {"training": split.train, "validation": split.val, "test": split.test}
    for part, rows in sizes.items():
        if not len(rows):
            raise DataError(
                f"{raw.source}: the split leaves no {part} rows of {len(raw.x_train)}; give more "
                "data, or change data.val_fraction, data.test_fraction or data.train_rows."
            )
    n_classes = int(raw.y_train.max()) + 1
    absent = np.flatnonzero(np.bincount(raw.y_train[split.train], minlength=n_classes) == 0)
    if len(absent):
        raise DataError(
            f"{raw.source}: the {len(split.train)} training rows hold none of class {absent[0]}; "
            "give more data, or change data.train_rows, data.val_fraction or data.split_seed."
        )


def _to_tensors(
    raw: RawData, spec: DataSpec, n_classes: int, sets: dict[str, tuple[Array, Array]]
) -> Dataset:
    import torch

    x, offset, scale = scaled({part: rows for part, (rows, _) in sets.items()}, raw, spec)
    labels = {f"y_{part}": torch.from_numpy(y.astype(np.int64)) for part, (_, y) in sets.items()}
    return Dataset(
        name=spec.name or Path(raw.source).stem,
        source=raw.source,
        n_classes=n_classes,
        class_names=raw.class_names,
        offset=torch.from_numpy(offset),
        scale=torch.from_numpy(scale),
        sha256=_sha256(raw, spec),
        x_train=x["train"],
        x_val=x["val"],
        x_test=x["test"],
        **labels,
    )


def _sha256(raw: RawData, spec: DataSpec) -> str:
    """Hash the raw arrays and every setting but where they were found."""
    settings = spec.model_dump(mode="json", exclude={"name", "file"})
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, array in raw.parts().items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        known = raw.digests.get(name)
        digest.update(np.ascontiguousarray(array).data if known is None else known.encode())
    return digest.hexdigest()
