"""From a `DataSpec` to a `Dataset`: read, check, lay out, split, scale."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.core.digests import sha256_of_parts
from rfprune.core.named import InputShape, Named
from rfprune.data.checks import check, check_weights, one_hot_notes
from rfprune.data.dataset import (
    PARTS,
    Array,
    Dataset,
    Features,
    RawData,
    each,
    of_one_input,
)
from rfprune.data.formats.array_files import read_npz_arrays
from rfprune.data.formats.arrays import raw_data
from rfprune.data.formats.columns import NamedArrays
from rfprune.data.formats.functions import call_function
from rfprune.data.formats.user_files import data_files_of, read_file
from rfprune.data.places import find_file, locate
from rfprune.data.scaling import scaled, scaled_in_files
from rfprune.data.selecting import select_classes
from rfprune.data.sets.image_folders import image_folder_files, is_image_folder, read_image_folder
from rfprune.data.sets.images import ImageSet, decode
from rfprune.data.sets.named import DATASETS
from rfprune.data.spec import OF_TABLES, DataSpec
from rfprune.data.stored.features import Stored
from rfprune.errors import DataError
from rfprune.tasks import TaskSpec

if TYPE_CHECKING:
    from rfprune.tasks import Task

__all__ = ["data_files", "load"]

_TEST_FRACTION = 0.2
#: Grey, colour, colour with opacity: they distinguish a channel axis from height and width.
_CHANNEL_COUNTS = (1, 3, 4)


def data_files(path: Path) -> list[Path]:
    """Return every file that a data set at `path` is read from: what another machine needs."""
    if not is_image_folder(path):
        return data_files_of(path)
    return image_folder_files(path)


def load(spec: DataSpec, base_dir: Path | None = None, task: Task | None = None) -> Dataset:
    """Load a data set: into memory, or, if its features are larger, to be read as they are needed.

    The test rows are those of the data, or, where the data have no test part, a share of the rows.
    Of the others, in the order of ``RandomState(split_seed).permutation``, the first
    ``train_rows`` are used, and of these the first ``val_fraction`` are the validation rows, unless
    the data have a validation part. Test and validation rows have no part in the standardisation.

    Args:
        spec: what to load.
        base_dir: folder of the file that holds ``spec``, for relative paths.
        task: says what targets look like; classification if not given.

    Raises:
        DataError: the data are missing or faulty; see `rfprune.data.checks`.
    """
    # Imported here: it brings torch along, and what only names data has to stay light.
    from rfprune.tasks import make_task

    task = make_task(TaskSpec()) if task is None else task
    read = _read(spec, base_dir)
    if not task.has_classes and spec.classes is not None:
        raise DataError(f"data.classes: a {task.spec.title} task has no classes; remove the key.")
    raw = _encoded(read, task)
    outputs = check(raw, task)
    # Image sets have been cut to their classes before they were decoded.
    if spec.classes is not None and not raw.keeps_bytes:
        assert isinstance(outputs, int)
        raw = select_classes(raw, spec.classes, outputs)
        outputs = check(raw, task)
    features = [_laid_out(given, spec) for given in raw.features()]
    split = _split(raw, spec)
    targets = {part: each(raw.of("y")[origin], rows) for part, origin, rows in split.parts()}
    trained = task.trained_on(targets["train"])
    if trained is not None:
        split = replace(split, train=split.train[trained])
        targets["train"] = each(targets["train"], lambda y: y[trained])
    task.check_split(raw.source, targets["train"], outputs)
    for part in ("val", "test"):
        task.check_scored(raw.source, part, targets[part])
    left_out = 0 if trained is None else int((~trained).sum())
    notes = [f"{left_out:,} training rows are left out: their label is not 0."] if left_out else []
    found = _rows(features, split, spec)
    return Dataset(
        name=spec.name or (spec.function or Path(raw.source).stem).rpartition(":")[2],
        source=raw.source,
        n_outputs=task.needed(outputs, _shape(features)),
        class_names=raw.class_names,
        sha256=_sha256(
            replace(_with(raw, features), digests={**raw.digests, **found.digests}), spec
        ),
        notes=(*raw.notes, *one_hot_notes(read.of("y"), raw.of("y")), *notes),
        left=raw.left,
        columns=raw.columns,
        ranges=found.ranges,
        **found.fields,
        **{f"y_{part}": task.tensor(y) for part, y in targets.items()},
        **_weights(raw, split),
    )


def _shape(features: list[Features]) -> InputShape:
    """Return the shape of one sample, by input if there are several."""
    shapes = {given.name: tuple(given.parts["train"].shape[1:]) for given in features}
    shape: InputShape = _one_or_named(shapes, dict)
    return shape


@dataclass(frozen=True)
class _Split:
    """Row numbers of each part, and which arrays they count in: a part's own, or the training's."""

    train: Array
    val: Array
    test: Array
    val_in: str
    test_in: str

    def parts(self) -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
        """Yield each part, the part whose arrays it is taken from, and what takes its rows."""
        yield "train", "train", lambda array: array[self.train]
        yield "val", self.val_in, lambda array: array[self.val]
        yield "test", self.test_in, lambda array: array[self.test]


def _encoded(raw: RawData, task: Task) -> RawData:
    """Return the data with targets in the form that the task checks."""
    targets = raw.of("y")
    if "train" not in targets:
        targets["train"] = task.unlabelled(raw.source, raw.rows("train"))
    names = task.class_names(targets["train"])
    targets = task.encode(raw.source, targets)
    raw = replace(raw, **{f"y_{part}": y for part, y in targets.items()})
    return raw if names is None else replace(raw, class_names=names)


def _read(spec: DataSpec, base_dir: Path | None) -> RawData:
    if spec.function is not None:
        made = call_function(spec.function, spec.args or {}, base_dir)
        found: object = _as_image(_raw(f"data.function: {spec.function}", made))
    elif spec.file is not None:
        found = _read_file(find_file(spec.file, base_dir), spec)
    else:
        assert spec.name is not None
        # A prepared file of that name takes the place of the reader, and of its download.
        ready = locate(spec.name, f"{spec.name}.npz")
        read: Callable[[], object] = DATASETS.load(spec.name)
        found = read() if ready is None else _as_image(_raw(str(ready), read_npz_arrays(ready)))
    assert isinstance(found, RawData | ImageSet)
    if isinstance(found, ImageSet):
        return decode(found, spec)
    if spec.image_size is not None:
        raise DataError(
            f"data.image_size: {found.source} holds arrays, not image files; remove the key."
        )
    return found


def _read_file(path: Path, spec: DataSpec) -> RawData | ImageSet:
    if not is_image_folder(path):
        return _as_image(_raw(str(path), read_file(path, spec)))
    for key in (*OF_TABLES, "label_column"):
        if getattr(spec, key) is not None:
            raise DataError(f"data.{key}: {path} is a folder of images and has no columns.")
    return read_image_folder(path)


def _raw(source: str, found: NamedArrays) -> RawData:
    raw = raw_data(source, found.arrays, found.left)
    return replace(raw, columns=found.columns, notes=tuple(found.notes))


def _as_image(raw: RawData) -> RawData:
    """Mark arrays of bytes with at least two axes per row as images; several inputs do so alone."""
    if isinstance(raw.x_train, dict):
        return raw
    (found,) = (of_one_input(features) for features in raw.features())
    return replace(raw, is_image=found.is_image, full_scale=found.full_scale)


def _laid_out(features: Features, spec: DataSpec) -> Features:
    """Bring images to (N, C, H, W), or every row to one vector."""
    layout = _channel_axis(features, spec)
    arrays = {}
    for part, x in features.parts.items():
        if layout == "none" and x.ndim == 3:
            x = _changed(x, lambda rows: rows[:, None])
        elif layout == "last" and x.ndim == 4:
            x = _changed(x, lambda rows: np.moveaxis(rows, -1, 1))
        arrays[part] = _changed(x, lambda r: r.reshape(len(r), -1)) if spec.flatten else x
    is_image = features.is_image or layout == "none"
    return replace(features, is_image=is_image, parts=arrays)


def _changed(x: Array | Stored, change: Callable[[Array], Array]) -> Array | Stored:
    return x.changed(change) if isinstance(x, Stored) else change(x)


def _channel_axis(features: Features, spec: DataSpec) -> str:
    """Return first, last or none: where the images have their channels."""
    shape = features.parts["train"].shape
    # By the number of axes of the whole array, rows included.
    allowed = {3: ("auto", "none", "first"), 4: ("auto", "first", "last")}
    if spec.channels not in allowed.get(len(shape), ("auto",)):
        raise DataError(
            f"data.channels: '{spec.channels}' does not fit {features.called('train')} of "
            f"{features.source}, which has shape {shape}."
        )
    if spec.channels != "auto":
        return spec.channels
    if len(shape) == 3:
        return "none" if features.is_image else "first"
    # Only where the last axis can be channels and the second cannot; images of 3 x N x 3 count as
    # channels first.
    is_last = len(shape) == 4 and shape[3] in _CHANNEL_COUNTS and shape[1] not in _CHANNEL_COUNTS
    return "last" if is_last else "first"


def _permutation(rows: int, seed: int) -> Array:
    """Return the numbers of the rows in random order."""
    order = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    # RandomState's stream is frozen (NEP 19); a Generator's may change with numpy's version.
    np.random.RandomState(seed).shuffle(order)
    return order


def _split(raw: RawData, spec: DataSpec) -> _Split:
    """Cut the rows into training, validation and test, by ``split_seed`` alone."""
    n_train, n_val, n_test = (raw.rows(part) for part in PARTS)
    is_stored = any(isinstance(array, Stored) for array in raw.parts().values())
    # One permutation for all cuts, so that parts are disjoint whatever their sizes.
    order = _permutation(n_train, spec.split_seed)
    if not n_test:
        count = round(len(order) * (spec.test_fraction or _TEST_FRACTION))
        test, order = order[:count], order[count:]
    elif spec.test_fraction is not None:
        raise DataError(
            f"data.test_fraction: {raw.source} has its own test part of {n_test} rows; "
            "remove the key."
        )
    else:
        test = np.arange(n_test)
        if spec.test_rows is not None and spec.test_rows < len(test):
            # Not the first rows: files are often sorted by class.
            test = _permutation(n_test, spec.split_seed)
    # After the test part is cut off: fewer training rows leave the test as it is.
    order = order[: spec.train_rows]
    if not n_val:
        count = round(len(order) * spec.val_fraction)
        val, order = order[:count], order[count:]
    elif spec.val_fraction != DataSpec.model_fields["val_fraction"].default:
        raise DataError(
            f"data.val_fraction: {raw.source} has its own validation part of {n_val} rows; "
            "remove the key."
        )
    else:
        val = np.arange(n_val)
    split = _Split(
        train=order,
        val=val,
        test=test[: spec.test_rows],
        val_in="val" if n_val else "train",
        test_in="test" if n_test else "train",
    )
    sizes = {"training": split.train, "validation": split.val, "test": split.test}
    for part, rows in sizes.items():
        if is_stored:
            # Files are read forwards; in place, since row numbers can take a good part of a memory.
            rows.sort()
        if not len(rows):
            raise DataError(
                f"{raw.source}: the split leaves no {part} rows of {n_train}; give more "
                "data, or change data.val_fraction, data.test_fraction or data.train_rows."
            )
    return split


@dataclass(frozen=True)
class _Loaded:
    """Features as `Dataset` names them, and what a scan of those in files has found.

    Attributes:
        fields: rows of each part, ``offset`` and ``scale``.
        ranges: by input.
        digests: by the name of the array in the files.
    """

    fields: dict[str, Any]
    ranges: dict[str, tuple[list[float], list[float]]]
    digests: dict[str, str]


def _rows(features: list[Features], split: _Split, spec: DataSpec) -> _Loaded:
    """Return the features of each part and their scaling."""
    import torch

    found: dict[str, dict[str, Any]] = {}
    ranges: dict[str, tuple[list[float], list[float]]] = {}
    digests: dict[str, str] = {}
    for given in features:
        taken = {part: rows(given.parts[origin]) for part, origin, rows in split.parts()}
        chosen = replace(given, parts=taken)
        if isinstance(taken["train"], Stored):
            x, offset, scale, scan = scaled_in_files(chosen, spec)
            ranges[given.name] = scan.low, scan.high
            digests |= {given.called(part): digest for part, digest in scan.sha256.items()}
        else:
            x, offset, scale = scaled(chosen, spec)
        tensors = {"offset": torch.from_numpy(offset), "scale": torch.from_numpy(scale)}
        for name, tensor in {**{f"x_{part}": rows for part, rows in x.items()}, **tensors}.items():
            found.setdefault(name, {})[given.name] = tensor
    fields = {name: _one_or_named(by_input) for name, by_input in found.items()}
    return _Loaded(fields, ranges, digests)


def _weights(raw: RawData, split: _Split) -> dict[str, Any]:
    """Return the weights of the rows of each part that has some, as `Dataset` names them.

    Raises:
        DataError: all rows that a part is left with have weight 0.
    """
    import torch

    found: dict[str, Any] = {}
    for part, origin, rows in split.parts():
        if origin in raw.of("w"):
            weight = rows(raw.of("w")[origin]).astype(np.float32)
            check_weights(raw.source, f"w_{part}", weight, len(weight))
            found[f"w_{part}"] = torch.from_numpy(weight)
    return found


def _with(raw: RawData, features: list[Features]) -> RawData:
    """Return the data with the features as they were laid out."""
    arrays = {
        f"x_{part}": _one_or_named({one.name: one.parts[part] for one in features}, dict)
        for part in raw.of("x")
    }
    return replace(raw, **arrays)


def _one_or_named(found: dict[str, Any], several: Callable[..., Any] = Named) -> Any:
    """Return what the only input has, or `several` of what each has, by name."""
    return found[""] if "" in found else several(found)


def _sha256(raw: RawData, spec: DataSpec) -> str:
    """Hash the raw arrays and every setting but where they were found."""
    # Where they were found is no property of the data; the same rows elsewhere are the same.
    settings = spec.model_dump(mode="json", exclude={"name", "file", "function"})

    def parts() -> Iterator[str | memoryview]:
        # With blanks, unlike `canonical_json`: run folders hold hashes of this text.
        yield json.dumps(settings, sort_keys=True)
        for name, array in raw.parts().items():
            yield f"{name} {array.dtype.str} {array.shape}"
            known = raw.digests.get(name)
            yield np.ascontiguousarray(array).data if known is None else known

    return sha256_of_parts(parts())
