"""The table of named networks; listing it does not import torch."""

from __future__ import annotations

from rfprune.core.registry import Entry, Registry

__all__ = ["MODELS"]

MODELS = Registry(
    "model",
    {
        "cnn": Entry(
            "rfprune.models.networks:cnn",
            "small CNN: (conv 3x3, batch norm, ReLU, max pool) x 2, dense",
        ),
        "edge_cnn": Entry(
            "rfprune.models.image_networks:edge_cnn",
            "small residual CNN: stem, then a strided conv and a residual per width",
        ),
        "efficientnet_lite0": Entry(
            "rfprune.models.image_networks:efficientnet_lite0",
            "EfficientNet-Lite0 of timm (extra edge)",
        ),
        "lenet": Entry("rfprune.models.networks:lenet", "LeNet-5 with ReLU and max pooling"),
        "mlp": Entry(
            "rfprune.models.networks:mlp", "dense layers 64-32-32 with ReLU, for flat data"
        ),
        "mobilenet_v3_large": Entry(
            "rfprune.models.image_networks:mobilenet_v3_large",
            "MobileNetV3-Large of torchvision (extra edge)",
        ),
        "mobilenet_v3_small": Entry(
            "rfprune.models.image_networks:mobilenet_v3_small",
            "MobileNetV3-Small of torchvision (extra edge)",
        ),
        "squeezenet1_1": Entry(
            "rfprune.models.image_networks:squeezenet1_1",
            "SqueezeNet 1.1 of torchvision (extra edge)",
        ),
        "svhn_cnn": Entry(
            "rfprune.models.networks:svhn_cnn",
            "CNN of Aarrestad et al. 2021: conv 16-16-24, dense 42-64, batch norm",
        ),
    },
)
