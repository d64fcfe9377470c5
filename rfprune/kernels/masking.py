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

from rfprune.kernels.layers import Masks
from rfprune.kernels.operations import Kind

__all__ = ["masked", "parameter_masks"]


def parameter_masks(masks: Masks) -> dict[str, Tensor]:
    """Return, by parameter, what it is multiplied with: (1, inputs, 1, ...) or one zero."""
    channels = masks.kernels.channels
    by_group = masks.by_group
    found: dict[str, Tensor] = {}
    for i, op in enumerate(channels.operations):
        if op.kind is not Kind.MIX or not masks.flow.live[0, i]:
            continue
        read = channels.operations[op.reads[0]]
        mask = channels.spread(read, by_group)
        if not mask.all():
            found[f"{op.path}.weight"] = mask.reshape(1, -1, *[1] * (len(op.shape) - 1))
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
    statistics = _statistics_of_the_dead(model, masks)
    before = {tensor: tensor.detach().clone() for tensor in (*changed, *statistics)}
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
                parameter.copy_(torch.where(mask, parameter, before[parameter]))
            for buffer in statistics:
                buffer.copy_(before[buffer])


def _statistics_of_the_dead(model: nn.Module, masks: Masks) -> list[Tensor]:
    """Return the buffers of modules that only see what a removed branch computes."""
    operations = masks.kernels.channels.operations
    paths = {
        op.path
        for op, live in zip(operations, masks.flow.live[0], strict=True)
        if op.kind is Kind.NORM and not live
    }
    return [buffer for path in sorted(paths) for buffer in model.get_submodule(path).buffers()]
