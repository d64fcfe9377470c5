"""The named networks, one function each.

A function takes the shape of one sample and the number of classes, then its own arguments with
defaults, and returns a network whose output are logits. All are sequences of named modules:
convolutions with integer padding and pooling without ceil_mode, because hls4ml's PyTorch front end
refuses other forms or silently changes them. A layer ``fc1`` is followed by ``fc1_bn`` and
``fc1_relu``, a layer ``conv1`` also by ``conv1_pool``.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from rfprune.core.named import Outputs
from rfprune.errors import NetworkError

__all__ = ["Shape", "Width", "cnn", "image_shape", "lenet", "mlp", "svhn_cnn"]

Width = Annotated[int, Field(strict=True, ge=1, le=65536)]
Widths = Annotated[tuple[Width, ...], Field(max_length=64)]
Flag = Annotated[bool, Field(strict=True)]
Shape = tuple[int, ...]
Layers = OrderedDict[str, nn.Module]


class _Branching(nn.Module):
    """Layers one after the other, and an output layer for each head behind the last of them."""

    def __init__(self, layers: Layers, width: int, heads: dict[str, int]) -> None:
        super().__init__()
        self._body, self._heads = [*layers], [f"output_{head}" for head in heads]
        for name, layer in layers.items():
            self.add_module(name, layer)
        for name, n_outputs in zip(self._heads, heads.values(), strict=True):
            self.add_module(name, nn.Linear(width, n_outputs))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        for name in self._body:
            x = getattr(self, name)(x)
        return tuple(getattr(self, name)(x) for name in self._heads)


def mlp(
    input_shape: Shape,
    n_outputs: Outputs,
    hidden: Widths = (64, 32, 32),
    batch_norm: Flag = False,
) -> nn.Module:
    """Dense layers fc1, fc2, ... with ReLU between them, and ``output``.

    The default is the jet tagger 16-64-32-32-5 of Duarte et al. (arXiv 1804.06913).

    Args:
        input_shape: (F,).
        n_outputs: width of the output layer; for several heads the widths by name, of the layers
            ``output_HEAD``.
        hidden: widths of fc1, fc2, ...
        batch_norm: a batch norm between every hidden layer and its ReLU.

    Raises:
        NetworkError: the samples are not flat.
    """
    if len(input_shape) != 1:
        raise NetworkError(
            f"model 'mlp' takes flat data (F,), but a sample has shape {input_shape}; set "
            "data.flatten: true, or choose a convolutional network."
        )
    layers: Layers = OrderedDict()
    if isinstance(n_outputs, dict):
        # The last one is taken off again, and replaced by one for each head.
        _dense(layers, (input_shape[0], *hidden, 1), batch_norm)
        last = layers.pop("output")
        assert isinstance(last, nn.Linear)
        return _Branching(layers, last.in_features, n_outputs)
    _dense(layers, (input_shape[0], *hidden, n_outputs), batch_norm)
    return nn.Sequential(layers)


def lenet(
    input_shape: Shape,
    n_outputs: int,
    channels: Widths = (6, 16),
    hidden: Widths = (120, 84),
    padding: Literal[0, 2] = 2,
) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: conv1, conv2, fc1, fc2, output.

    On 28x28 images the kernels hold 150, 2400, 48000, 10080 and 840 weights.

    Args:
        input_shape: (C, H, W).
        n_outputs: width of the output layer.
        channels: filters of the 5x5 convolutions.
        hidden: widths of the dense layers before the output.
        padding: zeros around the input of conv1. From 28x28 images, 2 gives fc1 400 inputs, as
            LeNet-5 has from its 32x32 images, and 0 gives it 256.
    """
    layers: Layers = OrderedDict()
    shape = image_shape("lenet", input_shape)
    for i, filters in enumerate(channels, start=1):
        conv = nn.Conv2d(shape[0], filters, 5, padding=padding if i == 1 else 0)
        shape = _conv(layers, f"conv{i}", conv, shape)
    layers["flatten"] = nn.Flatten()
    _dense(layers, (math.prod(shape), *hidden, n_outputs), batch_norm=False)
    return nn.Sequential(layers)


def cnn(
    input_shape: Shape,
    n_outputs: int,
    channels: Widths = (8, 16),
    hidden: Widths = (),
    kernel_size: Literal[1, 3, 5, 7] = 3,
) -> nn.Module:
    """A small CNN: (conv, batch norm, ReLU, 2x2 max pool) per channel count, then dense layers.

    Args:
        input_shape: (C, H, W).
        n_outputs: width of the output layer.
        channels: filters of conv1, conv2, ...; padding keeps the image's size.
        hidden: widths of dense layers before the output.
        kernel_size: of every convolution.
    """
    layers: Layers = OrderedDict()
    shape = image_shape("cnn", input_shape)
    for i, filters in enumerate(channels, start=1):
        conv = nn.Conv2d(shape[0], filters, kernel_size, padding=kernel_size // 2, bias=False)
        shape = _conv(layers, f"conv{i}", conv, shape)
    layers["flatten"] = nn.Flatten()
    _dense(layers, (math.prod(shape), *hidden, n_outputs), batch_norm=False)
    return nn.Sequential(layers)


def svhn_cnn(input_shape: Shape, n_outputs: int) -> nn.Module:
    """Return the SVHN network of Aarrestad et al. 2021 (arXiv 2101.05108).

    Three 3x3 convolutions of 16, 16 and 24 filters, each with batch norm, ReLU and 2x2 max pooling;
    dense layers of 42 and 64 with batch norm and ReLU: 13,552 kernel weights on 3x32x32 images.

    Args:
        input_shape: (C, H, W).
        n_outputs: width of the output layer.
    """
    layers: Layers = OrderedDict()
    shape = image_shape("svhn_cnn", input_shape)
    for i, filters in enumerate((16, 16, 24), start=1):
        conv = nn.Conv2d(shape[0], filters, 3, bias=False)
        shape = _conv(layers, f"conv{i}", conv, shape)
    layers["flatten"] = nn.Flatten()
    _dense(layers, (math.prod(shape), 42, 64, n_outputs), batch_norm=True)
    return nn.Sequential(layers)


def image_shape(model: str, input_shape: Shape) -> Shape:
    """Return the shape of a sample, which is that of an image (C, H, W).

    Args:
        model: name of the network, for the message.
        input_shape: of one sample.

    Raises:
        NetworkError: it is not.
    """
    if len(input_shape) != 3:
        raise NetworkError(
            f"model '{model}' takes images (C, H, W), but a sample has shape {input_shape}; choose "
            "'mlp' for flat data."
        )
    return input_shape


def _conv(layers: Layers, name: str, conv: nn.Conv2d, shape: Shape) -> Shape:
    """Append conv, batch norm where the conv has no bias, ReLU, 2x2 max pool; return the shape."""
    kernel, padding = conv.kernel_size[0], int(conv.padding[0])
    height, width = ((size + 2 * padding - kernel + 1) // 2 for size in shape[1:])
    if min(height, width) < 1:
        raise NetworkError(
            f"{name}: its input is {shape[1]}x{shape[2]}, too small for a {kernel}x{kernel} kernel "
            "and 2x2 pooling; give larger images or fewer convolutions."
        )
    layers[name] = conv
    if conv.bias is None:
        layers[f"{name}_bn"] = nn.BatchNorm2d(conv.out_channels)
    layers[f"{name}_relu"] = nn.ReLU()
    layers[f"{name}_pool"] = nn.MaxPool2d(2)
    return conv.out_channels, height, width


def _dense(layers: Layers, widths: Shape, batch_norm: bool) -> None:
    """Append fc1, fc2, ..., output with the given widths (input first), ReLU between them."""
    for i, (n_in, n_out) in enumerate(pairwise(widths[:-1]), start=1):
        layers[f"fc{i}"] = nn.Linear(n_in, n_out, bias=not batch_norm)
        if batch_norm:
            layers[f"fc{i}_bn"] = nn.BatchNorm1d(n_out)
        layers[f"fc{i}_relu"] = nn.ReLU()
    layers["output"] = nn.Linear(widths[-2], widths[-1])
