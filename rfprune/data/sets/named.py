"""The table of named data sets; listing it imports no data library."""

from __future__ import annotations

from rfprune.core.registry import Entry, Registry

__all__ = ["DATASETS"]

DATASETS = Registry(
    "dataset",
    {
        "breast_cancer": Entry(
            "rfprune.data.sets.scikit_learn:breast_cancer",
            "569 tumours, 30 features, malignant or benign: a binary task (embedded)",
        ),
        "cifar10": Entry(
            "rfprune.data.sets.image_sets:cifar10",
            "60,000 colour photos 3x32x32, 10 classes (download 162 MB)",
        ),
        "diabetes": Entry(
            "rfprune.data.sets.scikit_learn:diabetes",
            "442 patients, 10 features, progression in a year: a regression (embedded)",
        ),
        "digit_properties": Entry(
            "rfprune.data.sets.simulated:digit_properties",
            "the digits with three labels each: odd, from 5 on, with a loop: multilabel (embedded)",
        ),
        "digits": Entry(
            "rfprune.data.sets.image_sets:digits",
            "1,797 hand-written digits as 64 pixels (embedded)",
        ),
        "digits_images": Entry(
            "rfprune.data.sets.image_sets:digits_images",
            "the same digits as images 1x8x8 (embedded)",
        ),
        "event_tagger": Entry(
            "rfprune.data.sets.simulated:event_tagger",
            "40,000 simulated events, 20 variables, signal or background: a binary task",
        ),
        "fashion_mnist": Entry(
            "rfprune.data.sets.image_sets:fashion_mnist",
            "70,000 grey clothing images 1x28x28, 10 classes (download 29 MB)",
        ),
        "jets": Entry(
            "rfprune.data.sets.jets:jets",
            "830,000 LHC jets, 16 features, 5 classes (OpenML 42468, download)",
        ),
        "svhn": Entry(
            "rfprune.data.sets.image_sets:svhn",
            "99,289 cropped house-number digits 3x32x32, 10 classes (download 235 MB)",
        ),
        "tumour_anomalies": Entry(
            "rfprune.data.sets.simulated:tumour_anomalies",
            "the tumours, malignant ones as what is unusual: an anomaly task (embedded)",
        ),
        "two_heads": Entry(
            "rfprune.data.sets.simulated:two_heads",
            "3,000 simulated rows, 12 features, 4 classes and a momentum, weights: two heads",
        ),
        "tiny_imagenet": Entry(
            "rfprune.data.sets.image_folders:tiny_imagenet",
            "up to 110,000 colour photos 3x64x64, 200 classes (downloaded by yourself, 248 MB)",
        ),
    },
)
