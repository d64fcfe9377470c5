"""Readers of image sets: Tiny-ImageNet, and folders with one folder per class."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rfprune.core.registry import nearest
from rfprune.data.dataset import Array
from rfprune.data.places import file_identity, folders_of
from rfprune.data.sets.images import ImageFiles, ImageSet
from rfprune.errors import DataError

__all__ = ["image_folder_files", "is_image_folder", "read_image_folder", "tiny_imagenet"]

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
_PACKED = "tiny_imagenet_{part}_jpeg.npz"
_ORIGINAL = "tiny-imagenet-200"
_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"


def tiny_imagenet() -> ImageSet:
    """Return Tiny-ImageNet (Stanford CS231n): 64x64 photos of 200 ImageNet classes.

    Its validation set (50 images per class) is the test part; the labels of its own test set are
    not public. Looked for in ``$RFPRUNE_DATA/tiny_imagenet`` and in the user's cache: the unpacked
    ``tiny-imagenet-200``, or the same JPEG bytes in two .npz files with ``jpeg`` (all bytes),
    ``offsets`` (N + 1,) and ``label`` (N,), and ``classes.tsv`` (number, WordNet id, words).

    Raises:
        DataError: it is in none of them, or damaged.
    """
    folders = folders_of("tiny_imagenet")
    for folder in folders:
        if (folder / _PACKED.format(part="train")).is_file():
            return _packed(folder)
        for place in (folder / _ORIGINAL, folder):
            if (place / "wnids.txt").is_file():
                return _tiny_imagenet_folder(place)
    looked = ", ".join(str(folder) for folder in folders)
    raise DataError(
        f"data set 'tiny_imagenet' is not in {looked}. Unpack {_URL} (248 MB) there, so that "
        f"{folders[0] / _ORIGINAL / 'wnids.txt'} exists. RFPRUNE_DATA may name another folder that "
        "holds tiny_imagenet/."
    )


def is_image_folder(path: Path) -> bool:
    """Return True if `path` is a folder of images: it has a folder ``train``."""
    return (path / "train").is_dir()


def read_image_folder(path: Path) -> ImageSet:
    """Read ``train/<class>/...`` and, where they are there, ``val/<class>/`` and ``test/<class>/``.

    The classes are numbered in the alphabetical order of their folders. Of ``val`` and ``test`` the
    only one is the test part; of both, each is what it is called. The unpacked
    ``tiny-imagenet-200`` is recognised by its ``wnids.txt``.

    Raises:
        DataError: no classes, no images, or a class that ``train`` lacks.
    """
    if (path / "wnids.txt").is_file():
        return _tiny_imagenet_folder(path)
    names = _subfolders(path / "train")
    if not names:
        raise DataError(f"{path / 'train'}: has no folders, one of which is expected per class.")
    train, y_train = _by_class(path / "train", names)
    found = {}
    for part in ("val", "test"):
        if (path / part).is_dir() and _subfolders(path / part):
            found[part] = _of_known_classes(path / part, names)
    test, y_test = found.get("test") or found.get("val") or (None, None)
    val, y_val = found["val"] if len(found) == 2 else (None, None)
    return ImageSet(str(path), train, y_train, test, y_test, tuple(names), val, y_val)


def _of_known_classes(path: Path, names: Sequence[str]) -> tuple[ImageFiles, Array]:
    for name in _subfolders(path):
        if name not in names:
            raise DataError(
                f"{path / name}: the class '{name}' is not in train/.{nearest(name, names)}"
            )
    return _by_class(path, names)


def image_folder_files(path: Path) -> list[Path]:
    """Return every file that reading the folder of images at `path` may need."""
    parts = [part for part in ("train", "val", "test") if (path / part).is_dir()]
    tables = sorted(path.glob("*.txt"))
    below = [file for part in parts for file in sorted((path / part).rglob("*")) if file.is_file()]
    return [*tables, *below]


def _subfolders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


def _by_class(path: Path, names: Sequence[str]) -> tuple[ImageFiles, Array]:
    files: list[Path] = []
    labels: list[int] = []
    for number, name in enumerate(names):
        # Sorted: the order of a folder differs between file systems, and splits depend on it.
        found = sorted(p for p in (path / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        files += found
        labels += [number] * len(found)
    if not files:
        raise DataError(f"{path}: contains no image. Looked for: {', '.join(SUFFIXES)}.")
    return ImageFiles(files), np.array(labels, dtype=np.int64)


def _tiny_imagenet_folder(path: Path) -> ImageSet:
    """Read the layout of Stanford's archive: classes in the order of wnids.txt."""
    ids = (path / "wnids.txt").read_text(encoding="utf-8").split()
    train, y_train = _by_class(path / "train", ids)
    annotations = path / "val" / "val_annotations.txt"
    number = {wnid: i for i, wnid in enumerate(ids)}
    try:
        rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines() if line]
        test = ImageFiles([path / "val" / "images" / name for name, _ in rows])
        y_test = np.array([number[wnid] for _, wnid in rows], dtype=np.int64)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{annotations}: not readable as lines of file name and WordNet id ({error!r})."
        ) from error
    words = _table(path / "words.txt")
    return ImageSet(str(path), train, y_train, test, y_test, tuple(words.get(i, i) for i in ids))


def _table(path: Path) -> dict[str, str]:
    """Read lines of key, tab, text; an absent file is an empty table."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def _packed(folder: Path) -> ImageSet:
    numbered = _table(folder / "classes.tsv")
    names = tuple(numbered[str(i)].split("\t")[-1] for i in range(len(numbered)))
    train, y_train = _read_packed(folder / _PACKED.format(part="train"))
    test, y_test = _read_packed(folder / _PACKED.format(part="val"))
    if not names:
        names = tuple(str(i) for i in range(int(y_train.max()) + 1))
    return ImageSet(str(folder), train, y_train, test, y_test, names)


@dataclass(frozen=True)
class PackedImages:
    """Images whose bytes lie end to end in one .npz file, which is read when the first is wanted.

    Attributes:
        path: the file.
        offsets: (N + 1,) where each image starts.
    """

    path: Path
    offsets: Array

    def __getitem__(self, number: int, /) -> memoryview:
        return self._bytes[self.offsets[number] : self.offsets[number + 1]]

    def identity(self, numbers: Sequence[int]) -> Iterator[str]:
        """Yield path, size and time of the file, and the numbers."""
        yield file_identity(self.path)
        yield from (str(number) for number in numbers)

    @cached_property
    def _bytes(self) -> memoryview:
        (jpeg,) = _arrays(self.path, ["jpeg"])
        if self.offsets[-1] != len(jpeg):
            raise DataError(
                f"{self.path}: the offsets end at {self.offsets[-1]}, but 'jpeg' has {len(jpeg)} "
                "bytes."
            )
        return jpeg.data


def _read_packed(path: Path) -> tuple[PackedImages, Array]:
    """Read where each image lies and its label."""
    offsets, labels = _arrays(path, ["offsets", "label"])
    if len(offsets) != len(labels) + 1 or np.any(np.diff(offsets) < 0):
        raise DataError(
            f"{path}: {len(offsets)} offsets for {len(labels)} labels; there must be one more, in "
            "ascending order."
        )
    return PackedImages(path, offsets), labels.astype(np.int64)


def _arrays(path: Path, names: Sequence[str]) -> list[Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: not a readable .npz archive with jpeg, offsets and label ({error})."
        ) from error
