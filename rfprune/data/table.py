"""The table of named data sets; listing it imports no data library."""

from __future__ import annotations

from rfprune.registry import Entry, Registry

__all__ = ["DATASETS"]

DATASETS = Registry(
    "dataset",
    {
        "cifar10": Entry(
            "rfprune.data.sets:cifar10",
            "60,000 colour photos 3x32x32, 10 classes (download 162 MB)",
        ),
        "digits": Entry(
            "rfprune.data.sets:digits", "1,797 hand-written digits as 64 pixels (embedded)"
        ),
        "digits_images": Entry(
            "rfprune.data.sets:digits_images", "the same digits as images 1x8x8 (embedded)"
        ),
        "fashion_mnist": Entry(
            "rfprune.data.sets:fashion_mnist",
            "70,000 grey clothing images 1x28x28, 10 classes (download 29 MB)",
        ),
        "jets": Entry(
            "rfprune.data.jets:jets",
            "830,000 LHC jets, 16 features, 5 classes (OpenML 42468, download)",
        ),
        "svhn": Entry(
            "rfprune.data.sets:svhn",
            "99,289 cropped house-number digits 3x32x32, 10 classes (download 235 MB)",
        ),
        "tiny_imagenet": Entry(
            "rfprune.data.image_folders:tiny_imagenet",
            "up to 110,000 colour photos 3x64x64, 200 classes (put there by hand, 248 MB)",
        ),
    },
)
