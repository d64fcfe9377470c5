"""The fixed-point type of every input and every operation's output, as hls4ml will be told.

A weight layer whose result goes to an operation that rounds (an activation, pooling, a sum of two)
stays exact: hls4ml's accumulator is as wide as its products need (``infer_precision.py``). One that
goes straight to something else is rounded itself, or what reads it would grow with the
accumulator's width; so is that of a recurrent layer, whose state it is. Products and sums over axes
stay exact, too, as wide as they need to be, unless a weight layer reads them. The network's outputs
stay exact, unless the file gives the layer an ``output_precision``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, log2

from rfprune.fpga.layers.trace import Network, Operation
from rfprune.hardware.precision import FixedType
from rfprune.spec.hardware import HardwareSpec

__all__ = ["data_types", "exact_type", "is_exact", "output_types", "result_types", "type_keys"]

#: Operations that hand on what they get.
_TRANSPARENT = ("flatten", "gather", "dropout", "identity", "resize", "padding")
#: Operations whose output is as wide as it needs to be.
_EXACT = ("multiply", "sum")
#: Operations that read nothing as wide as an accumulator.
_READS_ROUNDED = (
    *("batchnorm", "affine", "concatenate", "embedding", "product", "softmax"),
    *_EXACT,
)
#: The widest type that a file can name; what would be wider is rounded like everything else.
_WIDEST = 64

Types = dict[str, FixedType]


def result_types(network: Network, hardware: HardwareSpec) -> Types:
    """Return, for each input and operation, the type its output has wherever it is rounded.

    It is that of the weight layer before it (the one executed last, if several paths meet), or the
    default of the network where there is none. The input of an Embedding is a whole number.
    """
    weighted = {layer.operation for layer in network.layers}
    place = {operation.name: index for index, operation in enumerate(network.operations)}
    default = FixedType.parse(hardware.precision)
    types: Types = {name: _input_type(name, network, default) for name in network.inputs}
    for operation in network.operations:
        if operation.name in weighted:
            text = hardware.layer(operation.name).precision
            types[operation.name] = FixedType.parse(str(text))
            continue
        before = _before(operation, place)
        chosen = types.get(before, default) if before in place else default
        types[operation.name] = default if operation.type == "embedding" else chosen
    return types


def _before(operation: Operation, place: Mapping[str, int]) -> str:
    """Return, of several operands, the last in order of execution; empty if there are none."""
    return max(operation.inputs, key=lambda name: place.get(name, -1), default="")


def type_keys(network: Network, hardware: HardwareSpec) -> dict[str, str]:
    """Return the key of a file that decides the type of each input and operation's output."""
    weighted = {layer.operation for layer in network.layers}
    place = {operation.name: index for index, operation in enumerate(network.operations)}
    usual = "hardware.precision"
    keys = dict.fromkeys(network.inputs, usual)
    for operation in network.operations:
        name = operation.name
        if name in weighted:
            own = hardware.layer(name).output_precision is not None
            key = "output_precision" if own else "precision"
            keys[name] = f"hardware.layers.{name}.{key}"
        else:
            before = _before(operation, place)
            keys[name] = usual if operation.type == "embedding" else keys.get(before, usual)
            if before in network.inputs:
                keys[name] = usual
    return keys


def is_exact(operation: Operation, types: Mapping[str, FixedType | None]) -> bool:
    """Return whether an operation's type loses nothing of what it computes from its operands."""
    parts = [types[name] for name in operation.inputs]
    if operation.type not in _EXACT or None in parts:
        return False
    return types[operation.name] == exact_type(
        operation, [part for part in parts if part is not None]
    )


def _input_type(name: str, network: Network, default: FixedType) -> FixedType:
    rows = [operation.rows for operation in network.operations if name in operation.inputs]
    if None in rows or not rows:
        return default
    # Numbers of rows, from 0 on: no sign and no fraction.
    width = max(1, ceil(log2(max(row for row in rows if row is not None))))
    return FixedType(width, width, signed=False)


def data_types(network: Network, hardware: HardwareSpec) -> Types:
    """Return the type of the data that each weight of a layer is multiplied with, by its name."""
    types = output_types(network, hardware)
    results = result_types(network, hardware)
    found: Types = {}
    for layer in network.layers:
        # The second weight of a recurrent layer reads its state, which is its output.
        source = layer.operation if layer.reads_state else layer.input
        kind = types.get(source)
        found[layer.name] = results[source] if kind is None else kind
    return found


def output_types(network: Network, hardware: HardwareSpec) -> dict[str, FixedType | None]:
    """Return the type of each input and operation's output; None where it is an accumulator's."""
    types = result_types(network, hardware)
    readers: dict[str, list[Operation]] = {name: [] for name in types}
    for operation in network.operations:
        for name in operation.inputs:
            readers[name].append(operation)
    passing = {op.name for op in network.operations if op.type in _TRANSPARENT}
    passing |= network.folded_norms
    weighted = {layer.operation: layer for layer in network.layers}

    def read_by(name: str, kinds: tuple[str, ...]) -> bool:
        """Return whether a weight layer or one of `kinds` reads it, through what hands it on."""
        return any(
            read_by(reader.name, kinds)
            if reader.name in passing
            else reader.name in weighted or reader.type in kinds
            for reader in readers[name]
        )

    found: dict[str, FixedType | None] = {name: types[name] for name in network.inputs}
    for operation in network.operations:
        name = operation.name
        if name in passing:
            # In order of execution, so that what it reads has its type already.
            found[name] = found[operation.inputs[0]]
        elif name in weighted and (own := hardware.layer(name).output_precision) is not None:
            found[name] = FixedType.parse(own)
        elif name in weighted:
            rounded = weighted[name].kind.gates or read_by(name, _READS_ROUNDED)
            found[name] = types[name] if rounded else None
        elif operation.type == "concatenate":
            found[name] = _union([found[part] or types[part] for part in operation.inputs])
        elif operation.type in _EXACT and not read_by(name, ("affine", "batchnorm")):
            parts = [found[part] or types[part] for part in operation.inputs]
            found[name] = exact_type(operation, parts) or types[name]
        elif operation.type == "product" and all(x.type == "softmax" for x in readers[name]):
            # What is too large must not come around as something small.
            parts = [found[part] or types[part] for part in operation.inputs]
            found[name] = _without_overflow(types[name], exact_type(operation, parts))
        else:
            found[name] = types[name]
    return found


def _union(kinds: list[FixedType]) -> FixedType:
    """Return the least type that holds every value of all of them."""
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    signed = any(kind.signed for kind in kinds)
    # An unsigned type needs a bit more among signed ones.
    integer = max(kind.integer + int(signed and not kind.signed) for kind in kinds)
    return FixedType(integer + max(kind.fractional for kind in kinds), integer, signed)


def _without_overflow(kind: FixedType, exact: FixedType | None) -> FixedType:
    """Return a type with the bits behind the point of `kind`, and those before it of `exact`."""
    if exact is None or exact.integer <= kind.integer:
        return kind
    return replace(kind, width=exact.integer + kind.fractional, integer=exact.integer)


def exact_type(operation: Operation, parts: Sequence[FixedType]) -> FixedType | None:
    """Return the type of products or sums that loses nothing; None if it is too wide to name.

    Args:
        operation: that multiplies or adds.
        parts: types of what it reads.
    """
    more = 0 if operation.type == "multiply" else ceil(log2(max(1, operation.n_terms)))
    # Of two: only the product of two least numbers needs the last bit, as hls4ml has it.
    width, integer = (sum(p.width for p in parts), sum(p.integer for p in parts))
    kind = FixedType(width + more, integer + more, any(part.signed for part in parts))
    return kind if kind.width <= _WIDEST else None
