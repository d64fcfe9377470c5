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

from rfprune.arrays import IntArray
from rfprune.kernels.channels import Channels, Operation, Shape, find_channels
from rfprune.kernels.flow import Flow, find_flow
from rfprune.kernels.operations import Kind

__all__ = ["Counts", "Formulas", "count", "make_formulas"]

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Counts:
    """What one inference of one sample takes, per layer; several policies add leading axes.

    Attributes:
        layers: path of every module with parameters, n of them.
        macs: (..., n) multiply-accumulates of convolutions and dense layers, biases not counted,
            as half of what ``torch.utils.flop_counter`` counts.
        parameters: (..., n) weights, biases, scales and shifts; running statistics not counted.
        activation_bytes: (..., n) float32 outputs of convolutions and dense layers (the
            "activations" of Radosavovic et al., arXiv 2003.13678): norms and activation functions
            are taken as computed in the same pass.
    """

    layers: tuple[str, ...]
    macs: IntArray
    parameters: IntArray
    activation_bytes: IntArray

    @property
    def total_macs(self) -> IntArray:
        """(...) multiply-accumulates of the whole network."""
        return np.asarray(self.macs.sum(axis=-1))

    @property
    def total_parameters(self) -> IntArray:
        """(...) parameters of the whole network."""
        return np.asarray(self.parameters.sum(axis=-1))

    @property
    def total_activation_bytes(self) -> IntArray:
        """(...) bytes of activations of the whole network."""
        return np.asarray(self.activation_bytes.sum(axis=-1))


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
    """

    layers: tuple[str, ...]
    index: IntArray
    reads: IntArray
    macs: IntArray
    parameters: IntArray
    activation_bytes: IntArray

    def evaluate(self, flow: Flow) -> Counts:
        """Return the counts of every policy of `flow`: arrays (P, n)."""
        outputs = flow.widths[:, self.index]
        inputs = flow.widths[:, self.reads]
        terms = np.stack([inputs * outputs, outputs, np.ones_like(outputs)], axis=-1)
        terms *= flow.needed[:, self.index, None]
        counts = (
            np.einsum("pnk,nk->pn", terms, coefficients)
            for coefficients in (self.macs, self.parameters, self.activation_bytes)
        )
        return Counts(self.layers, *counts)


def count(model: nn.Module, input_shape: Shape) -> Counts:
    """Count what one inference of one sample takes; arrays (n,).

    Args:
        model: any traceable network.
        input_shape: shape of one sample, without the batch.

    Raises:
        NetworkError: the network cannot be traced, or does not take such samples.
    """
    channels = find_channels(model, input_shape)
    whole = np.array([channels.sizes], dtype=np.int64)
    counts = make_formulas(model, channels).evaluate(find_flow(channels, whole))
    return Counts(counts.layers, counts.macs[0], counts.parameters[0], counts.activation_bytes[0])


def make_formulas(model: nn.Module, channels: Channels) -> Formulas:
    """Return the coefficients for a network whose channels are known."""
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
            rows.append((op.path, i, *_coefficients(module, op, size)))
            seen.add(op.path)
    paths, index, macs, sizes, outputs = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    reads = [channels.operations[i].reads[0] if channels.operations[i].reads else i for i in index]
    as_rows = [np.array(part, dtype=np.int64).reshape(-1, 3) for part in (macs, sizes, outputs)]
    return Formulas(tuple(paths), np.array(index, np.int64), np.array(reads, np.int64), *as_rows)


def _coefficients(module: nn.Module, op: Operation, size: int) -> tuple[tuple[int, ...], ...]:
    """Return the three coefficients of macs, parameters and activation bytes."""
    features = op.shape[0] if op.shape else 1
    if op.kind is Kind.NORM:
        return (0, 0, 0), (0, size // features, 0), (0, 0, 0)
    if not isinstance(module, nn.Linear | _ConvNd):
        return (0, 0, 0), (0, 0, size), (0, 0, 0)
    bias = 0 if module.bias is None else 1
    area = math.prod(module.weight.shape[2:])
    outputs = FLOAT32_BYTES * op.positions
    if op.kind is Kind.MIX:
        return (area * op.positions, 0, 0), (area, bias, 0), (0, outputs, 0)
    if op.kind is Kind.DEPTHWISE:
        return (0, area * op.positions, 0), (0, area + bias, 0), (0, outputs, 0)
    per_output = math.prod(module.weight.shape[1:])
    values = math.prod(op.shape)
    return (0, 0, per_output * values), (0, 0, size), (0, 0, FLOAT32_BYTES * values)
