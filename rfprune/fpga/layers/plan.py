"""Which hardware each layer gets: the file's settings resolved per layer.

What hls4ml would silently replace is refused. `LayerPlan.droppable` says whether pruned groups
really vanish from what hls4ml generates:

==================  =========================  ====================  ====================
strategy            dense                      conv, io_stream       conv, io_parallel
==================  =========================  ====================  ====================
latency             yes (constants)            yes                   yes
resource            no                         no                    no
resource_unrolled   yes, RF > 1                yes, RF > 1           no (becomes resource)
==================  =========================  ====================  ====================

A Linear on a sequence is a convolution there (`WeightKind.convolves`); the two weights of a
recurrent layer are as those of dense layers.

Sources: hls4ml 1.3, ``backends/vivado/passes/unrolled_codegen.py`` (the only code that leaves zero
groups out), ``nnet_dense_latency.h`` (constants), ``backends/fpga/fpga_backend.py`` (fallbacks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from rfprune.core.arrays import IntArray
from rfprune.core.registry import nearest
from rfprune.errors import NetworkError, SpecError
from rfprune.fpga.layers.layout import Layout, arrange
from rfprune.fpga.layers.output_types import data_types, exact_type, output_types
from rfprune.fpga.layers.trace import Network, WeightLayer
from rfprune.hardware.parts import Part, find_part
from rfprune.hardware.precision import FixedType
from rfprune.hardware.reuse import (
    LARGEST_PARTITION,
    check_reuse_factor,
    partitioned,
    resolve_strategy,
    valid_reuse_factors,
)
from rfprune.spec.hardware import HardwareSpec

__all__ = [
    "EXACT_BITS",
    "TABLE_SIZE",
    "TABLE_TYPE",
    "UNROLLED",
    "LayerPlan",
    "Plan",
    "check_layer_names",
    "plan",
]

#: ``table_size`` and ``table_t`` of every activation (``backends/fpga/fpga_backend.py``).
TABLE_SIZE = 1024
TABLE_TYPE = FixedType(18, 8)
#: Bits in front of the point of a type with a sign that holds 1.
_ONE = 2
#: Bits that a double holds exactly.
EXACT_BITS = 53
#: A place in the table of tanh, 128 for each unit, is an `int` of 32 bits (``nnet_activation.h``).
_LARGEST_INDEX = 32 - 7

#: Every weight is a constant in a graph of adders; nothing of it goes through HLS.
UNROLLED = "distributed_arithmetic"


@dataclass(frozen=True)
class LayerPlan:
    """One layer with the hardware it gets.

    Attributes:
        layer: the layer.
        reuse_factor: weights per multiplier; always one that hls4ml keeps.
        strategy: latency, resource, resource_unrolled or distributed_arithmetic; never auto.
        weight: type of the weights.
        result: type of bias and result.
        data: type of the layer's inputs.
        dsp_type: DSP block of the part, e.g. DSP48E2.
        order: (N,) flat torch index of the weight at each flat HLS position.
        kept_because: why pruned groups would not vanish, or None if they do.
    """

    layer: WeightLayer
    reuse_factor: int
    strategy: str
    weight: FixedType
    result: FixedType
    data: FixedType
    dsp_type: str
    order: IntArray
    kept_because: str | None

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def droppable(self) -> bool:
        """Whether pruned groups vanish from the multipliers that hls4ml generates."""
        return self.kept_because is None

    @property
    def accumulator(self) -> FixedType:
        """Type of its sums, which holds them exactly, as hls4ml infers it."""
        more = ceil(log2(self.layer.n_in))
        signed = self.weight.signed or self.data.signed
        integer = self.weight.integer + self.data.integer + more
        # A sign that only one of products and bias has, and the carry of adding the bias.
        products = integer + int(self.result.signed and not signed)
        bias = self.result.integer + int(signed and not self.result.signed)
        integer = max(products, bias) + 1
        fraction = max(self.weight.fractional + self.data.fractional, self.result.fractional)
        return FixedType(integer + fraction, integer, signed or self.result.signed)

    @property
    def n_multipliers(self) -> int:
        """Multipliers of the dense layer, ``n_in * n_out / RF``."""
        return -(-self.layer.n_weights // self.reuse_factor)


@dataclass(frozen=True)
class Plan:
    """A network on an FPGA: every layer with its hardware, and the settings common to all.

    Example::

        from rfprune.spec import HardwareSpec

        found = rfprune.plan(rfprune.trace(net, (8,)), HardwareSpec(reuse_factor=4))
        [(layer.name, layer.n_multipliers, layer.strategy) for layer in found.of("fc1")]
        found.exact_type("fc1"), found.notes()
        sequences = rfprune.trace(recurrent, (5, 4))  # a network with a GRU named gru
        rfprune.plan(sequences, HardwareSpec(strategy="latency")).gates("gru")
        scores = rfprune.trace(attention, (5, 4))  # a network that calls torch.bmm
        rfprune.plan(scores, HardwareSpec(strategy="latency")).products("bmm")

    Attributes:
        network: the traced network.
        layers: its weight layers.
        part: the FPGA.
        hardware: the file's settings.
        types: of each operation's output; None where hls4ml keeps it exact.
        layout: where everything lies.
    """

    network: Network
    layers: tuple[LayerPlan, ...]
    part: Part
    hardware: HardwareSpec
    types: Mapping[str, FixedType | None]
    layout: Layout

    @property
    def reuse_factor(self) -> int:
        """Reuse factor of operations without weights: the largest of the layers."""
        return max(layer.reuse_factor for layer in self.layers)

    def of(self, operation: str) -> list[LayerPlan]:
        """Return the plans of the weights of `operation`, in the order of hls4ml.

        One for a dense layer or a convolution, two for a recurrent layer, none for the others.
        """
        return [each for each in self.layers if each.layer.operation == operation]

    def gates(self, operation: str) -> FixedType:
        """Return the type of what a recurrent `operation` computes between weights and state.

        hls4ml has one type for all of it (``accum_t`` of ``nnet_recurrent.h``): the sums of both
        weights and their sum, without loss, and the entries of the tables.
        """
        sums = [each.accumulator for each in self.of(operation)]
        integer = max(kind.integer + int(not kind.signed) for kind in sums) + 1
        fraction = max(*(kind.fractional for kind in sums), TABLE_TYPE.fractional)
        integer = max(integer, _ONE)
        return FixedType(integer + fraction, integer)

    def products(self, operation: str) -> FixedType:
        """Return the type of the sums of an `operation` that multiplies two tensors, exactly.

        Raises:
            NetworkError: it is wider than rfprune can prove.
        """
        (found,) = (each for each in self.network.operations if each.name == operation)
        parts = [self.types[name] or self.exact_type(name) for name in found.inputs]
        exact = exact_type(found, parts)
        if exact is None or exact.width > EXACT_BITS:
            shown = " and ".join(map(str, parts))
            raise NetworkError(
                f"{operation}: products of {shown} need more than the {EXACT_BITS} bits that "
                "rfprune proves. Take narrower data: hardware.precision, or "
                "hardware.layers.LAYER.precision of what it reads."
            )
        return exact

    def exact_type(self, name: str) -> FixedType:
        """Return the type of what the weight layer `name` puts out, exactly.

        `name` may also be an operation behind it that enlarges or pads.
        """
        inputs = {operation.name: operation.inputs[0] for operation in self.network.operations}
        exact = {layer.layer.operation: layer.accumulator for layer in self.layers}
        while name not in exact:
            name = inputs[name]
        return exact[name]

    def notes(self) -> list[str]:
        """Return a sentence per layer that pruning cannot shrink, or that is too large to build."""
        kept = [
            f"{layer.name}: pruning saves nothing here: {layer.kept_because}."
            for layer in self.layers
            if layer.kept_because
        ]
        return [*kept, *(note for layer in self.layers if (note := _too_large(layer)))]


def _too_large(layer: LayerPlan) -> str | None:
    """Return the note on a layer at which the vendor's HLS stops before anything is pruned."""
    if layer.strategy == UNROLLED:
        return None
    latency = layer.strategy == "latency"
    elements = partitioned(layer.layer.n_weights, layer.reuse_factor, layer.strategy)
    if elements <= LARGEST_PARTITION:
        return None
    what = "products, all at once" if latency else f"multipliers at RF {layer.reuse_factor}"
    factor = -(-layer.layer.n_weights // LARGEST_PARTITION)
    way = "another strategy and " if latency else ""
    return (
        f"{layer.name}: {elements:,} {what}: Vivado HLS stops at more than {LARGEST_PARTITION:,} "
        f"unrolled or partitioned elements (XFORM 203-504), and Vitis HLS can take hours or stop; "
        f"use {way}a reuse factor of {factor} or more, or a smaller layer."
    )


def plan(network: Network, hardware: HardwareSpec) -> Plan:
    """Resolve `hardware` for every layer of `network`.

    Example::

        from rfprune.spec import HardwareSpec

        found = rfprune.plan(rfprune.trace(net, (8,)), HardwareSpec(reuse_factor=4))
        [(layer.name, layer.reuse_factor) for layer in found.layers]

    Args:
        network: as `rfprune.trace` returns it.
        hardware: part, clock (ns), io type, strategy, reuse factors and types of all layers, and
            what single ones have of their own.

    Raises:
        SpecError: a layer that the network does not have, or strategy and reuse factor that exclude
            each other.
        ReuseFactorError: a reuse factor that hls4ml would silently round, or build wrongly.
        NetworkError: a network that hls4ml would build wrongly with this `io_type`.
        UnknownNameError: no such part.
    """
    # Names first: a misspelt layer would otherwise have the settings of all others.
    check_layer_names("hardware.layers", hardware.layers, network, whole=True)
    _check_stream(network, hardware.io_type)
    layout = arrange(network, hardware.io_type)
    part = find_part(hardware.part)
    data = data_types(network, hardware)
    layers = tuple(
        _layer_plan(layer, hardware, data[layer.name], part.dsp_type, _order(layer, layout))
        for layer in network.layers
    )
    planned = Plan(network, layers, part, hardware, output_types(network, hardware), layout)
    for operation in dict.fromkeys(x.operation for x in network.layers if x.kind.gates):
        _check_recurrent(planned, operation)
    for found in network.operations:
        if found.type == "product":
            planned.products(found.name)  # or it raises
    return planned


def _check_recurrent(planned: Plan, operation: str) -> None:
    """Raise where hls4ml would build a recurrent layer otherwise, or rfprune could not prove it."""
    own = planned.of(operation)
    strategies = {each.name: each.strategy for each in own}
    if len(set(strategies.values())) > 1:
        shown = ", ".join(f"{strategy} for {name}" for name, strategy in strategies.items())
        raise SpecError(
            f"{operation}: both weights of a recurrent layer are built in one strategy, and there "
            f"are {shown}. Set hardware.layers.{operation}.strategy to latency or "
            "resource_unrolled; a reuse factor of 1 needs latency."
        )
    if UNROLLED in strategies.values():
        raise NetworkError(
            f"{operation}: a recurrent layer is built by hls4ml alone, in a strategy with "
            "multipliers. Allowed: strategies latency, resource_unrolled and resource."
        )
    for each in own:
        settings = planned.hardware.layers.get(each.name)
        if settings is not None and settings.output_precision is not None:
            raise SpecError(
                f"hardware.layers.{each.name}.output_precision: one weight of a layer has no "
                f"output. Take hardware.layers.{operation}.output_precision."
            )
    state, gates = planned.types[operation], planned.gates(operation)
    assert state is not None
    # What becomes a state: a product of two entries of tables, and one of an entry and the state.
    fraction = max(state.fractional, TABLE_TYPE.fractional) + TABLE_TYPE.fractional
    widest = max(gates.width, max(state.integer, _ONE) + 1 + fraction)
    narrower = f"Take narrower weights, data or states: hardware.layers.{operation}.precision"
    if widest > EXACT_BITS:
        raise NetworkError(
            f"{operation}: its gates need {widest} bits to lose nothing, and rfprune proves up to "
            f"{EXACT_BITS}. {narrower}."
        )
    if gates.integer > _LARGEST_INDEX:
        raise NetworkError(
            f"{operation}: its gates need {gates.integer} bits in front of the point, and above "
            f"{_LARGEST_INDEX} the place in hls4ml's tables overflows. {narrower}."
        )


def _check_stream(network: Network, io_type: str) -> None:
    """Raise a NetworkError, before any training, if io_stream would build another network."""
    for operation in network.operations if io_type == "io_stream" else ():
        if operation.stream_fault is not None:
            raise NetworkError(
                f"{operation.path or operation.name}: hls4ml's io_stream cannot take a "
                f"{operation.type} layer with {operation.stream_fault}. Change it, or use "
                "io_parallel."
            )


def _order(layer: WeightLayer, layout: Layout) -> IntArray:
    """Return (N,) the flat torch index of the weight at each flat HLS position.

    A Linear that reads features in the order in which they lie has its weights in that order.
    """
    order = layer.kind.order(layer.weight_shape)
    (read,) = layout.placed[layer.operation].reads
    source = layout.placed[layer.input]
    if layer.kind.name != "dense" or read.order is not None or not source.is_whole:
        return order
    # Stored in torch's own order: nothing to permute.
    if (source.places.reshape(-1) == np.arange(source.places.size)).all():
        return order
    return np.ascontiguousarray(order.reshape(layer.n_out, -1)[:, source.torch_order]).reshape(-1)


def check_layer_names(
    key: str, names: Mapping[str, object], network: Network, whole: bool = False
) -> None:
    """Raise a SpecError if a name under `key` is not a layer of the network.

    Args:
        key: of the file.
        names: under it.
        network: traced.
        whole: whether layers with several weights can be named as such.
    """
    whole_layers = [layer.operation for layer in network.layers] if whole else []
    known = [*dict.fromkeys([*whole_layers, *(layer.name for layer in network.layers)])]
    for name in names:
        if name not in known:
            raise SpecError(
                f"{key}: the network has no layer '{name}'.{nearest(name, known)} "
                f"Layers: {', '.join(known)}."
            )


def _layer_plan(
    layer: WeightLayer, hardware: HardwareSpec, data: FixedType, dsp_type: str, order: IntArray
) -> LayerPlan:
    own = hardware.layer(layer.name)
    reuse_factor, asked = own.reuse_factor, own.strategy
    # What the layer does not set, the file sets for all layers.
    assert reuse_factor is not None
    assert asked is not None
    n_in, n_out, largest = layer.size(hardware.io_type)
    # hls4ml would take the nearest valid one and only print a warning.
    check_reuse_factor(layer.name, n_in, n_out, reuse_factor, asked, largest)
    valid = valid_reuse_factors(n_in, n_out, asked, largest)
    strategy = resolve_strategy(layer.name, asked, reuse_factor, valid)
    if layer.kind.depthwise and strategy not in ("latency", UNROLLED):
        raise SpecError(
            f"{layer.name}: rfprune builds depthwise convolutions in strategy latency alone, not "
            f"in {strategy}. Set hardware.layers.{layer.name}.strategy to latency."
        )
    return LayerPlan(
        layer=layer,
        reuse_factor=reuse_factor,
        strategy=strategy,
        weight=FixedType.parse(str(own.weight_precision)),
        result=FixedType.parse(str(own.precision)),
        data=data,
        dsp_type=dsp_type,
        order=order,
        kept_because=_kept_because(layer, strategy, hardware.io_type),
    )


def _kept_because(layer: WeightLayer, strategy: str, io_type: str) -> str | None:
    if strategy == "resource":
        return "strategy resource reads every weight from memory, zero or not"
    if strategy == "resource_unrolled" and layer.kind.convolves and io_type == "io_parallel":
        return (
            "hls4ml turns resource_unrolled into resource for convolutions and Linear layers on "
            "sequences in io_parallel (io_stream or strategy latency prunes)"
        )
    return None
