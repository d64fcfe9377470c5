"""The layer types that hold weights: one row each, and the only place that knows their shapes.

hls4ml streams the weights of a layer in *HLS order*, output index slowest, channel fastest
(`hls4ml/model/optimizer/passes/convert_to_channels_last.py`, then
`backends/vivado/passes/resource_strategy.py`). A row says how many products an output takes
(``n_in``), how many outputs there are (``n_out``), the permutation from HLS order to torch order,
and which parameters of the module are such weights. A layer with several, as recurrent ones are, is
several matrices to the hardware, each with multipliers of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch import Tensor, nn

from rfprune.core.arrays import IntArray
from rfprune.fpga.layers.operators import GRU, LSTM

__all__ = [
    "WEIGHT_KINDS",
    "WeightKind",
    "holds_weights",
    "is_depthwise",
    "kind_of",
    "no_fault",
    "plain_class",
    "weights_of",
]


def no_fault(module: Any) -> str | None:
    """Return None: hls4ml takes every layer of the type."""
    return None


def _conv_fault(module: Any) -> str | None:
    if module.groups != 1 and not is_depthwise(module):
        return (
            f"groups={module.groups} (rfprune takes 1, and as many as there are channels; take a "
            "layer per group, and torch.cat)"
        )
    if module.padding_mode != "zeros":
        return f"padding_mode='{module.padding_mode}' (hls4ml pads with zeros alone; take 'zeros')"
    if module.padding == "same" and set(module.stride) != {1}:
        return "padding='same' and a stride (take a number of zeros as padding)"
    if set(module.dilation) != {1}:
        return (
            f"dilation={module.dilation} (hls4ml 1.3 computes other numbers; take a larger kernel)"
        )
    return None


def _recurrent_fault(module: Any) -> str | None:
    if not module.batch_first:
        return "batch_first=False (rows come first; take batch_first=True)"
    if module.num_layers > 1:
        return f"num_layers={module.num_layers} (take one layer after the other)"
    if module.bidirectional:
        return "bidirectional=True (take two layers, of x and of x.flip(1))"
    if module.proj_size:
        return f"proj_size={module.proj_size} (hls4ml has no projection; take a Linear behind it)"
    return None


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
        weights: names of the parameters that are prunable weights, in the order in which hls4ml
            applies them.
        depthwise: whether every channel has a filter of its own and reads no other.
        lowered: the class of our own that stands for it in a lowered network; None = `module`.
        hls_weights: hls4ml's names of `weights`.
        gates: matrices side by side in a recurrent layer; 0 in any other.
    """

    name: str
    module: type[nn.Module]
    hls_axes: tuple[int, ...]
    input_axes: tuple[int, ...]
    convolves: bool
    fault: Callable[[Any], str | None] = no_fault
    weights: tuple[str, ...] = ("weight",)
    depthwise: bool = False
    lowered: type[nn.Module] | None = None
    hls_weights: tuple[str, ...] = ("weight",)
    gates: int = 0

    @property
    def built(self) -> type[nn.Module]:
        """The class of the layer in a lowered network."""
        return self.lowered or self.module

    @property
    def folds_norm(self) -> bool:
        """Whether a batch norm behind the layer can be folded into it: linear in one weight."""
        return len(self.weights) == 1

    @property
    def feature_axis(self) -> int:
        """Axis of a sample of the output along which the weight's first axis lies."""
        return -1 if self.module is nn.Linear or self.gates else 0

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


#: The parameters of a recurrent layer that are matrices, and what hls4ml calls them.
_MATRICES = ("weight_ih_l0", "weight_hh_l0")
_HLS_MATRICES = ("weight", "recurrent_weight")

#: A new layer type is one more row here, and in `LAYER_TYPES` of `rfprune.fpga.estimators.design`
#: if the estimators do not know it yet.
WEIGHT_KINDS: tuple[WeightKind, ...] = (
    WeightKind("dense", nn.Linear, (0, 1), (1,), convolves=False),
    # A Linear at every position of (T, C) or (H, W, C): hls4ml's PointwiseConv1D, PointwiseConv2D.
    WeightKind("pointwise", nn.Linear, (0, 1), (2, 3), convolves=True),
    WeightKind("conv1d", nn.Conv1d, (0, 2, 1), (2,), convolves=True, fault=_conv_fault),
    WeightKind("conv2d", nn.Conv2d, (0, 2, 3, 1), (3,), convolves=True, fault=_conv_fault),
    WeightKind(
        "depthwise_conv1d",
        nn.Conv1d,
        (0, 2, 1),
        (2,),
        convolves=True,
        fault=_conv_fault,
        depthwise=True,
    ),
    WeightKind(
        "depthwise_conv2d",
        nn.Conv2d,
        (0, 2, 3, 1),
        (3,),
        convolves=True,
        fault=_conv_fault,
        depthwise=True,
    ),
    *(
        WeightKind(
            name,
            module,
            (0, 1),
            (2,),
            convolves=False,
            fault=_recurrent_fault,
            weights=_MATRICES,
            lowered=lowered,
            hls_weights=_HLS_MATRICES,
            gates=gates,
        )
        for name, module, lowered, gates in (("gru", nn.GRU, GRU, 3), ("lstm", nn.LSTM, LSTM, 4))
    ),
)


def plain_class(module: nn.Module) -> type[nn.Module] | None:
    """Return the class of the table that a module is, or None.

    A subclass that computes what its base does (it only builds itself in another way) counts.
    """
    for kind in WEIGHT_KINDS:
        if type(module) is kind.module:
            return kind.module
    for kind in WEIGHT_KINDS:
        if isinstance(module, kind.module) and all(
            getattr(type(module), name, None) is getattr(kind.module, name, None)
            for name in ("forward", "_conv_forward", "__call__")
        ):
            return kind.module
    return None


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the prunable weights of a module by parameter name; empty if its type holds none."""
    kind = next((kind for kind in WEIGHT_KINDS if isinstance(module, kind.module)), None)
    if kind is None:
        return {}
    return {name: getattr(module, name) for name in kind.weights}


def holds_weights(module: nn.Module) -> bool:
    """Return whether the module is of a type with prunable weights."""
    return any(type(module) is kind.built for kind in WEIGHT_KINDS)


def kind_of(module: nn.Module, in_shape: tuple[int, ...]) -> WeightKind | None:
    """Return the row of a module that reads samples of `in_shape`, or None if there is none."""
    for kind in WEIGHT_KINDS:
        fits = type(module) is kind.built and len(in_shape) in kind.input_axes
        if fits and kind.depthwise == is_depthwise(module):
            return kind
    return None


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a module is a convolution of every channel by itself."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d) or module.groups == 1:
        return False
    return module.groups == module.in_channels == module.out_channels
