"""Which weights and neurons HLS still sees where weights are constants of the circuit.

Nothing reads a neuron whose weights in the next layer are all 0; a neuron whose own weights are all
0 is a constant, which HLS folds into the next layer's bias. Both take all weights from and to them
along, and what activations and registers they had: in ten published module reports of strongly
pruned Latency networks the LUTs of a layer follow live inputs x live outputs, down to 1/30 of what
its own non-zero weights say, and 15 of 18 modules of ReLU list as many comparisons as there are
living neurons. This is so where hls4ml makes one pipeline of the network. Processes that hand each
other data through FIFOs (io_stream, Resource, convolutions of several positions; its pass
``pipeline_style``) are built one by one, whatever is written to a FIFO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rfprune.fpga.estimators.weights import quantized_codes
from rfprune.fpga.layers import Network, Plan

__all__ = ["Alive", "live_weights"]

#: Operations that hand each neuron of a vector on by itself.
_NEURON_BY_NEURON = ("relu", "relu6", "flatten", "dropout", "identity", "batchnorm", "affine")


@dataclass(frozen=True)
class Alive:
    """What HLS sees of a network.

    Attributes:
        weights: layer -> (n_out, n_in) its weights in HLS order, 0 where HLS drops them.
        outputs: operation -> its living neurons, where some of them may be gone.
        inputs: layer -> the living neurons that it reads, of the same operations.
    """

    weights: dict[str, NDArray[Any]]
    outputs: dict[str, int]
    inputs: dict[str, int]


def live_weights(plan: Plan, model: nn.Module) -> Alive:
    """Return the weights of each layer that HLS does not drop, and the neurons that are left.

    Only Latency layers that follow each other neuron by neuron in one pipeline lose any.
    """
    weights: dict[str, NDArray[Any]] = {}
    for planned in plan.layers:
        # In HLS order a row of the matrix is what one output reads.
        flat = planned.layer.weight_of(model).detach().cpu().numpy().reshape(-1)[planned.order]
        shape = (planned.layer.n_out, planned.layer.n_in)
        weights[planned.name] = np.ascontiguousarray(flat).reshape(shape)
    # Weights in memories are read whatever they are.
    constants = {x.name: x.weight for x in plan.layers if x.strategy == "latency"}
    chains = [
        (name, between, reader)
        for name in (constants if _one_pipeline(plan) else ())
        for between, reader in [_only_reader(plan.network, name)]
        if reader in constants and weights[reader].shape[1] == len(weights[name])
    ]
    # By the codes in hardware: a weight that rounds to 0 is 0.
    live = {
        name: quantized_codes(weights[name], constants[name]) != 0
        for first, _, reader in chains
        for name in (first, reader)
    }
    # From the last layer back, since what nobody reads makes what it reads unread as well; then
    # from the first on, since a constant neuron can make constants of those behind it.
    for name, _, reader in reversed(chains):
        live[name][~live[reader].any(axis=0)] = False
    for name, _, reader in chains:
        live[reader][:, ~live[name].any(axis=1)] = False
    outputs: dict[str, int] = {}
    inputs: dict[str, int] = {}
    for name, between, reader in chains:
        inputs[reader] = int(live[name].any(axis=1).sum())
        outputs |= dict.fromkeys((name, *between), inputs[reader])
    kept = {name: np.where(seen, weights[name], 0.0) for name, seen in live.items()}
    return Alive(weights | kept, outputs, inputs)


def _one_pipeline(plan: Plan) -> bool:
    """Return whether hls4ml puts the whole network into one pipeline."""
    if plan.hardware.io_type != "io_parallel":
        return False
    return not any(
        # What cannot be unrolled is built in Resource.
        x.strategy == "resource"
        or (x.strategy == "resource_unrolled" and (not x.droppable or x.reuse_factor == 1))
        or (x.layer.positions > 1 and not x.layer.kind.gates)
        for x in plan.layers
    )


def _only_reader(network: Network, name: str) -> tuple[tuple[str, ...], str]:
    """Return the one operation that combines the neurons of `name`, and those between them.

    An empty name if there are several: with two readers a neuron may still be wanted by the other.
    """
    readers = [operation for operation in network.operations if name in operation.inputs]
    if len(readers) != 1:
        return (), ""
    if readers[0].type in _NEURON_BY_NEURON:
        between, reader = _only_reader(network, readers[0].name)
        return (readers[0].name, *between), reader
    return (), readers[0].name
