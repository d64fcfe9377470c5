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

from rfprune.fpga.estimators.weights import quantized_codes
from rfprune.fpga.layers import Network, Plan

__all__ = ["live_weights"]

#: Operations that hand each neuron of a vector on by itself.
_NEURON_BY_NEURON = ("relu", "relu6", "flatten", "dropout", "identity", "batchnorm", "affine")


def live_weights(plan: Plan, model: nn.Module) -> dict[str, NDArray[Any]]:
    """Return the weights (n_out, n_in) of each layer in HLS order, 0 where HLS drops them.

    Only Latency layers that follow each other neuron by neuron lose any; the rest is as it is.
    """
    weights: dict[str, NDArray[Any]] = {}
    for planned in plan.layers:
        # In HLS order a row of the matrix is what one output reads.
        flat = planned.layer.weight_of(model).detach().cpu().numpy().reshape(-1)[planned.order]
        shape = (planned.layer.n_out, planned.layer.n_in)
        weights[planned.name] = np.ascontiguousarray(flat).reshape(shape)
    # Weights in memories are read whatever they are.
    constants = {x.name: x.weight for x in plan.layers if x.strategy == "latency"}
    pairs = [
        (name, reader)
        for name in constants
        if (reader := _only_reader(plan.network, name)) in constants
        and weights[reader].shape[1] == len(weights[name])
    ]
    # By the codes in hardware: a weight that rounds to 0 is 0.
    live = {
        name: quantized_codes(weights[name], constants[name]) != 0
        for pair in pairs
        for name in pair
    }
    # From the last layer back, since what nobody reads makes what it reads unread as well; then
    # from the first on, since a constant neuron can make constants of those behind it.
    for name, reader in reversed(pairs):
        live[name][~live[reader].any(axis=0)] = False
    for name, reader in pairs:
        live[reader][:, ~live[name].any(axis=1)] = False
    return weights | {name: np.where(kept, weights[name], 0.0) for name, kept in live.items()}


# With two readers a neuron may still be wanted by the other.
def _only_reader(network: Network, name: str) -> str:
    """Return the one operation that combines the neurons of `name`; empty if there are several."""
    readers = [operation for operation in network.operations if name in operation.inputs]
    if len(readers) != 1:
        return ""
    if readers[0].type in _NEURON_BY_NEURON:
        return _only_reader(network, readers[0].name)
    return readers[0].name
