"""Which designs are like which: the families in which an estimate's error is known.

A family is how layers are connected, what they are, and whether weights are constants of the
circuit or stand in memories. Within one, a design can still lie beyond what reports are known of:
wider data, another clock, larger layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rfprune.fpga.estimators.design import MULTIPLYING, Design, LayerDesign

__all__ = ["FEATURES", "beyond", "family", "features"]

#: Feature -> what is said of a design that lies outside of what is known.
FEATURES: dict[str, str] = {
    "data_bits": "{value:g}-bit data",
    "clock_ns": "clock of {value:g} ns",
    "n_in": "{value:g} inputs",
    "layers": "{value:g} layers with weights",
}
#: Outside means by more than this factor; a little more than is known is still alike.
_SLACK = 1.25


def family(design: Design) -> str:
    """Return the family of a design, e.g. ``io_stream, convolution, weights in memories``."""
    layers = [layer for layer in design.layers if layer.type in MULTIPLYING]
    types = {layer.type for layer in layers}
    if any(layer.type == "product" for layer in design.layers):
        kind = "attention"
    elif types & {"gru", "lstm"}:
        kind = "recurrent"
    elif types - {"dense"}:
        kind = "convolution"
    else:
        kind = "dense" if types else "no weights"
    stored = sum(_size(x) for x in layers if _in_memory(design, x))
    if 2 * stored > sum(map(_size, layers)):
        return f"{design.io_type}, {kind}, weights in memories"
    known = all(x.weights is not None for x in layers if not _in_memory(design, x))
    constant = "constant weights" if known else "unknown constant weights"
    return f"{design.io_type}, {kind}, {constant}" if layers else f"{design.io_type}, {kind}"


def _in_memory(design: Design, layer: LayerDesign) -> bool:
    return design.strategy_of(layer) != "latency" and layer.reuse_factor > 1


def _size(layer: LayerDesign) -> int:
    return (layer.n_in or 1) * layer.n_out


def features(design: Design) -> dict[str, float]:
    """Return what of a design is compared with the reports of its family."""
    # A design of activations alone is described by all of its layers.
    layers = [layer for layer in design.layers if layer.type in MULTIPLYING] or design.layers
    return {
        "data_bits": max(design.width(layer.input_precision) for layer in layers),
        "clock_ns": design.clock_ns,
        "n_in": max(layer.n_in or layer.n_out for layer in layers),
        "layers": len(layers),
    }


def beyond(found: Mapping[str, float], known: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Return which features lie outside of the reports of their family, in words.

    Args:
        found: of a design, see `features`.
        known: feature -> (least, most) among the reports.
    """
    return tuple(
        FEATURES[name].format(value=found[name])
        for name, (least, most) in known.items()
        if not least / _SLACK <= found[name] <= most * _SLACK
    )
