"""The order of hidden neurons: strong ones side by side, so that they share hardware groups.

A group is a run of neighbouring weights, and which neurons are neighbours is an accident of the
initialisation. Hidden neurons (and filters) can change places without changing what the network
computes, if the next layer's inputs change places with them; sorted by strength, groups are filled
with weights that are all worth keeping or all worth dropping. Pool and Yu, NeurIPS 2021, permute
channels for the same reason before 2:4 sparsity.
"""

from __future__ import annotations

from collections.abc import Container

from torch import nn

from rfprune.fpga.layers import Network, Operation, WeightLayer

__all__ = ["sort_neurons"]

#: Operations that treat every channel on its own, so that channels may change places around them.
_BY_CHANNEL = (
    *("relu", "leaky_relu", "elu", "sigmoid", "tanh"),
    *("dropout", "identity", "batchnorm", "maxpool", "avgpool", "flatten"),
)


def sort_neurons(model: nn.Module, network: Network) -> None:
    """Sort the hidden neurons and filters of `model` in place, the strongest first.

    The strength of a neuron is the norm of its incoming weights times that of its outgoing ones.
    Neurons that more than one layer reads (residual connections), and outputs, keep their places.

    Args:
        model: what it computes stays the same, up to the rounding of sums in another order.
        network: its trace.
    """
    readers: dict[str, list[Operation]] = {}
    for operation in network.operations:
        for name in operation.inputs:
            readers.setdefault(name, []).append(operation)
    # The order of neurons behind several weights is bound by more than one row of each.
    layers = {layer.name: layer for layer in network.layers if len(layer.kind.weights) == 1}
    for operation in network.operations:
        if operation.name in layers:
            way = _way(operation, readers, layers)
            if way:
                writer, reader = layers[operation.name], layers[way[-1].name]
                norms = [model.get_submodule(op.path) for op in way if op.type == "batchnorm"]
                _sort(model, writer, norms, reader, 2 if writer.kind.name == "pointwise" else 1)


def _way(
    start: Operation, readers: dict[str, list[Operation]], layers: Container[str]
) -> list[Operation]:
    """Return the operations from a layer to the one layer that reads it, or an empty list."""
    way = [start]
    while True:
        following = readers.get(way[-1].name, [])
        # Two readers would both have to be sorted, and may disagree.
        if len(following) != 1:
            return []
        way.append(following[0])
        if way[-1].name in layers:
            return way[1:]
        if way[-1].type not in _BY_CHANNEL:
            return []


def _sort(
    model: nn.Module, writer: WeightLayer, norms: list[nn.Module], reader: WeightLayer, axis: int
) -> None:
    """Sort one layer's outputs; `axis` is where the reader's weight (out, ..) has the channels."""
    rows, columns = writer.weight_of(model).data, reader.weight_of(model).data
    channels = len(rows)
    # A norm behind a Flatten has a number per feature, not per channel.
    if any(getattr(norm, "num_features", channels) != channels for norm in norms):
        return
    # Behind a Flatten, and in convolutions, several weights read the same channel.
    shape = (len(columns), channels, -1) if axis == 1 else (len(columns), -1, channels)
    outgoing = columns.reshape(shape).square().sum(dim=(0, 3 - axis))
    # Behind a ReLU a factor can move from one side of a neuron to the other; the product stays.
    strength = rows.flatten(1).square().sum(1) * outgoing
    order = strength.argsort(descending=True, stable=True)
    columns.copy_(columns.reshape(shape).index_select(axis, order).reshape(columns.shape))
    for module in (model.get_submodule(writer.path), *norms):
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.ndim:  # not the batch counter of a batch norm
                tensor.data.copy_(tensor.data[order])
