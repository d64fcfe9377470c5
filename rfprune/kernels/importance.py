"""How much a kernel matters, from its weights alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from rfprune.errors import UnknownNameError
from rfprune.kernels.channels import Channels
from rfprune.kernels.operations import Kind
from rfprune.registry import nearest

__all__ = ["IMPORTANCE", "rank_kernels", "sum_over_kernels"]

#: Name -> function of the absolute weights (n_kernels, weights of a kernel).
IMPORTANCE: dict[str, Callable[[Tensor], Tensor]] = {
    # Sum of absolute weights (Li et al. 2017, arXiv 1608.08710).
    "l1": lambda absolute: absolute.sum(dim=1),
    # Euclidean norm (He et al. 2018, arXiv 1808.06866).
    "l2": lambda absolute: absolute.square().sum(dim=1).sqrt(),
    # Mean absolute weight: coupled kernels of different size count alike.
    "mean": lambda absolute: absolute.mean(dim=1),
}


def sum_over_kernels(channels: Channels, values: Mapping[str, Tensor]) -> list[Tensor]:
    """Return per group (channels,) the sums of `values` over all weights of its kernels.

    Args:
        channels: of the network.
        values: by path of a convolution, in the shape of its weight; others count nothing.
    """
    totals = [torch.zeros(size, dtype=torch.float64) for size in channels.sizes]
    for op in channels.operations:
        if op.path not in values or op.is_gate:
            continue
        runs = [channels.sizes[block.group] * block.repeat for block in op.blocks]
        parts = torch.split(values[op.path].detach(), runs)
        for block, rows in zip(op.blocks, parts, strict=True):
            kernels = rows.reshape(channels.sizes[block.group], -1)
            totals[block.group] += kernels.to("cpu", torch.float64).sum(dim=1)
    return totals


def rank_kernels(model: nn.Module, channels: Channels, by: str) -> list[Tensor]:
    """Return per group (channels,) the importance of its kernels, in float64 on the CPU.

    Summed over the convolutions of the group, depthwise ones too; gates and dense layers have no
    say.

    Raises:
        UnknownNameError: no such importance.
    """
    if by not in IMPORTANCE:
        raise UnknownNameError(
            f"unknown importance '{by}'.{nearest(by, IMPORTANCE)} Known: {', '.join(IMPORTANCE)}."
        )
    totals = [torch.zeros(size, dtype=torch.float64) for size in channels.sizes]
    for op in channels.operations:
        if op.is_gate or op.kind not in (Kind.MIX, Kind.DEPTHWISE):
            continue
        weight = model.get_submodule(op.path).weight
        assert isinstance(weight, Tensor)
        if weight.ndim == 2:
            continue
        runs = [channels.sizes[block.group] * block.repeat for block in op.blocks]
        for block, rows in zip(op.blocks, torch.split(weight.detach().abs(), runs), strict=True):
            kernels = rows.reshape(channels.sizes[block.group], -1)
            totals[block.group] += IMPORTANCE[by](kernels).to("cpu", torch.float64)
    return totals
