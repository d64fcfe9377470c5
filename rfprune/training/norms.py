"""Statistics of batch norms, recomputed after a network has changed."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rfprune.core.named import call
from rfprune.data import Rows
from rfprune.training.order import batches

__all__ = ["norms_of", "settle_norms"]


def norms_of(network: nn.Module) -> dict[str, _BatchNorm]:
    """Return the batch norms of a network by path."""
    return {
        path: module for path, module in network.named_modules() if isinstance(module, _BatchNorm)
    }


def settle_norms(network: nn.Module, x: Rows, batch_size: int, seed: int = 0) -> None:
    """Set the statistics of every batch norm to their means over rows, in place.

    A pruned network sums fewer kernels, so the means and variances of its feature maps differ. With
    the old statistics its accuracy says little about its accuracy after fine-tuning; with the new
    ones it does (B. Li et al., *EagleEye*, ECCV 2020, arXiv 2007.02491).

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
            # The network stays in evaluation mode, where dropout is off; only its norms learn.
            restored.callback(norm.train, norm.training)
            restored.callback(setattr, norm, "momentum", norm.momentum)
            # What they learned belongs to the network before it was pruned.
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # torch: the plain mean over batches
        generator = torch.Generator().manual_seed(seed)
        for index in batches(x, batch_size, generator):
            call(network, x.index_select(0, index.to(x.device)))
