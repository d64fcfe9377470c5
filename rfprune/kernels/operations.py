"""What the operations of torch do to the channels of a feature map, as one table.

An operation that is not in the table is `Kind.UNKNOWN`: it may mix or reorder channels, so what it
reads keeps all its kernels.
"""

from __future__ import annotations

import operator
from enum import Enum, auto
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

__all__ = ["Kind", "keeps_zero", "kind_of_function", "kind_of_module"]


class Kind(Enum):
    """How an operation's output channels come from its input channels."""

    INPUT = auto()
    MIX = auto()  #: convolution or dense layer: every output reads every input
    DEPTHWISE = auto()  #: convolution in which a channel reads itself alone
    NORM = auto()  #: parameters per channel
    CHANNELWISE = auto()  #: every channel alone, no parameters
    FLATTEN = auto()  #: each channel becomes a run of features
    ADD = auto()
    MULTIPLY = auto()
    CONCAT = auto()
    UNKNOWN = auto()
    OUTPUT = auto()


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
    nn.modules.dropout._DropoutNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.Upsample,
)
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
    **dict.fromkeys(_ZERO_NAMES | _OTHER_NAMES, Kind.CHANNELWISE),
    **dict.fromkeys(("flatten", "view", "reshape"), Kind.FLATTEN),
    **dict.fromkeys(("add", "add_", "iadd"), Kind.ADD),
    **dict.fromkeys(("mul", "mul_", "imul"), Kind.MULTIPLY),
    **dict.fromkeys(("cat", "concat", "concatenate"), Kind.CONCAT),
}
_LIBRARIES = (torch, functional, operator, torch._C._nn)


def kind_of_module(module: nn.Module) -> Kind:
    """Return what `module` does to channels."""
    if isinstance(module, _ConvNd) and not isinstance(module, _ConvTransposeNd):
        if module.groups == 1:
            return Kind.MIX
        return Kind.DEPTHWISE if module.groups == module.in_channels else Kind.UNKNOWN
    if isinstance(module, nn.Linear):
        return Kind.MIX
    if isinstance(module, _BatchNorm | _InstanceNorm):
        return Kind.NORM
    if isinstance(module, nn.PReLU):
        return Kind.NORM if module.num_parameters > 1 else Kind.CHANNELWISE
    if isinstance(module, nn.Flatten):
        return Kind.FLATTEN
    is_channelwise = isinstance(module, (*_ZERO_MODULES, *_OTHER_MODULES))
    return Kind.CHANNELWISE if is_channelwise else Kind.UNKNOWN


def kind_of_function(target: Any) -> Kind:
    """Return what a function of torch, or the tensor method of that name, does to channels."""
    return _KINDS_BY_NAME.get(_name(target), Kind.UNKNOWN)


def keeps_zero(target: Any) -> bool:
    """Return True if a channelwise module, function or method turns a channel of zeros into zeros.

    A batch norm does so for none; timm's joint module of batch norm and activation is asked about
    the activation in it.
    """
    if isinstance(target, nn.Module):
        inner = [module for module in target.modules() if module is not target]
        parts = inner if isinstance(target, _BatchNorm) else [target]
        return all(isinstance(part, (*_ZERO_MODULES, nn.PReLU)) for part in parts)
    return _name(target) in _ZERO_NAMES


def _name(target: Any) -> str:
    """Return a method's name, or that of a function of torch; another's is of no meaning here."""
    if isinstance(target, str):
        return target
    name = str(getattr(target, "__name__", ""))
    known = any(getattr(library, name, None) is target for library in _LIBRARIES)
    return name if known else ""
