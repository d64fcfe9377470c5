"""A network under masks: it computes what the smaller network would, with all its weights in place.

Nothing reads a pruned channel: the weights with which the following layers read it are zero. So
batch norm, bias and activation of a pruned channel need no care. A branch of which nothing is left
adds nothing: the scale and shift at its end are zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rfprune.edge.kernels.layers import Masks
from rfprune.edge.kernels.operations import ChannelKind

__all__ = ["masked", "parameter_masks"]


def parameter_masks(masks: Masks) -> dict[str, Tensor]:
    """Return, by parameter, what it is multiplied with: (1, inputs, 1, ...) or one zero.

    Of transposed convolutions (inputs, 1, 1, ...).
    """
    channels = masks.kernels.channels
    by_group = masks.by_group
    found: dict[str, Tensor] = {}
    for i, op in enumerate(channels.operations):
        if op.kind is not ChannelKind.MIX or not masks.flow.live[0, i]:
            continue
        read = channels.operations[op.reads[0]]
        mask = channels.spread(read, by_group)
        if not mask.all():
            axes = (-1, 1) if op.transposed else (1, -1)
            found[f"{op.path}.weight"] = mask.reshape(*axes, *[1] * op.spatial)
    found.update({name: torch.zeros((), dtype=torch.bool) for name in sorted(masks.silencers)})
    return found


@contextmanager
def masked(model: nn.Module, masks: Masks) -> Iterator[nn.Module]:
    """While open, `model` computes what it would without the pruned kernels.

    It may be trained meanwhile, by any loop with a new optimizer: masked weights get no gradient
    and stay zero. Afterwards they have their old values again, and the others those of the
    training. Statistics of branches that are switched off are put back too.

    Args:
        model: the network of ``masks.kernels``, or one of the same structure.
        masks: which kernels stay.
    """
    changed = {
        model.get_parameter(name): mask.to(model.get_parameter(name).device)
        for name, mask in parameter_masks(masks).items()
    }
    # The norms of a branch that is switched off would see only zeros in training.
    dead = {
        op.path
        for op, live in zip(masks.kernels.channels.operations, masks.flow.live[0], strict=True)
        if op.kind is ChannelKind.NORM and not live
    }
    statistics = [buffer for path in sorted(dead) for buffer in model.get_submodule(path).buffers()]
    # Kept as they were: pruned kernels may come back in a later step.
    before = {tensor: tensor.detach().clone() for tensor in (*changed, *statistics)}
    # Gradients of masked weights are masked, too, so that no optimizer moves them.
    hooks = [
        parameter.register_hook(mask.to(parameter.dtype).mul)  # type: ignore[no-untyped-call]
        for parameter, mask in changed.items()
        if parameter.requires_grad
    ]
    try:
        with torch.no_grad():
            for parameter, mask in changed.items():
                parameter.mul_(mask)
        yield model
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for parameter, mask in changed.items():
                # What was trained meanwhile stays; what was masked gets its values back.
                parameter.copy_(torch.where(mask, parameter, before[parameter]))
            for buffer in statistics:
                buffer.copy_(before[buffer])
