"""Sets of compressed images: which files, which classes of them, decoded once and kept on disk.

A reader returns an `ImageSet` of images that are still compressed. `decode` takes the classes that
are wanted, brings their images to one size and writes them as bytes to the user's cache, from where
later runs map them into memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rfprune.core.digests import sha256_of, sha256_of_parts
from rfprune.core.files import replacing
from rfprune.data.dataset import Array, RawData
from rfprune.data.places import cache_dir, file_identity
from rfprune.data.selecting import chosen_classes, rows_of
from rfprune.data.spec import DataSpec
from rfprune.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Compressed", "ImageFiles", "ImageSet", "Images", "decode"]

#: One compressed image: a file, or its bytes.
Compressed = Path | memoryview
#: Part of the name of every cached file: another number when the decoding changes.
_VERSION = 1
#: Images that a thread decodes at a time; only a few such parts are ever in memory.
_IMAGES_PER_TASK = 256


class Images(Protocol):
    """Compressed images of one part of a data set."""

    def __getitem__(self, number: int, /) -> Compressed:
        """Return one image: its file, or its bytes."""
        ...

    def identity(self, numbers: Sequence[int]) -> Iterator[str]:
        """Yield what identifies these images, without reading them."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """Images that are files; identified by path, size and time of change."""

    paths: Sequence[Path]

    def __getitem__(self, number: int, /) -> Path:
        return self.paths[number]

    def identity(self, numbers: Sequence[int]) -> Iterator[str]:
        """Yield path, size and time of each file."""
        return (file_identity(self.paths[number]) for number in numbers)


@dataclass(frozen=True)
class ImageSet:
    """Compressed images with their classes.

    Attributes:
        source: where they are, for messages.
        train: the images of the training part.
        y_train: (N,) their classes, 0..n_classes-1.
        test: the images of the test part, or None.
        y_test: their classes, or None.
        class_names: name of each class.
        val: the images of a validation part of its own, or None.
        y_val: their classes, or None.
    """

    source: str
    train: Images
    y_train: Array
    test: Images | None
    y_test: Array | None
    class_names: tuple[str, ...]
    val: Images | None = None
    y_val: Array | None = None


def decode(images: ImageSet, spec: DataSpec) -> RawData:
    """Return the wanted classes as arrays of bytes (N, 3, H, W), mapped from the cache.

    Raises:
        DataError: an image that cannot be decoded, images of several sizes without
            ``data.image_size``, or a cache that cannot be written.
    """
    classes = chosen_classes(spec.classes, len(images.class_names), images.source)
    train, y_train = rows_of(images.y_train, classes)
    raw = RawData(
        source=images.source,
        x_train=_decoded(images.source, images.train, train.tolist(), spec),
        y_train=y_train,
        class_names=tuple(images.class_names[i] for i in classes),
        full_scale=255.0,
        is_image=True,
        keeps_bytes=True,
    )
    others = {"test": (images.test, images.y_test), "val": (images.val, images.y_val)}
    for part, (files, labels) in others.items():
        if files is not None and labels is not None:
            rows, y = rows_of(labels, classes)
            x = _decoded(images.source, files, rows.tolist(), spec)
            found: dict[str, Any] = {f"x_{part}": x, f"y_{part}": y}
            raw = replace(raw, **found)
    arrays = {name: array for name, array in raw.parts().items() if isinstance(array, np.memmap)}
    return replace(raw, digests={name: _digest(array) for name, array in arrays.items()})


def _decoded(source: str, images: Images, numbers: Sequence[int], spec: DataSpec) -> Array:
    if not numbers:
        raise DataError(f"{source}: no image of the chosen classes.")
    # Named by what goes in, so that a changed file or setting never meets an old result.
    # A generator: the identities of a million files are hashed without a list of them.
    lines = chain([f"{_VERSION} {spec.image_size} {spec.resize}"], images.identity(numbers))
    key = sha256_of_parts(f"{line}\n" for line in lines)[:32]
    path = cache_dir() / "decoded" / f"{key}.npy"
    ready = _mapped(path)
    if ready is not None and len(ready) == len(numbers):
        return ready
    try:
        _write(path, images, numbers, spec)
    except OSError as error:
        raise DataError(
            f"{path.parent}: the decoded images cannot be written ({error}); XDG_CACHE_HOME may "
            "name another folder for caches."
        ) from error
    ready = _mapped(path)
    assert ready is not None
    return ready


def _digest(array: np.memmap[Any, Any]) -> str:
    """Return the hash of a cached file; it is computed once and kept beside the file."""
    assert array.filename is not None
    beside = Path(array.filename).with_suffix(".sha256")
    if not beside.is_file():
        with replacing(beside) as partial:
            partial.write_text(sha256_of(array.data))
    return beside.read_text()


def _mapped(path: Path) -> Array | None:
    try:
        mapped: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        # Not there, or cut short by a full disk: it is written again.
        return None
    return mapped


def _write(path: Path, images: Images, numbers: Sequence[int], spec: DataSpec) -> None:
    """Decode in threads and write one by one; the file appears whole or not at all."""
    shape = (len(numbers), *_pixels(images[numbers[0]], numbers[0], spec).shape)
    with replacing(path) as partial:
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        for i, pixels in enumerate(_in_threads(images, numbers, spec)):
            if pixels.shape != shape[1:]:
                raise DataError(
                    f"{_name(images[numbers[i]], numbers[i])}: {pixels.shape[2]} x "
                    f"{pixels.shape[1]} pixels, others have {shape[3]} x {shape[2]}; set "
                    "data.image_size to bring all to one size."
                )
            out[i] = pixels
        out.flush()
        del out
        # The hash of an earlier file of this name, which was cut short.
        path.with_suffix(".sha256").unlink(missing_ok=True)


def _in_threads(images: Images, numbers: Sequence[int], spec: DataSpec) -> Iterator[Array]:
    """Yield the decoded images in order; only a few parts of them are in memory at a time."""
    # Threads are enough: Pillow does not hold the interpreter's lock while it decodes.
    workers = min(os.cpu_count() or 1, 16)

    def part(start: int) -> list[Array]:
        return [_pixels(images[i], i, spec) for i in numbers[start : start + _IMAGES_PER_TASK]]

    starts = range(0, len(numbers), _IMAGES_PER_TASK)
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(starts), 2 * workers):
            for pixels in pool.map(part, starts[first : first + 2 * workers]):
                yield from pixels


def _pixels(image: Compressed, number: int, spec: DataSpec) -> Array:
    """Decode one image to (3, H, W) bytes, grey ones to three equal channels."""
    from PIL import Image

    try:
        with Image.open(image if isinstance(image, Path) else io.BytesIO(image)) as opened:
            whole = _resized(opened, spec).convert("RGB")
            return np.ascontiguousarray(np.asarray(whole).transpose(2, 0, 1))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{_name(image, number)}: not a readable image ({error}); remove or replace it."
        ) from error


def _resized(image: Image.Image, spec: DataSpec) -> Image.Image:
    """Bring the short side to ``resize`` pixels and cut ``image_size`` out of the middle."""
    from PIL import Image

    side = spec.image_size
    if side is None or image.size == (side, side):
        return image
    short = spec.resize or side
    # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; never below what is asked for.
    image.draft("RGB", (short, short))
    factor = short / min(image.size)
    width, height = (max(short, round(length * factor)) for length in image.size)
    whole = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - side) // 2, (height - side) // 2
    return whole.crop((left, top, left + side, top + side))


def _name(image: Compressed, number: int) -> str:
    return str(image) if isinstance(image, Path) else f"image {number}"
