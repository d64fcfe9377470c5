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

A Linear on a sequence is a convolution there (`WeightKind.convolves`).

Sources: hls4ml 1.3, ``backends/vivado/passes/unrolled_codegen.py`` (the only code that leaves zero
groups out), ``nnet_dense_latency.h`` (constants), ``backends/fpga/fpga_backend.py`` (fallbacks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rfprune.arrays import IntArray
from rfprune.errors import SpecError
from rfprune.hardware.parts import Part, find_part
from rfprune.hardware.precision import FixedType
from rfprune.hardware.reuse import check_reuse_factor, valid_reuse_factors
from rfprune.network.kinds import dense_after_flatten_order
from rfprune.network.layout import check_layout
from rfprune.network.trace import Network, WeightLayer
from rfprune.network.types import data_types, output_types
from rfprune.registry import nearest
from rfprune.spec.trial import HardwareSpec

__all__ = ["LayerPlan", "Plan", "check_layer_names", "plan", "resolve_strategy"]


@dataclass(frozen=True)
class LayerPlan:
    """One layer with the hardware it gets.

    Attributes:
        layer: the layer.
        reuse_factor: weights per multiplier; always one that hls4ml keeps.
        strategy: latency, resource or resource_unrolled; never auto.
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
    def n_multipliers(self) -> int:
        """Multipliers of the dense layer, ``n_in * n_out / RF``."""
        return -(-self.layer.n_weights // self.reuse_factor)


@dataclass(frozen=True)
class Plan:
    """A network on an FPGA: every layer with its hardware, and the settings common to all.

    Attributes:
        network: the traced network.
        layers: its weight layers.
        part: the FPGA.
        hardware: the file's settings.
        types: of each operation's output; None where hls4ml keeps it exact.
    """

    network: Network
    layers: tuple[LayerPlan, ...]
    part: Part
    hardware: HardwareSpec
    types: Mapping[str, FixedType | None]

    def notes(self) -> list[str]:
        """Return one sentence per layer in which pruning cannot save anything."""
        return [
            f"{layer.name}: pruning saves nothing here: {layer.kept_because}."
            for layer in self.layers
            if layer.kept_because
        ]


def plan(network: Network, hardware: HardwareSpec) -> Plan:
    """Resolve `hardware` for every layer of `network`.

    Raises:
        SpecError: a layer that the network does not have, or strategy and reuse factor that exclude
            each other.
        ReuseFactorError: a reuse factor that hls4ml would silently round, or build wrongly.
        NetworkError: a network that hls4ml would build wrongly with this `io_type`.
        UnknownNameError: no such part.
    """
    check_layer_names("hardware.layers", hardware.layers, network)
    check_layout(network, hardware.io_type)
    part = find_part(hardware.part)
    data = data_types(network, hardware)
    layers = tuple(
        _layer_plan(layer, hardware, data[layer.name], part.dsp_type) for layer in network.layers
    )
    return Plan(network, layers, part, hardware, output_types(network, hardware))


def check_layer_names(key: str, names: Mapping[str, object], network: Network) -> None:
    """Raise a SpecError if a name under `key` is no layer of the network."""
    known = [layer.name for layer in network.layers]
    for name in names:
        if name not in known:
            raise SpecError(
                f"{key}: the network has no layer '{name}'.{nearest(name, known)} "
                f"Layers: {', '.join(known)}."
            )


def resolve_strategy(name: str, asked: str, reuse_factor: int, valid: list[int]) -> str:
    """Return the strategy that hls4ml builds for layer `name`; ``auto`` picks the one that prunes.

    Raises:
        SpecError: resource_unrolled at reuse factor 1, which hls4ml silently turns into resource.
    """
    if asked == "auto":
        return "latency" if reuse_factor == 1 else "resource_unrolled"
    if asked == "resource_unrolled" and reuse_factor == 1:
        above = next((rf for rf in valid if rf > 1), None)
        other = f", or a reuse factor from {above} on" if above else ""
        raise SpecError(
            f"{name}: strategy resource_unrolled needs a reuse factor above 1; at 1 hls4ml would "
            f"silently build resource, in which nothing that is pruned vanishes. Take strategy "
            f"latency or auto{other}."
        )
    return asked


def _layer_plan(
    layer: WeightLayer, hardware: HardwareSpec, data: FixedType, dsp_type: str
) -> LayerPlan:
    own = hardware.layers.get(layer.name)
    reuse_factor = (own and own.reuse_factor) or hardware.reuse_factor
    asked = (own and own.strategy) or hardware.strategy
    n_in, n_out, largest = layer.size(hardware.io_type)
    check_reuse_factor(layer.name, n_in, n_out, reuse_factor, asked, largest)
    valid = valid_reuse_factors(n_in, n_out, asked, largest)
    strategy = resolve_strategy(layer.name, asked, reuse_factor, valid)
    result = (own and own.precision) or hardware.precision
    weight = (
        (own and (own.weight_precision or own.precision)) or hardware.weight_precision or result
    )
    return LayerPlan(
        layer=layer,
        reuse_factor=reuse_factor,
        strategy=strategy,
        weight=FixedType.parse(weight),
        result=FixedType.parse(result),
        data=data,
        dsp_type=dsp_type,
        order=_order(layer, hardware.io_type),
        kept_because=_kept_because(layer, strategy, hardware.io_type),
    )


def _order(layer: WeightLayer, io_type: str) -> IntArray:
    if layer.flattened is not None and io_type == "io_parallel":
        return dense_after_flatten_order(layer.n_out, layer.flattened)
    return layer.kind.order(layer.weight_shape)


def _kept_because(layer: WeightLayer, strategy: str, io_type: str) -> str | None:
    if strategy == "resource":
        return "strategy resource reads every weight from memory, zero or not"
    if strategy == "resource_unrolled" and layer.kind.convolves and io_type == "io_parallel":
        return (
            "hls4ml turns resource_unrolled into resource for convolutions and Linear layers on "
            "sequences in io_parallel (io_stream or strategy latency prunes)"
        )
    return None
