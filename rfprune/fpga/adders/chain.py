"""Which networks become a graph of adders: Linear layers with ReLUs between them.

A chain, or a tree whose branches are heads. Batch norms become part of the layer before or behind
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rfprune.errors import NetworkError
from rfprune.fpga.layers import Network, WeightLayer
from rfprune.fpga.layers.fold import norm_affine
from rfprune.fpga.layers.trace import Operation

__all__ = ["Chain", "ChainLayer", "chain_of", "fold_norms", "without_bias"]

_PASSING = ("flatten", "dropout", "identity")


@dataclass(frozen=True)
class ChainLayer:
    """One Linear layer.

    Attributes:
        name: of the layer.
        path: torch's dotted path of the module.
        n_in: its inputs.
        n_out: its outputs.
        signed: its inputs can be negative: no ReLU comes before it.
        relu: a ReLU comes after it.
        source: number of the layer that it reads, -1 for the network's input.
        norms_before: torch's paths of the batch norms between the ReLU before it, or the input,
            and this layer.
        norms_after: those between this layer and its ReLU.
    """

    name: str
    path: str
    n_in: int
    n_out: int
    signed: bool
    relu: bool
    source: int
    norms_before: tuple[str, ...] = ()
    norms_after: tuple[str, ...] = ()

    def of(self, model: nn.Module) -> nn.Linear:
        """Return the layer in a model."""
        found = model.get_submodule(self.path)
        assert isinstance(found, nn.Linear)
        return found

    def bias_of(self, model: nn.Module) -> Tensor:
        """Return its biases (n_out,), zeros if it has none."""
        layer = self.of(model)
        return layer.weight.new_zeros(self.n_out) if layer.bias is None else layer.bias


@dataclass(frozen=True)
class Chain:
    """The layers of a network, each after the one that it reads.

    Attributes:
        layers: in order of execution.
        outputs: numbers of those that the network puts out.
        keys: keys of the dict or numbers of the tuple that it puts out; None for one tensor.
    """

    layers: tuple[ChainLayer, ...]
    outputs: tuple[int, ...]
    keys: tuple[str, ...] | None = None

    def readers(self, index: int) -> tuple[int, ...]:
        """Return the numbers of the layers that read a layer, or the input (-1)."""
        return tuple(i for i, layer in enumerate(self.layers) if layer.source == index)

    def live(self, index: int, nonzero: Sequence[Tensor]) -> Tensor:
        """Return which neurons of a layer somebody reads; of an output, all.

        Args:
            index: of the layer.
            nonzero: (n_out, n_in) of each layer, which of its weights are not zero.
        """
        readers = self.readers(index)
        if not readers:
            return torch.arange(self.layers[index].n_out)
        return torch.cat([nonzero[reader] for reader in readers]).any(dim=0).nonzero().flatten()

    def packed(self, outputs: Sequence[Tensor]) -> Any:
        """Return outputs as the network itself puts them out: a tensor, a tuple or a dict."""
        if self.keys is None:
            return outputs[0]
        if all(key.isdigit() for key in self.keys):
            return tuple(outputs)
        return dict(zip(self.keys, outputs, strict=True))

    def joined(self, output: Any) -> Tensor:
        """Return what the network puts out as one tensor (N, all outputs), as the circuit does."""
        if self.keys is None:
            one: Tensor = output
            return one
        return torch.cat(list(output.values() if isinstance(output, dict) else output), dim=1)


def chain_of(network: Network) -> Chain:
    """Return the layers that a network is, as a chain or a tree.

    Raises:
        NetworkError: it is neither, with the first operation that does not belong.
    """
    reading = _Reading()
    weighted = {layer.operation: layer for layer in network.layers}
    for name in network.inputs:
        reading.origin[name] = (-1, (), 0)
    for operation in network.operations:
        layer = weighted.get(operation.name)
        source = operation.inputs[0] if len(operation.inputs) == 1 else ""
        if operation.type == "input":
            reading.origin[operation.name] = (-1, (), 0)
        elif layer is not None and layer.kind.name == "dense" and reading.may_read(source):
            reading.add(layer, source)
        elif (
            operation.type == "batchnorm"
            and len(operation.in_shape) == 1
            and reading.may_change(source)
        ):
            reading.add_norm(operation, source)
        elif operation.type == "relu" and reading.may_change(source, by_relu=True):
            reading.add_relu(operation.name, source)
        elif operation.type in _PASSING and reading.may_read(source):
            reading.origin[operation.name] = reading.origin[source]
        else:
            raise NetworkError(
                f"{operation.name}: method widths takes Linear layers with ReLUs and batch norms "
                f"between them, one after the other or in branches that are heads, and this "
                f"operation ({operation.type or 'another one'}) is none of these or not where one "
                f"may be. Allowed: such a network; hardware.backend: alkaid or hardware.strategy: "
                f"latency, which take what hls4ml takes; or another prune.method."
            )
    return Chain(tuple(reading.found), reading.outputs(network.outputs), network.output_keys)


class _Reading:
    """What has been read of a network: layers, and where each name comes from."""

    def __init__(self) -> None:
        self.found: list[ChainLayer] = []
        # Name -> layer that it comes from (-1 = input), batch norms behind it, stage of the layer.
        self.origin: dict[str, tuple[int, tuple[str, ...], int]] = {}
        # A layer gets a new stage with every norm and ReLU: what came before it is then gone.
        self._stage: dict[int, int] = {-1: 0}
        self._read: set[int] = set()

    def may_read(self, source: str) -> bool:
        """Return whether something may read this name: it is known, and is what the layer is."""
        if source not in self.origin:
            return False
        index, _, stage = self.origin[source]
        return stage == self._stage[index]

    def may_change(self, source: str, by_relu: bool = False) -> bool:
        """Return whether a norm or a ReLU may follow a name that nothing else reads."""
        if not self.may_read(source):
            return False
        index, norms, _ = self.origin[source]
        if by_relu and (index < 0 or norms):
            return False
        return index not in self._read

    def add(self, layer: WeightLayer, source: str) -> None:
        """Take a Linear layer."""
        index, norms, _ = self.origin[source]
        # A norm is folded into the one layer that reads it.
        self._read.add(index)
        # Behind a ReLU nothing is negative, which saves a bit of every product.
        signed = index < 0 or not self.found[index].relu
        names = layer.name, layer.path
        sizes = layer.n_in, layer.n_out
        self.found.append(ChainLayer(*names, *sizes, signed, False, index, norms_before=norms))
        here = len(self.found) - 1
        self._stage[here] = 0
        self.origin[layer.operation] = (here, (), 0)
        if norms:
            # Nothing else may read what the folded norms were on.
            self._stage[index] += 1

    def add_norm(self, operation: Operation, source: str) -> None:
        """Take a batch norm behind a layer, or before the next one."""
        index, norms, _ = self.origin[source]
        self._stage[index] += 1
        if index >= 0 and not self.found[index].relu:
            layer = self.found[index]
            after = (*layer.norms_after, operation.path)
            self.found[index] = replace(layer, norms_after=after)
        else:
            norms = (*norms, operation.path)
        self.origin[operation.name] = (index, norms, self._stage[index])

    def add_relu(self, name: str, source: str) -> None:
        """Take a ReLU behind a layer."""
        index = self.origin[source][0]
        self._stage[index] += 1
        self.found[index] = replace(self.found[index], relu=True)
        self.origin[name] = (index, (), self._stage[index])

    def outputs(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the layers that are put out.

        Raises:
            NetworkError: what is put out is not what a layer that nothing else reads puts out.
        """
        found = []
        for name in names:
            index, norms, _ = self.origin.get(name, (-1, (), 0))
            if index < 0 or norms or index in self._read or not self.may_read(name):
                raise NetworkError(
                    f"{name}: method widths takes networks that put out what their last layers "
                    f"compute. Allowed: outputs that nothing else reads, without a batch norm "
                    f"behind the last ReLU."
                )
            found.append(index)
        return tuple(found)


def without_bias(chain: Chain, model: nn.Module) -> str | None:
    """Return the first layer whose batch norms need a bias that it does not have; None if none."""
    for layer in chain.layers:
        if (layer.norms_before or layer.norms_after) and layer.of(model).bias is None:
            return layer.name
    return None


def fold_norms(chain: Chain, model: nn.Module) -> None:
    """Let the layers do what the batch norms beside them do, and these nothing any more, in place.

    ``W' = t (W s)`` and ``b' = t (b + W d) + e`` with scale s and shift d of those before, scale t
    and shift e of those after, of their running statistics.
    """
    with torch.no_grad():
        for layer in chain.layers:
            linear = layer.of(model)
            for path in layer.norms_before:
                scale, shift = _emptied(model, path)
                linear.bias.add_(linear.weight @ shift)
                linear.weight.mul_(scale)
            for path in layer.norms_after:
                scale, shift = _emptied(model, path)
                linear.weight.mul_(scale[:, None])
                linear.bias.mul_(scale).add_(shift)


def _emptied(model: nn.Module, path: str) -> tuple[Tensor, Tensor]:
    """Return (C,) scale and shift of a batch norm, and make it the identity."""
    norm = model.get_submodule(path)
    assert isinstance(norm, nn.BatchNorm1d)
    found = tuple(part.detach().clone() for part in norm_affine(norm))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    if norm.weight is not None:
        norm.weight.fill_(1.0)
        norm.bias.zero_()
    return found[0], found[1]
