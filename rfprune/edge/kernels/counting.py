"""Multiply-accumulates, parameters and activations of a network, for many policies at once.

Every count of a layer is ``a * inputs * outputs + b * outputs + c`` in the numbers of features that
are left on both sides, so a policy costs two small matrix products and no network is built.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd

from rfprune.core.arrays import IntArray
from rfprune.edge.kernels.channels import ChannelOperation, Channels
from rfprune.edge.kernels.flow import Flow
from rfprune.edge.kernels.operations import ChannelKind

__all__ = ["LAYER_KINDS", "Formulas", "KernelCounts", "make_formulas"]

FLOAT32_BYTES = 4
#: Kinds of layers that processors compute at different speeds: convolutions of 3 x 3 and more, of
#: 1 x 1, in groups or single channels; dense layers; and what has no multiply-accumulates.
LAYER_KINDS = ("dense", "pointwise", "grouped", "linear", "other")


@dataclass(frozen=True)
class KernelCounts:
    """What one inference of one sample takes, per layer; several policies add leading axes.

    Attributes:
        layers: path of every module with parameters, n of them.
        macs: (..., n) multiply-accumulates of convolutions and dense layers, biases not counted,
            as half of what ``torch.utils.flop_counter`` counts.
        parameters: (..., n) weights, biases, scales and shifts; running statistics not counted.
        activation_bytes: (..., n) float32 outputs of convolutions and dense layers (the
            "activations" of Radosavovic et al., arXiv 2003.13678): norms and activation functions
            are taken as computed in the same pass.
        inputs: (..., n) channels that one output reads; 0 of what is gone.
        kinds: (n,) what each module is; see `LAYER_KINDS`.
    """

    layers: tuple[str, ...]
    macs: IntArray
    parameters: IntArray
    activation_bytes: IntArray
    inputs: IntArray
    kinds: tuple[str, ...]

    @property
    def total_macs(self) -> IntArray:
        """(...) multiply-accumulates of the whole network."""
        return np.asarray(self.macs.sum(axis=-1))

    @property
    def total_parameters(self) -> IntArray:
        """(...) parameters of the whole network."""
        return np.asarray(self.parameters.sum(axis=-1))


@dataclass(frozen=True)
class Formulas:
    """Coefficients of the counts of all operations with parameters (n of them).

    Attributes:
        layers: their paths.
        index: (n,) their numbers among the operations.
        reads: (n,) the operation that each reads.
        macs: (n, 3) coefficients a, b, c of inputs * outputs, outputs, and 1.
        parameters: (n, 3) likewise.
        activation_bytes: (n, 3) likewise.
        kinds: (n,) of `LAYER_KINDS`.
        per_group: (n,) channels that one output of a grouped convolution reads; 0 of others.
    """

    layers: tuple[str, ...]
    index: IntArray
    reads: IntArray
    macs: IntArray
    parameters: IntArray
    activation_bytes: IntArray
    kinds: tuple[str, ...]
    per_group: IntArray

    def evaluate(self, flow: Flow) -> KernelCounts:
        """Return the counts of every policy of `flow`: arrays (P, n)."""
        outputs = flow.widths[:, self.index]
        inputs = flow.widths[:, self.reads]
        terms = np.stack([inputs * outputs, outputs, np.ones_like(outputs)], axis=-1)
        # What no output needs is not built.
        terms *= flow.needed[:, self.index, None]
        macs, parameters, outputs = (
            np.einsum("pnk,nk->pn", terms, coefficients)
            for coefficients in (self.macs, self.parameters, self.activation_bytes)
        )
        read = np.where(self.per_group > 0, self.per_group, inputs) * flow.needed[:, self.index]
        return KernelCounts(self.layers, macs, parameters, outputs, read, self.kinds)


def make_formulas(model: nn.Module, channels: Channels) -> Formulas:
    """Return the coefficients for a network whose channels are known."""
    # By every name: a shared tensor counts where each of its users is.
    parameters = dict(model.named_parameters(remove_duplicate=False))
    rows = []
    seen: set[str] = set()
    for i, op in enumerate(channels.operations):
        own = [p.numel() for n, p in parameters.items() if n.startswith(f"{op.path}.")]
        own += [parameters[op.path].numel()] if op.path in parameters else []
        if op.path and own:
            module = model if op.path in parameters else model.get_submodule(op.path)
            # The parameters of a module that is called twice are there once.
            size = 0 if op.path in seen else sum(own)
            read = channels.operations[op.reads[0]] if op.reads else op
            rows.append((op.path, i, *_coefficients(module, op, size, read.positions)))
            seen.add(op.path)
    paths, index, macs, sizes, outputs = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    # A bare parameter reads nothing; its coefficients of inputs are 0, so any number will do.
    reads = [channels.operations[i].reads[0] if channels.operations[i].reads else i for i in index]
    rows_of = [np.array(part, dtype=np.int64).reshape(-1, 3) for part in (macs, sizes, outputs)]
    kinds = [_kind(model, channels.operations[i]) for i in index]
    return Formulas(
        tuple(paths),
        np.array(index, np.int64),
        np.array(reads, np.int64),
        *(rows_of[0], rows_of[1], rows_of[2]),
        tuple(kind for kind, _ in kinds),
        np.array([n for _, n in kinds], np.int64),
    )


def _kind(model: nn.Module, op: ChannelOperation) -> tuple[str, int]:
    """Return what a layer is, and how many channels an output of a grouped convolution reads."""
    module = model.get_submodule(op.path) if op.kind is not ChannelKind.UNKNOWN else None
    if isinstance(module, nn.Linear):
        return "linear", 0
    if not isinstance(module, _ConvNd):
        return "other", 0
    if module.groups > 1:
        return "grouped", module.in_channels // module.groups
    return ("pointwise" if math.prod(module.kernel_size) == 1 else "dense"), 0


def _coefficients(
    module: nn.Module, op: ChannelOperation, size: int, read_positions: int
) -> tuple[tuple[int, ...], ...]:
    """Return the three coefficients of macs, parameters and activation bytes."""
    features = op.shape[0] if op.shape else 1
    if op.kind is ChannelKind.NORM:
        return (0, 0, 0), (0, size // features, 0), (0, 0, 0)
    if not isinstance(module, nn.Linear | _ConvNd):
        return (0, 0, 0), (0, 0, size), (0, 0, 0)
    bias = 0 if module.bias is None else 1
    area = math.prod(module.weight.shape[2:])
    outputs = FLOAT32_BYTES * op.positions
    # A transposed convolution applies its kernel once per position of what it reads.
    passes = read_positions if op.transposed else op.positions
    if op.kind is ChannelKind.MIX:
        return (area * passes, 0, 0), (area, bias, 0), (0, outputs, 0)
    groups = module.groups if isinstance(module, _ConvNd) else 1
    inputs = (module.in_channels if isinstance(module, _ConvNd) else module.in_features) // groups
    if op.kind is ChannelKind.GROUPED:
        # What one output reads is fixed: groups go as a whole, together with their inputs.
        return (0, inputs * area * passes, 0), (0, inputs * area + bias, 0), (0, outputs, 0)
    values = math.prod(op.shape)
    macs = inputs * area * passes * features
    return (0, 0, macs), (0, 0, size), (0, 0, FLOAT32_BYTES * values)
