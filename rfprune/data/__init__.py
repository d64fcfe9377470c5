"""Data sets as tensors in memory, with fixed, seeded splits.

`load` turns the ``data:`` section of a sweep or trial file (`DataSpec`) into a `Dataset`: training,
validation and test rows as float32 and int64 tensors. Named sets (`DATASETS`) are looked for in
``$RFPRUNE_DATA``, then in the user's cache, then downloaded from their public source with a
checksum. To add one: a function in a module of `rfprune.data.sets` that returns a `RawData`,
and its row in `DATASETS` (other packages: an entry point of the group ``rfprune.dataset``).

Sets of image files are decoded once into the user's cache and stay bytes in memory (`Pixels`).

This package knows nothing of networks, batches or augmentation.
"""

from __future__ import annotations

from rfprune.data.dataset import PARTS, Dataset, RawData, Rows
from rfprune.data.input_scaling import Scaling
from rfprune.data.loading import data_files, load
from rfprune.data.pixels import Pixels
from rfprune.data.sets.named import DATASETS
from rfprune.data.spec import DataSpec
from rfprune.data.stored.rows import StoredRows, Window

__all__ = [
    "DATASETS",
    "PARTS",
    "DataSpec",
    "Dataset",
    "Pixels",
    "RawData",
    "Rows",
    "Scaling",
    "StoredRows",
    "Window",
    "data_files",
    "load",
]
