"""From a planned torch network to a design file's content, with its real weights counted.

Latency layers are counted as HLS builds them: a neuron that nobody reads, or that reads nothing, is
gone with all its weights and activations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rfprune.fpga.estimators.design import Design, LayerDesign
from rfprune.fpga.estimators.live_weights import Alive, live_weights
from rfprune.fpga.estimators.weights import summed, weight_statistics
from rfprune.fpga.layers import LayerPlan, Operation, Plan
from rfprune.spec.hardware import LayerHardware

__all__ = ["design_of"]

#: Operations that cost nothing in hardware or are gone after conversion.
_FREE = ("flatten", "gather", "dropout", "identity")


def design_of(plan: Plan, model: nn.Module, name: str = "design") -> Design:
    """Return the design of a network as hls4ml will build it.

    Args:
        plan: strategy, reuse factor and types per layer.
        model: the network with batch norm already folded, so that its weights are the ones built.
        name: free text.
    """
    hardware = plan.hardware
    alive = live_weights(plan, model)
    layers: list[LayerDesign] = []
    for traced in plan.network.operations:
        if traced.type in _FREE or traced.name in plan.network.folded_norms:
            continue
        placed = plan.layout.placed[traced.name]
        shapes = tuple(_features_first(read.shape) for read in placed.reads)
        operation = replace(traced, in_shapes=shapes, out_shape=_features_first(placed.shape))
        own = plan.of(traced.name)
        if own and own[0].layer.kind.gates:
            # The rules know both weights of a recurrent layer, and what is around them, as one.
            layers.append(_recurrent(plan, own, [alive.weights[one.name] for one in own]))
            continue
        # One matrix of multipliers for every weight that the operation holds.
        for one in own:
            typed = hardware.layers.get(one.name, LayerHardware()).precision is not None
            layers.append(_weighted(operation, one, model, alive, typed))
        if traced.type == "product":
            layers.append(_product(plan, traced))
            continue
        left = alive.outputs.get(operation.name)
        # Nothing is left of an activation without living neurons.
        if not own and left != 0:
            layers.append(_glue(operation, left))
    return Design(
        name=name,
        part=hardware.part,
        clock_ns=hardware.clock_ns,
        backend=hardware.backend,
        io_type=hardware.io_type,
        precision=hardware.precision,
        layers=tuple(layers),
    )


def _features_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a stored array, whose features run along its last axis, as (C, ...)."""
    return (shape[-1], *shape[:-1])


def _weighted(
    operation: Operation,
    plan: LayerPlan,
    model: nn.Module,
    alive: Alive,
    typed: bool,
) -> LayerDesign:
    layer = plan.layer
    module = model.get_submodule(layer.path)
    geometry = _geometry(operation)
    kernel = layer.weight_shape[2:]
    unrolled = plan.strategy == "resource_unrolled"
    return LayerDesign(
        name=layer.name,
        type=layer.kind.name,
        # A layer without neurons is a vector of constants; a design has no layer of size 0.
        n_in=max(alive.inputs.get(layer.name, layer.n_in), 1),
        n_out=max(alive.outputs.get(layer.name, layer.n_out), 1),
        reuse_factor=plan.reuse_factor,
        # hls4ml falls back to resource where it cannot unroll; see `LayerPlan.kept_because`.
        strategy="resource" if unrolled and not plan.droppable else plan.strategy,
        weight_precision=str(plan.weight),
        bias_precision=str(plan.result),
        input_precision=str(plan.data),
        output_precision=str(plan.result),
        # Where layers have types of their own, that of the network says nothing of their sums.
        accum_precision=str(plan.accumulator) if typed else None,
        kernel_height=kernel[0] if len(kernel) == 2 else 1,
        kernel_width=kernel[-1] if kernel else 1,
        stride=module.stride[0] if kernel else 1,  # type: ignore[index]
        in_channels=layer.weight_shape[1] if layer.kind.convolves else None,
        weights=weight_statistics(alive.weights[layer.name], plan.weight, plan.reuse_factor),
        **geometry,
    )


def _recurrent(plan: Plan, own: list[LayerPlan], weights_hls: list[NDArray[Any]]) -> LayerDesign:
    """Return a GRU or LSTM; its weights are counted together."""
    inputs, states = own
    operation = inputs.layer.operation
    counted = [
        weight_statistics(weight, one.weight, one.reuse_factor)
        for weight, one in zip(weights_hls, own, strict=True)
    ]
    return LayerDesign(
        name=operation,
        type=inputs.layer.kind.name,
        n_in=inputs.layer.n_in,
        n_out=states.layer.n_in,
        n_sequence=inputs.layer.positions,
        reuse_factor=inputs.reuse_factor,
        recurrent_reuse_factor=states.reuse_factor,
        strategy=inputs.strategy,
        weight_precision=str(inputs.weight),
        bias_precision=str(inputs.result),
        input_precision=str(inputs.data),
        output_precision=str(plan.types[operation]),
        accum_precision=str(plan.gates(operation)),
        weights=summed(counted),
    )


def _product(plan: Plan, operation: Operation) -> LayerDesign:
    """Return a product of two tensors, all of whose sums are made side by side."""
    first, second = (plan.types[name] or plan.exact_type(name) for name in operation.inputs)
    return LayerDesign(
        name=operation.name,
        type=operation.type,
        n_in=operation.n_terms,
        n_out=int(np.prod(operation.out_shape)),
        reuse_factor=plan.reuse_factor,
        input_precision=str(first),
        weight_precision=str(second),
        output_precision=str(plan.types[operation.name]),
        accum_precision=str(plan.products(operation.name)),
    )


def _glue(operation: Operation, left: int | None) -> LayerDesign:
    """Return a layer without weights: activation, pooling, merge.

    Args:
        operation: of the network.
        left: living neurons of the vector that it hands on; None = all.
    """
    elements = left or int(np.prod(operation.out_shape))
    channels = operation.out_shape[0]
    geometry = _geometry(operation)
    kind = operation.type
    if kind in ("maxpool", "avgpool"):
        kind = f"{kind}{len(operation.out_shape) - 1}d"
        # hls4ml takes pools whose windows do not overlap; what is left over at the edge is cut off.
        window = {
            "kernel_height": max(geometry["in_height"] // geometry["out_height"], 1),
            "kernel_width": max(geometry["in_width"] // geometry["out_width"], 1),
        }
        geometry |= {**window, "stride": window["kernel_width"]}
    windowed = len(operation.out_shape) > 1
    return LayerDesign(
        name=operation.name,
        type=kind,
        n_in=left or int(np.prod(operation.in_shape)),
        n_out=channels if windowed else elements,
        in_channels=operation.in_shape[0] if windowed else None,
        **geometry,
    )


def _geometry(operation: Operation) -> dict[str, Any]:
    """Return in/out height and width of images and sequences; nothing for vectors."""
    if len(operation.out_shape) < 2 or len(operation.in_shape) < 2:
        return {}
    (*_, in_width), (*_, out_width) = operation.in_shape, operation.out_shape
    tall = len(operation.in_shape) > 2
    return {
        "in_height": operation.in_shape[1] if tall else 1,
        "in_width": in_width,
        "out_height": operation.out_shape[1] if tall else 1,
        "out_width": out_width,
    }
