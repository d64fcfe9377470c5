"""Which numbers of a planned network have a type in common, and which of these can be chosen.

hls4ml gives an operation's output the type of the weight layer before it, and that layer's biases
the same one (`rfprune.fpga.layers.output_types`). All numbers whose type one key of a file decides
are a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from rfprune.errors import NetworkError
from rfprune.fpga.layers import Network, WeightLayer
from rfprune.fpga.layers.output_types import type_keys
from rfprune.spec.hardware import HardwareSpec, LayerHardware

__all__ = ["Site", "Typed", "typed_sites", "with_types"]

#: Operations that have no constants of their own, which would be in the default type.
_WITHOUT_CONSTANTS = (
    *("input", "relu", "flatten", "dropout", "identity", "gather", "concatenate", "add"),
    *("maxpool", "avgpool", "maximum", "minimum", "subtract", "sum", "sigmoid", "tanh"),
    *("product", "softmax"),
)
_USUAL = "hardware.precision"


@dataclass(frozen=True)
class Site:
    """A place.

    Attributes:
        layer: name of the layer whose key decides the type, None for that of the inputs.
        operations: names of inputs and operations whose numbers have it.
        readers: numbers of the weight layers that read it.
        activations: outputs of its ReLUs, for all positions, each of which costs its bits.
    """

    layer: str | None
    operations: tuple[str, ...]
    readers: tuple[int, ...]
    activations: int


@dataclass(frozen=True)
class Typed:
    """The types that can be chosen of a network.

    Attributes:
        sites: places with a width of their own.
        read: (L,) number of the place that each weight layer reads, -1 where the file decides.
    """

    sites: tuple[Site, ...]
    read: tuple[int, ...]


def typed_sites(network: Network, hardware: HardwareSpec, activations: bool) -> Typed:
    """Return the places of a network.

    Args:
        network: traced.
        hardware: the file's settings.
        activations: whether any width is chosen.

    Raises:
        NetworkError: a layer with several weights, or one without a place.
    """
    keys = type_keys(network, hardware)
    by_operation = {operation.name: operation for operation in network.operations}
    shared = _uses_default(network)
    wanted: dict[str, list[int]] = {}
    for index, layer in enumerate(network.layers):
        key = keys[layer.input]
        fixed = key.endswith("output_precision") or (key == _USUAL and shared)
        if activations and not fixed:
            wanted.setdefault(key, []).append(index)
    sites, read = [], [-1] * len(network.layers)
    for number, (key, readers) in enumerate(wanted.items()):
        operations = tuple(name for name, own in keys.items() if own == key)
        relus = [by_operation[name] for name in operations if name in by_operation]
        elements = sum(prod(each.out_shape) for each in relus if each.type == "relu")
        layer_name = None if key == _USUAL else _layer_of(key, network.layers)
        sites.append(Site(layer_name, operations, tuple(readers), elements))
        for index in readers:
            read[index] = number
    return Typed(tuple(sites), tuple(read))


def _uses_default(network: Network) -> bool:
    """Return whether something beside the inputs has the type of the inputs."""
    weighted = {layer.operation for layer in network.layers}
    return any(
        operation.name not in weighted
        and operation.name not in network.folded_norms
        and operation.type not in _WITHOUT_CONSTANTS
        for operation in network.operations
    )


def _layer_of(key: str, layers: Sequence[WeightLayer]) -> str:
    """Return the layer that a key names; layers' names may hold dots themselves."""
    name = key.removeprefix("hardware.layers.").removesuffix(".precision")
    if name not in [layer.name for layer in layers]:
        raise NetworkError(f"{key}: no layer decides this type. Allowed: another method.")
    return name


def with_types(
    hardware: HardwareSpec, typed: Typed, kinds: Sequence[str], weights: dict[str, str]
) -> HardwareSpec:
    """Return the settings of a file with chosen types in place of its own.

    Args:
        hardware: the file's.
        typed: the places.
        kinds: type of each place.
        weights: type of each layer's weights.
    """
    layers = {}
    chosen = {site.layer: kind for site, kind in zip(typed.sites, kinds, strict=True)}
    for name, weight in weights.items():
        # What the inputs' type was for everything stays so for what is not chosen.
        own = hardware.layer(name)
        layers[name] = LayerHardware(
            reuse_factor=own.reuse_factor,
            strategy=own.strategy,
            precision=chosen.get(name, own.precision),
            weight_precision=weight,
            output_precision=own.output_precision,
        )
    usual = chosen.get(None, hardware.precision)
    return hardware.model_copy(
        update={"precision": usual, "weight_precision": None, "layers": layers}
    )
