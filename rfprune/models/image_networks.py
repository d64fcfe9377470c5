"""Convolutional networks for edge devices: three published ones, and a small one for quick runs.

A function takes the shape of one sample and the number of classes, then its own arguments with
defaults, and returns a network with initial weights whose output are logits; nothing is downloaded.
The published ones come from torchvision and timm (extra ``edge``), with three changes: the first
convolution takes as many channels as the images have, its stride can be 1, so that images of 64
pixels are not reduced to 2 x 2, and all widths can be scaled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from rfprune.models.extra_packages import import_package
from rfprune.models.networks import Shape, Width, image_shape

__all__ = [
    "edge_cnn",
    "efficientnet_lite0",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "squeezenet1_1",
]

Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)]
Scale = Annotated[float, Field(gt=0, le=8)]
Probability = Annotated[float, Field(ge=0, lt=1)]
StemStride = Literal[1, 2]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip path: ``relu(x + conv2(relu(conv1(x))))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, H, W) for (N, width, H, W)."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(x + self.bn2(self.conv2(inner)))
        return out


def edge_cnn(
    input_shape: Shape,
    n_outputs: int,
    channels: Widths = (16, 32, 64),
    stem_stride: StemStride = 1,
) -> nn.Module:
    """A small residual CNN of plain torch: a stem, then per width a strided conv and a residual.

    With n widths it has 3n - 2 convolutions, of which 2n - 1 sets can be pruned on their own, and
    n - 1 of these (the inside of each residual) can be removed entirely.

    Args:
        input_shape: (C, H, W).
        n_outputs: width of the output layer.
        channels: width of the stem and of each stage; every stage halves the image.
        stem_stride: of the first convolution.
    """
    n_channels = image_shape("edge_cnn", input_shape)[0]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, width in enumerate(channels):
        name, stride = ("stem", stem_stride) if i == 0 else (f"down{i}", 2)
        layers[name] = nn.Conv2d(n_channels, width, 3, stride=stride, padding=1, bias=False)
        layers[f"{name}_bn"] = nn.BatchNorm2d(width)
        layers[f"{name}_relu"] = nn.ReLU()
        if i > 0:
            layers[f"residual{i}"] = ResidualBlock(width)
        n_channels = width
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(n_channels, n_outputs)
    return nn.Sequential(layers)


def mobilenet_v3_small(
    input_shape: Shape,
    n_outputs: int,
    width: Scale = 1.0,
    stem_stride: StemStride = 2,
    dropout: Probability = 0.2,
    norm_momentum: Probability = 0.1,
) -> nn.Module:
    """MobileNetV3-Small (Howard et al., arXiv 1905.02244) of torchvision.

    Args:
        input_shape: (C, H, W).
        n_outputs: width of the output layer.
        width: factor of all widths, which are rounded to multiples of 8.
        stem_stride: of the first convolution: 2 as published, 1 for images below 128 pixels.
        dropout: before the output layer.
        norm_momentum: share of each batch in the running statistics. The published 0.01 needs
            hundreds of steps before an evaluation means anything.
    """
    given = (input_shape, n_outputs, width, stem_stride, dropout, norm_momentum)
    return _mobilenet_v3("mobilenet_v3_small", *given)


def mobilenet_v3_large(
    input_shape: Shape,
    n_outputs: int,
    width: Scale = 1.0,
    stem_stride: StemStride = 2,
    dropout: Probability = 0.2,
    norm_momentum: Probability = 0.1,
) -> nn.Module:
    """MobileNetV3-Large of torchvision; arguments as `mobilenet_v3_small`."""
    given = (input_shape, n_outputs, width, stem_stride, dropout, norm_momentum)
    return _mobilenet_v3("mobilenet_v3_large", *given)


def squeezenet1_1(
    input_shape: Shape,
    n_outputs: int,
    width: Scale = 1.0,
    stem_stride: StemStride = 2,
    dropout: Probability = 0.5,
) -> nn.Module:
    """SqueezeNet 1.1 (Iandola et al., arXiv 1602.07360) of torchvision; it has no batch norm.

    Arguments as `mobilenet_v3_small`.
    """
    n_channels = image_shape("squeezenet1_1", input_shape)[0]
    library = import_package("torchvision.models.squeezenet", "squeezenet1_1")
    model: Any = library.squeezenet1_1(weights=None, num_classes=n_outputs, dropout=dropout)
    scaled = partial(_scaled, width=width)
    for i, layer in enumerate(model.features):
        if isinstance(layer, library.Fire):
            squeeze, first, second = (
                scaled(conv.out_channels)
                for conv in (layer.squeeze, layer.expand1x1, layer.expand3x3)
            )
            model.features[i] = library.Fire(scaled(layer.inplanes), squeeze, first, second)
    stem, last = model.features[0], model.classifier[1]
    model.features[0] = _like(stem, n_channels, scaled(stem.out_channels), (stem_stride,) * 2)
    model.classifier[1] = _like(last, scaled(last.in_channels), n_outputs, last.stride)
    # As torchvision does it: the layers that were put in have torch's own initial weights.
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            if name == "classifier.1":
                nn.init.normal_(layer.weight, std=0.01)
            else:
                nn.init.kaiming_uniform_(layer.weight)
    return cast(nn.Module, model)


def efficientnet_lite0(
    input_shape: Shape,
    n_outputs: int,
    width: Scale = 1.0,
    stem_stride: StemStride = 2,
    dropout: Probability = 0.2,
) -> nn.Module:
    """EfficientNet-Lite0 of timm: EfficientNet-B0 without squeeze-excite, with ReLU6.

    Arguments as `mobilenet_v3_small`; the stem keeps its 32 filters whatever the width.
    """
    n_channels = image_shape("efficientnet_lite0", input_shape)[0]
    library = import_package("timm.models.efficientnet", "efficientnet_lite0")
    build: Callable[..., Any] = library._gen_efficientnet_lite
    model: Any = build(
        "efficientnet_lite0",
        channel_multiplier=width,
        num_classes=n_outputs,
        in_chans=n_channels,
    )
    model.conv_stem.stride = (stem_stride, stem_stride)
    # timm's own dropout is a function call, which a traced network would repeat in evaluation.
    model.global_pool = nn.Sequential(model.global_pool, nn.Dropout(dropout))
    return cast(nn.Module, model)


def _mobilenet_v3(
    name: str,
    input_shape: Shape,
    n_outputs: int,
    width: float,
    stem_stride: int,
    dropout: float,
    norm_momentum: float,
) -> nn.Module:
    n_channels = image_shape(name, input_shape)[0]
    library = import_package("torchvision.models", name)
    model: Any = getattr(library, name)(
        weights=None,
        num_classes=n_outputs,
        width_mult=width,
        dropout=dropout,
        norm_layer=partial(nn.BatchNorm2d, eps=0.001, momentum=norm_momentum),
    )
    stem = model.features[0][0]
    model.features[0][0] = _like(stem, n_channels, stem.out_channels, (stem_stride,) * 2)
    # As torchvision initialises every convolution; this one is new.
    nn.init.kaiming_normal_(model.features[0][0].weight, mode="fan_out")
    return cast(nn.Module, model)


def _like(conv: nn.Conv2d, n_in: int, n_out: int, stride: tuple[int, ...]) -> nn.Conv2d:
    """Return a new convolution with other channels and stride."""
    return nn.Conv2d(
        n_in,
        n_out,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )


def _scaled(channels: int, width: float) -> int:
    """Return the scaled number of channels, a multiple of 8 unless nothing is scaled."""
    # As published at width 1: rounding would change widths that are not multiples of 8.
    return channels if width == 1 else max(8, 8 * round(channels * width / 8))
