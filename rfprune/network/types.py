"""The fixed-point type of every operation's output, as hls4ml will be told.

A weight layer whose result goes to an operation that rounds (an activation, pooling, a sum) stays
exact: hls4ml's accumulator is as wide as its products need (``infer_precision.py``). One that goes
straight to another weight layer is rounded itself, or that layer would multiply the accumulator's
width. The network's logits stay exact.
"""

from __future__ import annotations

from rfprune.hardware.precision import FixedType
from rfprune.network.trace import Network, Operation
from rfprune.spec.trial import HardwareSpec

__all__ = ["data_types", "output_types", "result_types"]

#: Operations that hand on what they get.
_TRANSPARENT = ("flatten", "dropout", "identity")

Types = dict[str, FixedType]


def result_types(network: Network, hardware: HardwareSpec) -> Types:
    """Return, for each operation, the type its output has wherever it is rounded.

    It is that of the weight layer before it (the one executed last, if several paths meet), or the
    default of the network where there is none.
    """
    weighted = {layer.name for layer in network.layers}
    place = {operation.name: index for index, operation in enumerate(network.operations)}
    types: Types = {}
    for operation in network.operations:
        if operation.name in weighted:
            own = hardware.layers.get(operation.name)
            text = (own and own.precision) or hardware.precision
            types[operation.name] = FixedType.parse(text)
            continue
        before = max(operation.inputs, key=lambda name: place.get(name, -1), default="")
        types[operation.name] = types.get(before, FixedType.parse(hardware.precision))
    return types


def data_types(network: Network, hardware: HardwareSpec) -> Types:
    """Return the type of the data that each weight layer reads."""
    types = result_types(network, hardware)
    default = FixedType.parse(hardware.precision)
    weighted = {layer.name for layer in network.layers}
    return {
        operation.name: types.get(operation.inputs[0], default)
        for operation in network.operations
        if operation.name in weighted
    }


def output_types(network: Network, hardware: HardwareSpec) -> dict[str, FixedType | None]:
    """Return the type of each operation's output; None where it is exact, not rounded."""
    types = result_types(network, hardware)
    readers: dict[str, list[Operation]] = {name: [] for name in types}
    for operation in network.operations:
        for name in operation.inputs:
            readers.get(name, []).append(operation)
    passing = {op.name for op in network.operations if op.type in _TRANSPARENT}
    passing |= network.folded_norms
    weighted = {layer.name for layer in network.layers}

    def multiplied(name: str) -> bool:
        return any(
            multiplied(reader.name) if reader.name in passing else reader.name in weighted
            for reader in readers[name]
        )

    found: dict[str, FixedType | None] = {}
    for operation in network.operations:
        name = operation.name
        if name in passing and operation.inputs[0] in found:
            found[name] = found[operation.inputs[0]]
        elif name in weighted and not multiplied(name):
            found[name] = None
        else:
            found[name] = types[name]
    return found
