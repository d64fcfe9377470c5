"""Scales and shifts folded into the layer before them, so that hls4ml builds no multipliers.

A batch norm is one, and so is a constant that is added or multiplied. Folding scales each output's
weights by one number, so exact zeros stay exact zeros and masks survive.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from rfprune.fpga.layers.lowering import lower
from rfprune.fpga.layers.operators import Affine
from rfprune.fpga.layers.trace import Network
from rfprune.fpga.layers.weight_kinds import WEIGHT_KINDS, weights_of

__all__ = ["Scaling", "fold_batch_norm", "fold_weights", "norm_affine"]

#: What can be folded.
Scaling = nn.BatchNorm1d | nn.BatchNorm2d | Affine
_VANISHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)


def fold_batch_norm(model: nn.Module, network: Network) -> fx.GraphModule:
    """Return a lowered copy of `model` in eval mode for conversion.

    Each batch norm and constant that follows a Linear or convolution is folded into it; Identity
    and Dropout are gone. What is elsewhere stays. Names of the layers stay. `model` itself is not
    changed.

    Args:
        model: the network.
        network: its trace.
    """
    # Deep-copied first: folding writes into the modules, and lowering shares them.
    graph = lower(copy.deepcopy(model).cpu().eval(), network.input_shape).eval()
    folded = network.folded_norms
    for node in list(graph.graph.nodes):
        if node.op != "call_module":
            continue
        module = graph.get_submodule(str(node.target))
        if isinstance(module, _VANISHING):
            _remove(graph, node)
        elif node.name in folded:
            assert isinstance(module, Scaling)
            (source,) = node.all_input_nodes
            _fold(graph.get_submodule(str(source.target)), module)
            _remove(graph, node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _fold(layer: nn.Module, scaling: Scaling) -> None:
    ((name, weight),) = weights_of(layer).items()
    bias = layer.bias
    assert bias is None or isinstance(bias, Tensor)
    with torch.no_grad():
        folded = fold_weights(weight, bias, [scaling], _feature_axis(layer))
    for parameter, part in zip((name, "bias"), folded, strict=True):
        assert part is not None
        setattr(layer, parameter, nn.Parameter(part))


def _feature_axis(layer: nn.Module) -> int:
    return next(kind for kind in WEIGHT_KINDS if isinstance(layer, kind.module)).feature_axis


def _remove(graph: fx.GraphModule, node: fx.Node) -> None:
    (source,) = node.all_input_nodes
    node.replace_all_uses_with(source)
    graph.graph.erase_node(node)


def fold_weights(
    weight: Tensor, bias: Tensor | None, scalings: Sequence[Scaling], feature_axis: int = 0
) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias that compute the layer and what scales it in one, differentiable.

    ``weight' = weight * scale`` and ``bias' = bias * scale + shift`` per output, with scale and
    shift of `norm_affine`.

    Args:
        weight: output axis first.
        bias: (n_out,), or None.
        scalings: in their order.
        feature_axis: axis of a sample along which the outputs lie, -1 for the last.
    """
    for scaling in scalings:
        scale, shift = norm_affine(scaling, feature_axis)
        # One number per output, so that a weight of exactly zero stays so.
        weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
        bias = shift if bias is None else bias * scale + shift
    return weight, bias


def norm_affine(scaling: Scaling, feature_axis: int = 0) -> tuple[Tensor, Tensor]:
    """Return (C,) scale and shift, differentiable.

    Of a batch norm in eval mode ``scale = gamma / sqrt(variance + eps)`` and
    ``shift = beta - mean * scale``, with the running statistics (Ioffe and Szegedy 2015).
    """
    if isinstance(scaling, Affine):
        found = scaling.by_channel(feature_axis % len(scaling.shape))
        assert found is not None
        return found
    assert scaling.running_mean is not None
    assert scaling.running_var is not None
    scale = torch.rsqrt(scaling.running_var + scaling.eps)
    scale = scale if scaling.weight is None else scale * scaling.weight
    shift = -scaling.running_mean * scale
    return scale, shift if scaling.bias is None else shift + scaling.bias
