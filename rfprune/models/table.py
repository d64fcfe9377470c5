"""The table of named networks; listing it does not import torch."""

from __future__ import annotations

from rfprune.registry import Entry, Registry

__all__ = ["MODELS"]

MODELS = Registry(
    "model",
    {
        "cnn": Entry(
            "rfprune.models.networks:cnn",
            "small CNN: (conv 3x3, batch norm, ReLU, max pool) x 2, dense",
        ),
        "lenet": Entry("rfprune.models.networks:lenet", "LeNet-5 with ReLU and max pooling"),
        "mlp": Entry(
            "rfprune.models.networks:mlp", "dense layers 64-32-32 with ReLU, for flat data"
        ),
        "svhn_cnn": Entry(
            "rfprune.models.networks:svhn_cnn",
            "CNN of Aarrestad et al. 2021: conv 16-16-24, dense 42-64, batch norm",
        ),
    },
)
