"""Statistics of batch norms, taken anew after a network has changed."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rfprune.data import Rows
from rfprune.training.fit import batches

__all__ = ["norms_of", "settle_norms"]


def norms_of(network: nn.Module) -> dict[str, _BatchNorm]:
    """Return the batch norms of a network by path."""
    return {
        path: module for path, module in network.named_modules() if isinstance(module, _BatchNorm)
    }


def settle_norms(network: nn.Module, x: Rows, batch_size: int, seed: int = 0) -> None:
    """Set the statistics of every batch norm to their means over rows, in place.

    A pruned network sums fewer kernels, so means and variances of its feature maps are others. With
    the old ones its accuracy says little about what it will be after fine-tuning; with these it
    does (B. Li et al., *EagleEye*, ECCV 2020, arXiv 2007.02491).

    Args:
        network: in evaluation mode, on the device of `x`.
        x: (N, ...) training rows.
        batch_size: rows per pass.
        seed: of the order of the rows, which may be sorted by class.
    """
    norms = norms_of(network).values()
    if not norms:
        return
    with ExitStack() as restored, torch.no_grad():
        for norm in norms:
            restored.callback(norm.train, norm.training)
            restored.callback(setattr, norm, "momentum", norm.momentum)
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # torch: the plain mean over batches
        generator = torch.Generator().manual_seed(seed)
        for index in batches(len(x), batch_size, generator):
            network(x.index_select(0, index.to(x.device)))
