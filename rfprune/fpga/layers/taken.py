"""What a network for an FPGA may consist of: the one table of it.

A row says how a network's author writes an operation, what it becomes, and how. What is in no row
is refused; the reasons that are known stand in `REFUSED`: whether hls4ml 1.3 has no such layer,
computes something else, or rfprune does not take it yet. `rfprune check` and the documents read the
same rows. Each row is built, simulated and compared with torch by ``tests/fpga/hls/test_taken.py``.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rfprune.fpga.layers import products, rules
from rfprune.fpga.layers.operators import (
    Affine,
    Concatenate,
    Gather,
    Lookup,
    Merge,
    Product,
    Softmax,
    Sum,
)
from rfprune.fpga.layers.rules import Rule
from rfprune.fpga.layers.weight_kinds import WEIGHT_KINDS

__all__ = ["FUNCTIONS", "MODULES", "REFUSED", "Row", "list_layers", "refusal", "type_of"]


@dataclass(frozen=True)
class Row:
    """One operation, in the ways in which it can be written.

    Attributes:
        written: modules, functions and names of methods.
        rule: what it becomes.
        becomes: the same in words; empty where it stays what it is.
        only: what is taken of it; empty for all.
    """

    written: tuple[Any, ...]
    rule: Rule
    becomes: str = ""
    only: str = ""


_KEPT = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh)
_ALL = "the same as average pooling over all positions"
_POOL = "windows of one size, without ceil_mode, divisor_override and dilation"
_FOLDED = "a scale and a shift, folded into the layer before where that is exact"
_WIRES = "wires: nothing is built"

#: In this order in the documents.
_ROWS: tuple[Row, ...] = (
    Row((nn.Linear,), rules.weighted, "", "on (F,), (T, C) and (H, W, C)"),
    Row((F.linear,), rules.linear, "the layer whose weight and bias it is called with"),
    Row(
        (nn.Conv1d, nn.Conv2d),
        rules.weighted,
        "",
        "groups 1 or one per channel, zeros as padding, no dilation",
    ),
    Row(
        (nn.GRU, nn.LSTM),
        rules.recurrent,
        "",
        "one layer and direction, batch_first, from a state of 0: its sequence, or its last step",
    ),
    Row((nn.Embedding,), rules.embedding, "", "of an input of its own, in io_parallel"),
    Row((nn.BatchNorm1d, nn.BatchNorm2d), rules.norm, _FOLDED, "with running statistics"),
    Row(_KEPT, rules.as_it_is),
    Row((torch.relu, F.relu, torch.relu_, "relu", "relu_"), rules.function(nn.ReLU)),
    Row((torch.sigmoid, F.sigmoid, "sigmoid", "sigmoid_"), rules.function(nn.Sigmoid)),
    Row((torch.tanh, F.tanh, "tanh", "tanh_"), rules.function(nn.Tanh)),
    Row((F.leaky_relu,), rules.function(nn.LeakyReLU, "negative_slope")),
    Row((F.elu,), rules.function(nn.ELU, "alpha")),
    Row((nn.ReLU6, nn.Hardtanh), rules.clamp, "", "from 0 to 1 or 6"),
    Row((F.relu6,), rules.function(nn.ReLU6)),
    Row(
        (torch.clamp, torch.clip, F.hardtanh, "clamp", "clip", "clamp_min", "clamp_"),
        rules.clamp,
        "ReLU, or ReLU6",
        "from 0 to 1, 6 or without an end",
    ),
    Row((nn.Threshold, F.threshold), rules.threshold, "", "from 0 on, with value 0"),
    Row((nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d), rules.pool(), "", _POOL),
    Row((F.max_pool1d, torch.max_pool1d), rules.pool(nn.MaxPool1d), "", _POOL),
    Row((F.max_pool2d, torch.max_pool2d), rules.pool(nn.MaxPool2d), "", _POOL),
    Row((F.avg_pool1d,), rules.pool(nn.AvgPool1d), "", _POOL),
    Row((F.avg_pool2d,), rules.pool(nn.AvgPool2d), "", _POOL),
    Row(
        (nn.AdaptiveAvgPool1d, F.adaptive_avg_pool1d),
        rules.adaptive_pool(nn.AvgPool1d),
        "AvgPool1d",
        "to a divisor of the length",
    ),
    Row(
        (nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d),
        rules.adaptive_pool(nn.AvgPool2d),
        "AvgPool2d",
        "to divisors of the sizes",
    ),
    Row(
        (nn.AdaptiveMaxPool1d, F.adaptive_max_pool1d),
        rules.adaptive_pool(nn.MaxPool1d),
        "MaxPool1d",
        "to a divisor of the length",
    ),
    Row(
        (nn.AdaptiveMaxPool2d, F.adaptive_max_pool2d),
        rules.adaptive_pool(nn.MaxPool2d),
        "MaxPool2d",
        "to divisors of the sizes",
    ),
    Row((torch.mean, "mean"), rules.mean, _ALL, "over axes of a sample"),
    Row((torch.sum, "sum"), rules.total, "", "over axes of a sample, in io_parallel"),
    Row(
        (operator.add, torch.add, "add", "add_"),
        rules.merge("add"),
        f"with a constant: {_FOLDED}",
    ),
    Row(
        (operator.sub, torch.sub, torch.subtract, "sub", "sub_"),
        rules.merge("subtract"),
        f"with a constant: {_FOLDED}",
    ),
    Row(
        (operator.mul, torch.mul, torch.multiply, "mul", "mul_"),
        rules.merge("multiply"),
        f"with a constant: {_FOLDED}",
    ),
    Row((operator.truediv, torch.div, "div", "div_"), rules.affine, _FOLDED, "by a constant"),
    Row((operator.neg, torch.neg, "neg", "neg_"), rules.negative, _FOLDED),
    Row(
        (operator.pow, torch.pow, torch.square, "pow", "square"),
        rules.power,
        "the tensor times itself",
        "exponent 2",
    ),
    Row((torch.maximum, "maximum"), rules.merge("maximum")),
    Row((torch.minimum, "minimum"), rules.merge("minimum")),
    Row(
        (operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm"),
        products.matmul,
        "",
        "of two tensors, in io_parallel",
    ),
    Row((torch.einsum,), products.einsum, "", "of two tensors, in io_parallel"),
    Row(
        (nn.Softmax, torch.softmax, F.softmax, "softmax"),
        products.softmax,
        "",
        "within the network, in io_parallel",
    ),
    Row(
        (F.scaled_dot_product_attention,),
        products.attention,
        "two products and a softmax",
        "without a mask, in io_parallel",
    ),
    Row((torch.cat, torch.concat, torch.concatenate), rules.concatenate),
    Row((torch.stack,), rules.stack, "torch.cat, and wires"),
    Row((nn.Upsample, nn.UpsamplingNearest2d, F.interpolate), rules.resize, "", "nearest, whole"),
    Row((nn.ZeroPad2d, nn.ConstantPad2d, nn.ConstantPad1d, F.pad), rules.pad, "", "zeros"),
    Row(
        (nn.Flatten, torch.flatten, "flatten"),
        rules.flatten,
        _WIRES,
    ),
    Row(
        (
            *(nn.Unflatten, torch.reshape, torch.squeeze, torch.unsqueeze, torch.permute),
            *(torch.transpose, torch.chunk, torch.split, torch.unbind, torch.narrow, torch.flip),
            *(torch.swapaxes, torch.movedim, torch.select, torch.index_select, torch.tile),
            operator.getitem,
            *("view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "chunk", "split"),
            *("unbind", "narrow", "flip", "swapaxes", "movedim", "select", "unflatten", "expand"),
            *("repeat", "index_select", "view_as", "reshape_as", "tile"),
        ),
        rules.move,
        _WIRES,
        "within a row; in io_stream only what flattens",
    ),
    Row((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout), rules.as_it_is, "left out"),
    Row(
        (F.dropout, torch.dropout, F.dropout1d, F.dropout2d),
        rules.dropout,
        "left out",
    ),
    Row((nn.Identity,), rules.as_it_is, "left out"),
    Row(
        (
            *("contiguous", "clone", "float", "long", "int", "to", "type_as", "detach", "cpu"),
            *(torch.clone, torch.detach),
        ),
        rules.nothing,
        "left out",
    ),
)

MODULES: dict[type[nn.Module], Rule] = {
    written: row.rule for row in _ROWS for written in row.written if isinstance(written, type)
}
FUNCTIONS: dict[Any, Rule] = {
    written: row.rule for row in _ROWS for written in row.written if not isinstance(written, type)
}

_HLS4ML = "hls4ml 1.3 has no such layer"
_INSTEAD_LOGITS = "leave it out: the outputs are logits"
_TABLES = f"{_HLS4ML} for torch; take ReLU, LeakyReLU, ELU, Tanh or Sigmoid"
_RECURRENT = (
    "hls4ml 1.3 has no kernel of it for Vivado and Vitis, whatever its reader of torch says; take "
    "GRU or LSTM"
)
_CELLS = (
    "a loop over cells calls a layer more than once, and hls4ml cannot share weights; take GRU or "
    "LSTM over the steps"
)
_ATTENTION = (
    "its weights are one parameter; take nn.Linear for query, key and value, and "
    "F.scaled_dot_product_attention"
)
_MATRICES = "it knows no rows of a minibatch; take torch.bmm, torch.matmul or torch.einsum"
_POOL_INSTEAD = "; take average pooling, or a strided convolution"
#: Name of a class or function -> why it is refused, and what may be written instead.
REFUSED: dict[str, str] = {
    **dict.fromkeys(("GELU", "gelu", "SiLU", "silu", "Mish", "mish"), _TABLES),
    **dict.fromkeys(("SELU", "selu", "CELU", "celu", "Hardswish", "hardswish"), _TABLES),
    **dict.fromkeys(("Hardsigmoid", "hardsigmoid", "Softplus", "softplus"), _TABLES),
    **dict.fromkeys(("Softsign", "softsign", "LogSigmoid", "logsigmoid"), _TABLES),
    **dict.fromkeys(("LogSoftmax", "log_softmax"), f"{_HLS4ML}; {_INSTEAD_LOGITS}"),
    **dict.fromkeys(
        ("PReLU", "prelu"),
        "hls4ml 1.3 reads one slope as if there were one per element; take LeakyReLU",
    ),
    **dict.fromkeys(
        ("LayerNorm", "layer_norm"),
        "hls4ml 1.3 takes it in one place only, and in io_stream its C++ does not compile; take "
        "BatchNorm1d",
    ),
    **dict.fromkeys(("GroupNorm", "group_norm", "RMSNorm"), f"{_HLS4ML}; take BatchNorm"),
    **dict.fromkeys(("InstanceNorm1d", "InstanceNorm2d"), f"{_HLS4ML}; take BatchNorm"),
    **dict.fromkeys(("RNN", "RNNCell", "rnn_tanh", "rnn_relu"), _RECURRENT),
    **dict.fromkeys(("GRUCell", "LSTMCell"), _CELLS),
    **dict.fromkeys(("gru", "lstm"), "of weights that are no module's; take the module"),
    **dict.fromkeys(("MultiheadAttention", "multi_head_attention_forward"), _ATTENTION),
    **dict.fromkeys(
        ("TransformerEncoderLayer", "TransformerEncoder"),
        "it holds attention and LayerNorm; take Linear layers, F.scaled_dot_product_attention "
        "and BatchNorm1d",
    ),
    **dict.fromkeys(("mm", "addmm", "mv", "dot"), _MATRICES),
    "baddbmm": "take torch.bmm, and add behind it",
    **dict.fromkeys(
        ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
        f"{_HLS4ML}; take Upsample and a convolution",
    ),
    "Conv3d": f"{_HLS4ML}; take Conv2d with one axis among the channels",
    **dict.fromkeys(("Bilinear", "bilinear"), f"{_HLS4ML}; take products a * b and a Linear"),
    **dict.fromkeys(("conv1d", "conv2d"), "of a weight that is no module's; take the module"),
    **dict.fromkeys(
        ("exp", "log", "sqrt", "sin", "cos", "rsqrt"),
        f"{_HLS4ML}; compute it before the network, or take an activation that is taken",
    ),
    "abs": f"{_HLS4ML}; take torch.maximum(x, -x)",
    **dict.fromkeys(("LPPool1d", "LPPool2d", "FractionalMaxPool2d"), f"{_HLS4ML}{_POOL_INSTEAD}"),
    **dict.fromkeys(
        ("max", "min", "amax", "amin"), "rfprune builds none; take MaxPool over the axis"
    ),
    **dict.fromkeys(
        ("argmax", "topk", "sort", "argsort", "cumsum", "cumprod", "norm", "var", "std"),
        f"{_HLS4ML}; compute it behind the network",
    ),
    **dict.fromkeys(("EmbeddingBag",), f"{_HLS4ML}; take Embedding and sum"),
}

#: Type of an operation, by the module that it is lowered to.
_TYPES: dict[type[nn.Module], str] = {
    **{kind.built: kind.name for kind in reversed(WEIGHT_KINDS)},
    nn.BatchNorm1d: "batchnorm",
    nn.BatchNorm2d: "batchnorm",
    Affine: "affine",
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.ReLU6: "relu6",
    nn.Hardtanh: "relu1",
    nn.Threshold: "threshold",
    nn.MaxPool1d: "maxpool",
    nn.MaxPool2d: "maxpool",
    nn.AvgPool1d: "avgpool",
    nn.AvgPool2d: "avgpool",
    nn.Flatten: "flatten",
    nn.Dropout: "dropout",
    nn.Dropout1d: "dropout",
    nn.Dropout2d: "dropout",
    nn.AlphaDropout: "dropout",
    nn.Identity: "identity",
    Lookup: "embedding",
    nn.Upsample: "resize",
    nn.ZeroPad2d: "padding",
    nn.ConstantPad2d: "padding",
    nn.ConstantPad1d: "padding",
    Concatenate: "concatenate",
    Gather: "gather",
    Product: "product",
    Softmax: "softmax",
    Sum: "sum",
}


def type_of(module: nn.Module) -> str:
    """Return the type of an operation that a lowered network consists of."""
    return module.operation if isinstance(module, Merge) else _TYPES[type(module)]


def refusal(name: str) -> str:
    """Return why an operation of a name is in no row, as an end of a sentence."""
    reason = REFUSED.get(name, "rfprune knows no way to build it")
    return f"{reason} ('rfprune list layers' shows what is taken)"


def list_layers() -> Iterator[tuple[str, str]]:
    """Yield how an operation is written, and whether it is taken, rewritten or refused."""
    for row in _ROWS:
        only = f" ({row.only})" if row.only else ""
        for written in row.written:
            name = written if isinstance(written, str) else str(written.__name__)
            yield name, f"becomes {row.becomes}{only}" if row.becomes else f"taken{only}"
    for name, reason in REFUSED.items():
        yield name, f"refused: {reason}"
