"""Batch norm folded into the layer before it, so that hls4ml builds no multipliers for it.

Folding scales each output's weights by one number, so exact zeros stay exact zeros and masks
survive.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from rfprune.network.kinds import kind_of

__all__ = ["fold_batch_norm"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
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
        elif isinstance(module, _BATCH_NORMS):
            source = node.args[0]
            assert isinstance(source, fx.Node)
            weighted = modules.get(str(source.target)) if source.op == "call_module" else None
            if weighted is not None and kind_of(weighted) and len(source.users) == 1:
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
    fuse = fuse_linear_bn_weights if isinstance(weighted, nn.Linear) else fuse_conv_bn_weights
    weight, bias = weighted.weight, weighted.bias
    assert isinstance(weight, Tensor)
    assert bias is None or isinstance(bias, Tensor)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        gain = torch.ones_like(norm.running_mean) if norm.weight is None else norm.weight
        shift = torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias
        folded = fuse(weight, bias, norm.running_mean, norm.running_var, norm.eps, gain, shift)
    weighted.weight, weighted.bias = folded
