"""The scaling of the inputs put into the first layers, where that changes no structure.

``w . (x - offset) / scale + b`` is ``(w / scale) . x + (b - w . offset / scale)``: weights that are
zero stay zero, no layer is added and none gets a bias that it lacks: where a batch norm follows,
its mean takes the offset instead. The numbers are the same up to rounding; what they become in
fixed point is measured by the export.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from rfprune.data import Scaling
from rfprune.errors import NetworkError

__all__ = ["fold_scaling"]

_PASSED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)


@dataclass(frozen=True)
class _Change:
    """What a layer takes over.

    Attributes:
        layer: the first one on an input.
        offset: (C,) of each feature that it sums over.
        scale: (C,) of each of them.
        norm: the batch norm behind a layer without a bias, which takes the offset; else None.
    """

    layer: nn.Module
    offset: Tensor
    scale: Tensor
    norm: _BatchNorm | None = None


def fold_scaling(model: nn.Module, scaling: Scaling) -> list[str]:
    """Change a network in place such that it takes raw rows; return the layers that were changed.

    Args:
        model: takes scaled rows.
        scaling: of them.

    Raises:
        NetworkError: it cannot be done exactly; says at which layer and why. The network is as it
            was.
    """
    try:
        graph = fx.symbolic_trace(model).graph
    except Exception as error:  # the user's own code may do anything
        reason = " ".join(str(error).split())
        raise _refused(f"the network cannot be traced ({reason})") from error
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    changes: dict[str, _Change] = {}
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    for node in inputs:
        name = "" if "" in scaling.offset and node is inputs[0] else str(node.target)
        if name not in scaling.offset:
            continue
        for user, is_flat in _first_layers(model, node, scaling.offset[name].dim() == 1):
            path = str(user.target)
            norm = _norm_behind(model, user)
            for used in (path, *([] if norm is None else [norm])):
                if calls.count(used) > 1:
                    raise _refused(f"layer '{used}' is used {calls.count(used)} times")
            own = scaling.offset[name].flatten(), scaling.scale[name].flatten()
            changes[path] = _for_layer(model, path, norm, is_flat, *own)
    # All at the end: a network that is refused halfway stays as it was.
    for change in changes.values():
        _carry_out(change)
    return list(changes)


def _refused(reason: str) -> NetworkError:
    return NetworkError(
        f"--fold-scaling: {reason}, so the scaling cannot be put into the first layer exactly; "
        "export without the option, and scale the inputs as scaling.json says."
    )


def _first_layers(model: nn.Module, node: fx.Node, is_flat: bool) -> Iterator[tuple[fx.Node, bool]]:
    """Yield the layers that get an input, and whether they get its rows as vectors."""
    for user in node.users:
        if user.op != "call_module":
            what = "the output" if user.op == "output" else f"'{user.name}'"
            raise _refused(f"the first operation on the input is {what}, which is not a layer")
        path = str(user.target)
        module = model.get_submodule(path)
        if isinstance(module, _PASSED):
            yield from _first_layers(model, user, is_flat)
        elif isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            yield from _first_layers(model, user, True)
        else:
            yield user, is_flat


def _norm_behind(model: nn.Module, node: fx.Node) -> str | None:
    """Return the path of the batch norm that alone reads a layer, where the layer has no bias."""
    if getattr(model.get_submodule(str(node.target)), "bias", None) is not None:
        return None
    while len(node.users) == 1:
        (node,) = node.users
        module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            return str(node.target)
        if not isinstance(module, nn.Identity | nn.Dropout):
            return None
    return None


def _for_layer(
    model: nn.Module, path: str, norm: str | None, is_flat: bool, offset: Tensor, scale: Tensor
) -> _Change:
    """Return what changes of a layer, if it can take offset and scale of each feature."""
    layer = model.get_submodule(path)
    shifts, named = bool(offset.any()), f"layer '{path}' ({type(layer).__name__})"
    if isinstance(layer, nn.Linear | _ConvNd):
        if shifts and layer.bias is None and norm is None:
            raise _refused(f"{named} has no bias to take the offset, and no batch norm behind it")
        if isinstance(layer, _ConvNd) and shifts and _pads(layer):
            raise _refused(f"{named} pads with zeros, which the offset would move")
        if isinstance(layer, nn.Linear) and not is_flat:
            raise _refused(f"{named} sums over the last axis of a row, and is scaled by the first")
    elif isinstance(layer, _BatchNorm):
        if not layer.affine or layer.running_mean is None:
            raise _refused(f"{named} has no weights to take the scale")
    else:
        raise _refused(f"the first {named} has no weights to take the scale")
    # A row of channels that became a vector holds each channel's values one after the other.
    repeat = _features_of(layer) // len(scale) if is_flat else 1
    behind = None if norm is None else model.get_submodule(norm)
    assert behind is None or isinstance(behind, _BatchNorm)
    wide = offset.repeat_interleave(repeat), scale.repeat_interleave(repeat)
    return _Change(layer, *wide, norm=behind)


def _pads(layer: _ConvNd) -> bool:
    padding = layer.padding
    return padding == "same" or (not isinstance(padding, str) and any(padding))


def _features_of(layer: nn.Module) -> int:
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.in_channels if isinstance(layer, _ConvNd) else int(layer.num_features)  # type: ignore[arg-type]


@torch.no_grad()
def _carry_out(change: _Change) -> None:
    layer, offset, scale = change.layer, change.offset, change.scale
    if isinstance(layer, _BatchNorm):
        assert layer.running_mean is not None
        layer.weight.div_(scale)
        layer.running_mean.mul_(scale).add_(offset)
        return
    assert isinstance(layer, nn.Linear | _ConvNd)
    # In double precision: offsets may be far larger than what is left of them.
    weight = layer.weight.double()
    per_input = _per_input(layer, scale.double()), _per_input(layer, offset.double())
    folded = weight / per_input[0]
    moved = (folded * per_input[1]).flatten(1).sum(1)
    if layer.bias is not None:
        layer.bias.copy_((layer.bias.double() - moved).float())
    elif change.norm is not None:
        mean = change.norm.running_mean
        assert mean is not None
        # What the layer puts out is larger by this, which the batch norm takes off again.
        mean.copy_((mean.double() + moved).float())
    layer.weight.copy_(folded.float())


def _per_input(layer: nn.Linear | _ConvNd, values: Tensor) -> Tensor:
    """Return values by input feature in a shape that broadcasts to the layer's weight."""
    if isinstance(layer, nn.Linear):
        return values.reshape(1, -1)
    by_group = values.reshape(layer.groups, -1)
    rows = by_group.repeat_interleave(layer.out_channels // layer.groups, dim=0)
    return rows.reshape(*rows.shape, *[1] * (layer.weight.ndim - 2))
