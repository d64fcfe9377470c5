"""Which weights HLS still sees in layers whose weights are constants of the circuit.

Nothing reads a neuron whose weights in the next layer are all 0; a neuron whose own weights are all
0 is a constant, which HLS folds into the next layer's bias. Both take all weights from and to them
along: in ten published module reports of strongly pruned Latency networks the LUTs of a layer
follow live inputs x live outputs, down to 1/30 of what its own non-zero weights say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rfprune.estimate.weights import quantized_codes
from rfprune.network import LayerPlan, Network, Plan

__all__ = ["live_weights"]

#: Operations that hand each neuron of a vector on by itself.
_NEURON_BY_NEURON = ("relu", "flatten", "dropout", "identity", "batchnorm")


def live_weights(plan: Plan, model: nn.Module) -> dict[str, NDArray[Any]]:
    """Return the weights (n_out, n_in) of each layer in HLS order, 0 where HLS drops them.

    Only Latency layers that follow each other neuron by neuron lose any; the rest is as it is.
    """
    weights = {layer.name: _weight_hls(layer, model) for layer in plan.layers}
    constants = {x.name: x.weight for x in plan.layers if x.strategy == "latency"}
    pairs = [
        (name, reader)
        for name in constants
        if (reader := _only_reader(plan.network, name)) in constants
        and weights[reader].shape[1] == len(weights[name])
    ]
    live = {
        name: quantized_codes(weights[name], constants[name]) != 0
        for pair in pairs
        for name in pair
    }
    for name, reader in reversed(pairs):
        live[name][~live[reader].any(axis=0)] = False
    for name, reader in pairs:
        live[reader][:, ~live[name].any(axis=1)] = False
    return weights | {name: np.where(kept, weights[name], 0.0) for name, kept in live.items()}


def _weight_hls(plan: LayerPlan, model: nn.Module) -> NDArray[Any]:
    layer = plan.layer
    weight = model.get_submodule(layer.path).weight.detach().cpu().numpy()  # type: ignore[operator]
    ordered = np.ascontiguousarray(weight.reshape(-1)[plan.order])
    return ordered.reshape(layer.n_out, layer.n_in)


def _only_reader(network: Network, name: str) -> str:
    """Return the one operation that combines the neurons of `name`; empty if there are several."""
    readers = [operation for operation in network.operations if name in operation.inputs]
    if len(readers) != 1:
        return ""
    if readers[0].type in _NEURON_BY_NEURON:
        return _only_reader(network, readers[0].name)
    return readers[0].name
