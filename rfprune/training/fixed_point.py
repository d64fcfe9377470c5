"""Training and evaluation in the numbers of the hardware.

A copy of the network's graph shares its parameters and computes as hls4ml will build it: weights
and biases on their grids, with batch norm folded into them; the input and the output of every
operation that hls4ml rounds (`rfprune.network.types`) on theirs, wrapped or saturated as the type
says. Gradients go straight through the rounding (Bengio et al. 2013), and stop where a saturating
type clips (Hubara et al. 2016), so that fine-tuning sees what the hardware will compute.

Sigmoid, tanh and ELU are tables in hls4ml; here they are exact before they are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

from rfprune.hardware.precision import FixedType
from rfprune.network.fold import BatchNorm, fold_weights, norm_affine
from rfprune.network.plan import LayerPlan, Plan

__all__ = ["fixed_point", "fixed_point_graph", "through"]


def through(x: Tensor, kind: FixedType) -> Tensor:
    """Return `x`, of any shape, on the grid of `kind`.

    Its gradient is that of the identity (Bengio et al. 2013), and 0 where a saturating type clips.
    """
    kept = x if kind.saturation == "WRAP" else x.clamp(kind.min, kind.max)
    return kept + (kind.quantize(x.detach()) - kept.detach())


@contextmanager
def fixed_point(model: nn.Module, plan: Plan, active: bool = True) -> Iterator[None]:
    """While open, `model` computes in its hls4ml types.

    Batch norm that is folded in hardware keeps its statistics meanwhile, also in training.

    Args:
        model: the network; its parameters stay float.
        plan: types by layer.
        active: False leaves the network alone, so that callers need no branch.
    """
    if not active:
        yield
        return
    model.forward = fixed_point_graph(model, plan).forward
    try:
        yield
    finally:
        del model.forward


def fixed_point_graph(model: nn.Module, plan: Plan) -> fx.GraphModule:
    """Return a graph that shares the parameters of `model` and computes in its hls4ml types.

    Nodes keep their names; what rounds an output is a node of its own behind it.
    """
    graph = fx.symbolic_trace(model)
    planned = {layer.name: layer for layer in plan.layers}
    default = FixedType.parse(plan.hardware.precision)
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        if node.op == "output":
            continue
        if node.name in plan.network.folded_norms:
            _pass_on(graph, node)
            continue
        kind = plan.types.get(node.name, default)
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if node.name in planned:
            assert module is not None
            norm = _folded_norm(node, modules, plan)
            _replace(graph, node, _WeightLayer(module, planned[node.name], norm))
        elif isinstance(module, BatchNorm):
            _replace(graph, node, _Norm(module, default))
        elif isinstance(module, nn.LeakyReLU):
            _replace(graph, node, nn.LeakyReLU(_constant(module.negative_slope)))
        if kind is not None:
            _round(graph, node, kind)
    graph.recompile()
    return graph


def _folded_norm(
    node: fx.Node, modules: dict[str, nn.Module], plan: Plan
) -> nn.BatchNorm1d | nn.BatchNorm2d | None:
    """Return the batch norm that is folded into a weight layer, if one is."""
    for reader in node.users:
        if reader.name in plan.network.folded_norms:
            norm = modules[str(reader.target)]
            assert isinstance(norm, BatchNorm)
            return norm
    return None


def _pass_on(graph: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])
    graph.graph.erase_node(node)


def _replace(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    node.target = f"fixed_{node.name}"
    graph.add_submodule(node.target, module)


def _round(graph: fx.GraphModule, node: fx.Node, kind: FixedType) -> None:
    name = f"rounded_{node.name}"
    graph.add_submodule(name, _Rounding(kind))
    with graph.graph.inserting_after(node):
        rounded = graph.graph.call_module(name, (node,))
    node.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)


def _constant(value: float) -> float:
    """Return a positive constant in 8 significant bits, as hls4ml's ``infer_precision.py`` does."""
    kind = FixedType(8, math.frexp(value)[1], signed=False)
    return float(kind.quantize(torch.tensor(value, dtype=torch.float64)))


class _Rounding(nn.Module):
    """The cast to an operation's output type."""

    def __init__(self, kind: FixedType) -> None:
        super().__init__()
        self._kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return through(x, self._kind)


class _WeightLayer(nn.Module):
    """A Linear or convolution, and the batch norm after it, with rounded weights and biases."""

    def __init__(
        self, module: nn.Module, layer: LayerPlan, norm: nn.BatchNorm1d | nn.BatchNorm2d | None
    ) -> None:
        super().__init__()
        self._module, self._norm, self._layer = module, norm, layer

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._module.weight, self._module.bias
        assert isinstance(weight, Tensor)
        assert bias is None or isinstance(bias, Tensor)
        if self._norm is not None:
            weight, bias = fold_weights(weight, bias, self._norm)
        weight = through(weight, self._layer.weight)
        bias = None if bias is None else through(bias, self._layer.result)
        if isinstance(self._module, nn.Linear):
            return nn.functional.linear(x, weight, bias)
        assert isinstance(self._module, nn.Conv1d | nn.Conv2d)
        convolved: Tensor = self._module._conv_forward(x, weight, bias)
        return convolved


class _Norm(nn.Module):
    """A batch norm that stays a layer: hls4ml rounds its scale and shift to the default type."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, kind: FixedType) -> None:
        super().__init__()
        self._norm, self._kind = norm, kind

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        scale, shift = (
            through(part, self._kind).reshape(shape) for part in norm_affine(self._norm)
        )
        return x * scale + shift
