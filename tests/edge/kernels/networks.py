"""Networks for tests: published ones with statistics that are not those of initialisation."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfprune.edge.kernels import KernelCounts
from rfprune.edge.kernels.channels import find_channels
from rfprune.edge.kernels.counting import make_formulas
from rfprune.edge.kernels.flow import find_flow
from rfprune.models import build
from rfprune.models.extra_packages import import_package
from rfprune.models.spec import ModelSpec

SHAPE = (3, 32, 32)
N_CLASSES = 7


def resnet18() -> nn.Module:
    models: Any = import_package("torchvision.models", "resnet18")
    model: nn.Module = models.resnet18(weights=None, num_classes=N_CLASSES)
    return model


def densenet() -> nn.Module:
    models: Any = import_package("torchvision.models.densenet", "densenet")
    model: nn.Module = models.DenseNet(8, (2, 3), 16, num_classes=N_CLASSES)
    return model


def named(name: str, **args: Any) -> Callable[[], nn.Module]:
    spec = ModelSpec(name=name, args=args)
    return lambda: build(spec, SHAPE, N_CLASSES)


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "edge_cnn": named("edge_cnn"),
    "mobilenet_v3_small": named("mobilenet_v3_small", stem_stride=1, width=0.5),
    "mobilenet_v3_large": named("mobilenet_v3_large", stem_stride=1, width=0.5),
    "efficientnet_lite0": named("efficientnet_lite0", stem_stride=1, width=0.5),
    "squeezenet1_1": named("squeezenet1_1", stem_stride=1, width=0.5),
    "resnet18": resnet18,
    "densenet": densenet,
}


def network(name: str) -> nn.Module:
    """Return a network in evaluation mode whose norms shift and scale, so that nothing is zero."""
    if name != "edge_cnn" and find_spec("timm") is None:
        pytest.skip("timm and torchvision are not installed (extra 'edge')")
    torch.manual_seed(1)
    model = BUILDERS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight, mean=1, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
    return model.eval()


def images(n: int = 2) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(3))


def count(model: nn.Module, input_shape: tuple[int, ...]) -> KernelCounts:
    """Count what a network takes as it is, without a policy: arrays (n,)."""
    channels = find_channels(model, input_shape)
    whole = np.array([channels.sizes], dtype=np.int64)
    found = make_formulas(model, channels).evaluate(find_flow(channels, whole))
    arrays = (found.macs, found.parameters, found.activation_bytes, found.inputs)
    return KernelCounts(found.layers, *(array[0] for array in arrays), kinds=found.kinds)
