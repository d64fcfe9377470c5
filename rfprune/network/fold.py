"""Batch norm folded into the layer before it, so that hls4ml builds no multipliers for it.

Folding scales each output's weights by one number, so exact zeros stay exact zeros and masks
survive.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from rfprune.network.kinds import holds_weights

__all__ = ["BatchNorm", "fold_batch_norm", "fold_weights", "norm_affine"]

#: What can be folded.
BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d)
_VANISHING = (nn.Identity, nn.Dropout)


def fold_batch_norm(model: nn.Module) -> fx.GraphModule:
    """Return a copy of `model` in eval mode for conversion.

    Each batch norm that follows a Linear or convolution is folded into it; Identity and Dropout are
    gone. A batch norm elsewhere stays. Names of the layers stay. `model` itself is not changed.
    """
    # Deep-copied first: folding writes into the modules, and tracing shares them with the original.
    graph = fx.symbolic_trace(copy.deepcopy(model).cpu().eval())
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, _VANISHING):
            _remove(graph, node)
        elif isinstance(module, BatchNorm):
            source = node.args[0]
            assert isinstance(source, fx.Node)
            weighted = modules.get(str(source.target)) if source.op == "call_module" else None
            if weighted is not None and holds_weights(weighted) and len(source.users) == 1:
                _fold(weighted, module)
                _remove(graph, node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.eval()


def _remove(graph: fx.GraphModule, node: fx.Node) -> None:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    node.replace_all_uses_with(source)
    graph.graph.erase_node(node)


def _fold(weighted: nn.Module, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    weight, bias = weighted.weight, weighted.bias
    assert isinstance(weight, Tensor)
    assert bias is None or isinstance(bias, Tensor)
    with torch.no_grad():
        folded = fold_weights(weight, bias, norm)
    weighted.weight, weighted.bias = (nn.Parameter(part) for part in folded)


def fold_weights(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm1d | nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """Return weight and bias that compute the layer and its batch norm in one, differentiable.

    ``weight' = weight * scale`` and ``bias' = bias * scale + shift`` per output, with scale and
    shift of `norm_affine`.

    Args:
        weight: output axis first.
        bias: (n_out,), or None.
        norm: with running statistics.
    """
    scale, shift = norm_affine(norm)
    folded = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return folded, shift if bias is None else bias * scale + shift


def norm_affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return (C,) scale and shift of a batch norm in eval mode, differentiable.

    ``scale = gamma / sqrt(variance + eps)`` and ``shift = beta - mean * scale``, with the running
    statistics (Ioffe and Szegedy 2015).
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias
