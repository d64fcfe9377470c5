"""The layer types that hold weights: one row each, and the only place that knows their shapes.

hls4ml streams the weights of a layer in *HLS order*, output index slowest, channel fastest
(`hls4ml/model/optimizer/passes/convert_to_channels_last.py`, then
`backends/vivado/passes/resource_strategy.py`). A row says how many products an output takes
(``n_in``), how many outputs there are (``n_out``), and the permutation from HLS order to torch
order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch import nn

from rfprune.arrays import IntArray

__all__ = [
    "WEIGHT_KINDS",
    "WeightKind",
    "dense_after_flatten_order",
    "holds_weights",
    "kind_of",
    "no_fault",
]


def no_fault(module: Any) -> str | None:
    """Return None: hls4ml takes every layer of the type."""
    return None


def _conv_fault(module: Any) -> str | None:
    if module.groups != 1:
        return f"groups={module.groups} (depthwise and grouped convolutions)"
    if module.padding_mode != "zeros":
        return f"padding_mode='{module.padding_mode}' (only zeros)"
    if isinstance(module.padding, str):
        return f"padding='{module.padding}' (give whole numbers)"
    return f"dilation={module.dilation}" if set(module.dilation) != {1} else None


@dataclass(frozen=True)
class WeightKind:
    """One type of layer that holds weights.

    Attributes:
        name: as in design files and tables.
        module: the torch class.
        hls_axes: the weight's axes (output first) in the order in which HLS nests them.
        input_axes: how many axes one sample of the input may have.
        convolves: whether hls4ml builds it as a convolution, once per position.
        fault: returns what hls4ml cannot take about a layer of the type, or None.
    """

    name: str
    module: type[nn.Module]
    hls_axes: tuple[int, ...]
    input_axes: tuple[int, ...]
    convolves: bool
    fault: Callable[[Any], str | None] = no_fault

    def n_out(self, weight_shape: tuple[int, ...]) -> int:
        """Outputs per position: neurons, or filters."""
        return weight_shape[0]

    def n_in(self, weight_shape: tuple[int, ...]) -> int:
        """Products per output: inputs, or channels times kernel size."""
        return prod(weight_shape[1:])

    def order(self, weight_shape: tuple[int, ...]) -> IntArray:
        """Return (N,): the flat torch index of the weight at each flat HLS position."""
        index = np.arange(prod(weight_shape), dtype=np.int64).reshape(weight_shape)
        return np.ascontiguousarray(index.transpose(self.hls_axes)).reshape(-1)


#: A new layer type is one more row here, and in `LAYER_TYPES` of `rfprune.estimate.design` if the
#: estimators do not know it yet.
WEIGHT_KINDS: tuple[WeightKind, ...] = (
    WeightKind("dense", nn.Linear, (0, 1), (1,), convolves=False),
    # A Linear at every position of (T, C) or (H, W, C): hls4ml's PointwiseConv1D, PointwiseConv2D.
    WeightKind("pointwise", nn.Linear, (0, 1), (2, 3), convolves=True),
    WeightKind("conv1d", nn.Conv1d, (0, 2, 1), (2,), convolves=True, fault=_conv_fault),
    WeightKind("conv2d", nn.Conv2d, (0, 2, 3, 1), (3,), convolves=True, fault=_conv_fault),
)


def holds_weights(module: nn.Module) -> bool:
    """Return whether the module is of a type with prunable weights."""
    return any(type(module) is kind.module for kind in WEIGHT_KINDS)


def kind_of(module: nn.Module, in_shape: tuple[int, ...]) -> WeightKind | None:
    """Return the row of a module that reads samples of `in_shape`, or None if there is none."""
    for kind in WEIGHT_KINDS:
        if type(module) is kind.module and len(in_shape) in kind.input_axes:
            return kind
    return None


def dense_after_flatten_order(n_out: int, flattened: tuple[int, ...]) -> IntArray:
    """Return the order of the first Linear after a Flatten of (C, ...) features in io_parallel.

    There hls4ml folds the transpose of the features into the weights
    (`convert_to_channels_last.py`, ``RemoveTransposeBeforeFlatten``), so that channels run fastest.
    In io_stream the transpose stays a layer of its own and the plain order holds.
    """
    index = np.arange(n_out * prod(flattened), dtype=np.int64).reshape(n_out, *flattened)
    return np.ascontiguousarray(np.moveaxis(index, 1, -1)).reshape(-1)
