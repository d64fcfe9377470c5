"""How much a kernel matters, from its weights alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rfprune.core.registry import nearest
from rfprune.edge.kernels.channels import Channels
from rfprune.edge.kernels.operations import ChannelKind
from rfprune.errors import UnknownNameError

__all__ = ["IMPORTANCE", "rank_kernels"]

#: Name -> function of the absolute weights (n_kernels, weights of a kernel).
IMPORTANCE: dict[str, Callable[[Tensor], Tensor]] = {
    # Sum of absolute weights (Li et al. 2017, arXiv 1608.08710).
    "l1": lambda absolute: absolute.sum(dim=1),
    # Euclidean norm (He et al. 2018, arXiv 1808.06866).
    "l2": lambda absolute: absolute.square().sum(dim=1).sqrt(),
    # Mean absolute weight: coupled kernels of different size count alike.
    "mean": lambda absolute: absolute.mean(dim=1),
}


def rank_kernels(model: nn.Module, channels: Channels, by: str) -> list[Tensor]:
    """Return per group (channels,) the importance of its kernels, in float64 on the CPU.

    Summed over the convolutions and dense layers of the group, grouped convolutions too; gates have
    no say.

    Raises:
        UnknownNameError: no such importance.
    """
    if by not in IMPORTANCE:
        raise UnknownNameError(
            f"unknown importance '{by}'.{nearest(by, IMPORTANCE)} Known: {', '.join(IMPORTANCE)}."
        )
    # In float64 on the CPU, so that the order of kernels is the same on every machine.
    totals = [torch.zeros(size, dtype=torch.float64) for size in channels.sizes]
    for op in channels.operations:
        if op.is_gate or op.kind not in (ChannelKind.MIX, ChannelKind.GROUPED):
            continue
        weight = model.get_submodule(op.path).weight
        assert isinstance(weight, Tensor)
        if op.transposed and op.kind is ChannelKind.GROUPED:
            # Its weights lie in the order of what it reads, which has a say itself.
            continue
        if op.transposed:
            weight = weight.transpose(0, 1)
        runs = [channels.sizes[block.group] * block.repeat for block in op.blocks]
        for block, rows in zip(op.blocks, torch.split(weight.detach().abs(), runs), strict=True):
            kernels = rows.reshape(channels.sizes[block.group], -1)
            totals[block.group] += IMPORTANCE[by](kernels).to("cpu", torch.float64)
    return totals
