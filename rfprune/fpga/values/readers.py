"""Which layer reads another one's outputs channel by channel.

What feeds an output that nobody reads is not built, whatever its weights are. That is seen where a
layer reads another one through what hands each channel on by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from torch import Tensor

from rfprune.core.arrays import BoolArray
from rfprune.fpga.layers import Network, WeightLayer

__all__ = ["Pair", "pairs_of", "unread_outputs"]

_CHANNEL_BY_CHANNEL = ("relu", "batchnorm", "affine", "dropout", "identity", "maxpool", "avgpool")


@dataclass(frozen=True)
class Pair:
    """A layer and those that read it, by number.

    Attributes:
        writer: the layer.
        readers: everything that reads it.
    """

    writer: int
    readers: tuple[int, ...]


def pairs_of(network: Network) -> tuple[Pair, ...]:
    """Return the layers all of whose readers are layers that read them channel by channel."""
    index = {layer.operation: number for number, layer in enumerate(network.layers)}
    found = []
    for number, layer in enumerate(network.layers):
        readers = _readers(network, layer.operation, index)
        if readers and all(_matches(layer, network.layers[r]) for r in readers):
            found.append(Pair(number, tuple(readers)))
    return tuple(found)


def _readers(network: Network, name: str, index: dict[str, int]) -> list[int] | None:
    """Return the layers that read a name; None if something else does."""
    if name in network.outputs:
        return None
    found: list[int] = []
    for operation in network.operations:
        if name not in operation.inputs:
            continue
        if operation.name in index:
            found.append(index[operation.name])
        elif operation.type in (*_CHANNEL_BY_CHANNEL, "flatten") and len(operation.inputs) == 1:
            behind = _readers(network, operation.name, index)
            if behind is None:
                return None
            found += behind
        else:
            return None
    return found


def _matches(writer: WeightLayer, reader: WeightLayer) -> bool:
    """Return whether a reader's weights are its input's channels, each with its own run."""
    channels_first = writer.kind.feature_axis == 0 or writer.kind.name == "dense"
    inner = prod(reader.weight_shape[1:])
    return channels_first and not reader.kind.depthwise and inner % writer.n_out == 0


def unread_outputs(
    pairs: Sequence[Pair], digits: Sequence[Tensor]
) -> Iterator[tuple[int, BoolArray]]:
    """Yield the number of each layer of a pair, and (n_out,) which of its outputs nobody reads."""
    for pair in pairs:
        channels = digits[pair.writer].shape[0]
        unread = np.ones(channels, dtype=bool)
        for reader in pair.readers:
            part = digits[reader].reshape(digits[reader].shape[0], channels, -1)
            unread &= ~(part > 0).any(dim=2).any(dim=0).numpy()
        yield pair.writer, unread
