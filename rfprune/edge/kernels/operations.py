"""What the operations of torch do to the channels of a feature map, as one table.

An operation that is not in the table is `ChannelKind.UNKNOWN`: it may mix or reorder channels, so
what it reads keeps all its kernels.
"""

from __future__ import annotations

import operator
from enum import Enum, auto
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

__all__ = [
    "ChannelKind",
    "is_one_operation",
    "is_spatial",
    "keeps_zero",
    "kind_of_function",
    "kind_of_module",
]


class ChannelKind(Enum):
    """How an operation's output channels come from its input channels."""

    INPUT = auto()
    MIX = auto()  #: convolution or dense layer: every output reads every input
    GROUPED = auto()  #: convolution in which groups of channels, or single ones, read themselves
    NORM = auto()  #: parameters per channel
    CHANNELWISE = auto()  #: every channel alone, no parameters
    FLATTEN = auto()  #: each channel becomes a run of features
    PERMUTE = auto()  #: axes change places
    SLICE = auto()  #: some of the channels, in their order
    ADD = auto()
    MULTIPLY = auto()
    CONCAT = auto()
    UNKNOWN = auto()
    OUTPUT = auto()


_SPATIAL_MODULES = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.dropout._DropoutNd,
    nn.Upsample,
    nn.ZeroPad2d,
    nn.ReflectionPad2d,
    nn.ReplicationPad2d,
)
#: Channelwise operations for which f(0) = 0.
_ZERO_MODULES = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.Hardswish,
    nn.SiLU,
    nn.GELU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.Mish,
    nn.Tanh,
    nn.Softsign,
    nn.Dropout,
    *_SPATIAL_MODULES,
)
#: Switch whole samples off in training, and do nothing in evaluation.
_STOCHASTIC_DEPTH = {"torchvision": "StochasticDepth", "timm": "DropPath"}
_OTHER_MODULES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid)
_ZERO_NAMES = {
    *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "hardswish", "silu", "gelu", "elu"),
    *("elu_", "mish", "tanh", "tanh_", "dropout", "dropout2d", "feature_dropout"),
    *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "interpolate"),
    *("contiguous", "clone", "mean", "neg", "abs", "sqrt", "square"),
}
_OTHER_NAMES = {"sigmoid", "sigmoid_", "hardsigmoid", "softplus", "logsigmoid", "exp"}
_KINDS_BY_NAME = {
    **dict.fromkeys(_ZERO_NAMES | _OTHER_NAMES, ChannelKind.CHANNELWISE),
    **dict.fromkeys(("flatten", "view", "reshape"), ChannelKind.FLATTEN),
    **dict.fromkeys(("add", "add_", "iadd"), ChannelKind.ADD),
    **dict.fromkeys(("mul", "mul_", "imul"), ChannelKind.MULTIPLY),
    **dict.fromkeys(("cat", "concat", "concatenate"), ChannelKind.CONCAT),
    **dict.fromkeys(("permute", "transpose"), ChannelKind.PERMUTE),
    "getitem": ChannelKind.SLICE,
}
_LIBRARIES = (torch, functional, operator, torch._C._nn)


def kind_of_module(module: nn.Module) -> ChannelKind:
    """Return what `module` does to channels."""
    if isinstance(module, _ConvNd):
        return ChannelKind.MIX if module.groups == 1 else ChannelKind.GROUPED
    if isinstance(module, nn.Linear):
        return ChannelKind.MIX
    if isinstance(module, _BatchNorm | _InstanceNorm):
        return ChannelKind.NORM
    if isinstance(module, nn.PReLU):
        return ChannelKind.NORM if module.num_parameters > 1 else ChannelKind.CHANNELWISE
    if isinstance(module, nn.Flatten):
        return ChannelKind.FLATTEN
    # Everything else may mix channels: it is not pruned rather than pruned wrongly.
    is_channelwise = isinstance(module, (*_ZERO_MODULES, *_OTHER_MODULES)) or _drops_samples(module)
    return ChannelKind.CHANNELWISE if is_channelwise else ChannelKind.UNKNOWN


def kind_of_function(target: Any) -> ChannelKind:
    """Return what a function of torch, or the tensor method of that name, does to channels."""
    return _KINDS_BY_NAME.get(_name(target), ChannelKind.UNKNOWN)


def keeps_zero(target: Any) -> bool:
    """Return True if a channelwise module, function or method turns a channel of zeros into zeros.

    A batch norm does so for none; timm's joint module of batch norm and activation is asked about
    the activation in it.
    """
    if isinstance(target, nn.Module):
        inner = [module for module in target.modules() if module is not target]
        parts = inner if isinstance(target, _BatchNorm) else [target]
        zero = (*_ZERO_MODULES, nn.PReLU)
        return all(isinstance(part, zero) or _drops_samples(part) for part in parts)
    return _name(target) in _ZERO_NAMES


def is_spatial(target: Any) -> bool:
    """Return True for what looks at positions, and so has to know which axes these are."""
    if isinstance(target, nn.Module):
        return isinstance(target, _SPATIAL_MODULES)
    return "pool" in _name(target) or _name(target) == "interpolate"


def is_one_operation(module: nn.Module) -> bool:
    """Return True for modules of other packages inside which there is nothing to prune."""
    # timm pads a convolution by the size of its input, casts the weights of a dense layer for
    # scripting, and puts activations into batch norms.
    name = type(module).__name__ if type(module).__module__.startswith("timm.") else ""
    same = isinstance(module, nn.Conv2d) and name == "Conv2dSame"
    dense = isinstance(module, nn.Linear) and name == "Linear"
    return same or dense or isinstance(module, _BatchNorm) or _drops_samples(module)


def _drops_samples(module: nn.Module) -> bool:
    package = type(module).__module__.partition(".")[0]
    return _STOCHASTIC_DEPTH.get(package) == type(module).__name__


def _name(target: Any) -> str:
    """Return a method's name, or that of a function of torch; another's is of no meaning here."""
    if isinstance(target, str):
        return target
    name = str(getattr(target, "__name__", ""))
    # A user's function may be called `relu` and do something else.
    known = any(getattr(library, name, None) is target for library in _LIBRARIES)
    return name if known else ""
