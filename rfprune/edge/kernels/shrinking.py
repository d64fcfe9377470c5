"""The physically smaller network: pruned kernels are gone, and so is what only served them."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.edge.kernels.channels import ChannelOperation, full_index
from rfprune.edge.kernels.layers import Masks
from rfprune.edge.kernels.operations import ChannelKind

__all__ = ["kept_indices", "kept_part", "shrink"]

Indices = tuple[Tensor, ...]
_NORM = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), "o")
#: By kind, the tensors that get smaller, and whether their axes are outputs or inputs.
_AXES: dict[ChannelKind, dict[str, str]] = {
    ChannelKind.MIX: {"weight": "oi", "bias": "o"},
    ChannelKind.GROUPED: {"weight": "o", "bias": "o"},
    ChannelKind.NORM: _NORM,
}
_TRANSPOSED: dict[ChannelKind, dict[str, str]] = {
    ChannelKind.MIX: {"weight": "io", "bias": "o"},
    ChannelKind.GROUPED: {"weight": "i", "bias": "o"},
}


def shrink(model: nn.Module, masks: Masks) -> nn.Module:
    """Return a new, smaller network with the outputs that `model` has under the masks.

    Its modules have the paths that they have in `model`, its mode is that of `model`, and it shares
    no tensor with it.

    Args:
        model: the network of ``masks.kernels``, or one of the same structure.
        masks: which kernels stay.
    """
    graph = _graph(masks)
    parts = _parts(model, masks)
    removes_a_sum = len(graph.nodes) < len(masks.kernels.channels.graph.nodes)
    if removes_a_sum:
        # What an operation overwrites in place may now be read by another one.
        _forbid_in_place(graph, parts)
    smaller = fx.GraphModule(parts, graph, class_name=type(model).__name__)
    return smaller.train(model.training)


def _axes(op: ChannelOperation) -> dict[str, str]:
    return (_TRANSPOSED if op.transposed else _AXES)[op.kind]


def _graph(masks: Masks) -> fx.Graph:
    """Copy the graph without what is not needed; a sum with one operand left is that operand."""
    channels = masks.kernels.channels
    needed, live = masks.flow.needed[0], masks.flow.live[0]
    number = {op.node: i for i, op in enumerate(channels.operations)}
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in channels.graph.nodes:
        i = number.get(node.name)
        if i is None:
            # Sizes and other plain values; those of removed feature maps have no reader left.
            if all(read in copies for read in node.all_input_nodes):
                copies[node] = graph.node_copy(node, copies.__getitem__)
            continue
        if not needed[i] and node.op != "placeholder":
            continue
        operands = [n for n in node.all_input_nodes if n.name in number]
        alive = [n for n in operands if live[number[n.name]]]
        kind = channels.operations[i].kind
        # Adding nothing: the node is replaced by the operand that is left.
        if kind is ChannelKind.ADD and len(alive) == 1 < len(operands):
            copies[node] = copies[alive[0]]
        elif kind is ChannelKind.CONCAT and len(alive) < len(operands):
            dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            rest = [copies[n] for n in alive]
            copies[node] = graph.call_function(torch.cat, (rest, dim))
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        if kind is ChannelKind.SLICE:
            # Its bounds count channels that may be gone.
            copies[node].args = (copies[operands[0]], _moved(masks, channels.operations[i], node))
    # Sizes and other plain values that only removed operations asked for.
    for node in reversed(graph.nodes):
        if not node.users and node.op in ("call_function", "call_method"):
            graph.erase_node(node)
    return graph


def _moved(masks: Masks, op: ChannelOperation, node: fx.Node) -> tuple[Any, ...]:
    """Return the index of a slice among the channels that are left."""
    channels = masks.kernels.channels
    read = channels.operations[op.reads[0]]
    kept = channels.spread(read, masks.by_group)
    start, stop = (int(kept[:end].sum()) for end in (op.start, op.start + op.shape[0]))
    index = list(full_index(node, 1 + len(read.shape)))
    index[read.axis] = slice(start, stop)
    return tuple(index)


def kept_indices(masks: Masks) -> dict[str, Indices]:
    """Return what stays of each tensor that gets smaller: indices along its first axes.

    By `kept_part`, a tensor of the network becomes that of what `shrink` makes of it. Tensors that
    a module has not (a bias) are named as well.

    Args:
        masks: which kernels stay.
    """
    channels, by_group = masks.kernels.channels, masks.by_group
    found: dict[str, Indices] = {}
    for i, op in enumerate(channels.operations):
        if op.path and op.kind in _AXES and masks.flow.needed[0, i]:
            read = channels.operations[op.reads[0]]
            features = {"i": channels.spread(read, by_group), "o": channels.spread(op, by_group)}
            kept = {axis: mask.nonzero()[:, 0] for axis, mask in features.items()}
            for name, axes in _axes(op).items():
                found[f"{op.path}.{name}"] = tuple(kept[axis] for axis in axes)
    return found


def kept_part(tensor: Tensor, indices: Indices) -> Tensor:
    """Return the entries at indices along the first axes; they lie in memory as `tensor` does.

    Args:
        tensor: of a network; gradients reach it.
        indices: as `kept_indices` finds them.
    """
    part = tensor
    for axis, index in enumerate(indices):
        part = part.index_select(axis, index.to(tensor.device))
    # `index_select` forgets that weights lie channels-last: up to three times slower convolutions.
    if tensor.ndim == 4 and tensor.stride(1) < tensor.stride(2):
        part = part.contiguous(memory_format=torch.channels_last)
    return part


def _parts(model: nn.Module, masks: Masks) -> dict[str, Any]:
    """Return all modules and parameters that the smaller network needs, by path."""
    indices, widths = kept_indices(masks), masks.flow.widths[0]
    parts: dict[str, Any] = {}
    for i, op in enumerate(masks.kernels.channels.operations):
        # A module that is called twice is copied once.
        if op.path and masks.flow.needed[0, i] and op.path not in parts:
            part = copy.deepcopy(operator.attrgetter(op.path)(model))
            if op.kind in _AXES:
                for name in _axes(op):
                    _take(part, name, indices[f"{op.path}.{name}"])
                _set_sizes(part, op.kind, int(widths[i]), int(widths[op.reads[0]]))
            parts[op.path] = part
    return parts


def _set_sizes(module: Any, kind: ChannelKind, outputs: int, inputs: int) -> None:
    """Make a module's own numbers those of its tensors."""
    if kind is ChannelKind.NORM:
        is_prelu = isinstance(module, nn.PReLU)
        setattr(module, "num_parameters" if is_prelu else "num_features", outputs)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = outputs, inputs
    else:
        # What belongs to one group of the convolution goes or stays as a whole.
        # Before the sizes change: the number of groups is what shrinks, not their width.
        per_group = module.in_channels // module.groups
        module.groups = inputs // per_group if kind is ChannelKind.GROUPED else 1
        module.out_channels, module.in_channels = outputs, inputs


def _take(module: nn.Module, name: str, indices: Indices) -> None:
    """Replace a parameter or buffer, where there is one, by some of its rows (and columns)."""
    tensor = getattr(module, name, None)
    if tensor is None:
        return
    taken = kept_part(tensor.detach(), indices)
    if isinstance(tensor, nn.Parameter):
        # Frozen parameters stay frozen in the smaller network.
        taken = nn.Parameter(taken, requires_grad=tensor.requires_grad)
    setattr(module, name, taken)


def _forbid_in_place(graph: fx.Graph, parts: dict[str, Any]) -> None:
    plain = {operator.iadd: operator.add, operator.imul: operator.mul}
    for node in graph.nodes:
        if node.op == "call_function":
            node.target = plain.get(node.target, node.target)
        if "inplace" in node.kwargs:
            node.kwargs = {**node.kwargs, "inplace": False}
    for part in parts.values():
        if getattr(part, "inplace", False):
            part.inplace = False
