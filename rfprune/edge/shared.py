"""One network whose weights all masks share: what a choice of kernels is worth, without training.

The dense network knows nothing of networks from which kernels are gone, so that its accuracy under
masks says little of what fine-tuning would make of them. A copy of it that is trained for a few
epochs while masks come and go does (one-shot search: Guo et al., ECCV 2020, arXiv 1904.00420), by
the sandwich rule with inplace distillation (Yu, Huang, arXiv 1903.05134).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.data import Rows
from rfprune.edge.kernels import KernelMap, Masks, parameter_masks
from rfprune.edge.task import allowed_levels
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.training import Fit, fit

__all__ = ["drawn_fractions", "share_weights"]

#: Networks that each update sees beside the whole one and the smallest, as published.
_BETWEEN = 2
#: How far the levels of the layers of one drawn network lie around a common one.
_SPREAD = 0.25


def share_weights(
    model: nn.Module,
    kernels: KernelMap,
    importance: Mapping[str, Tensor],
    levels: Sequence[float],
    x: Rows,
    y: Any,
    how: Fit,
) -> nn.Module:
    """Return a copy of a network that was trained under masks that come and go.

    The statistics of its norms are those of no network in particular: they have to be settled
    (`rfprune.training.settle_norms`) before a smaller one is measured.

    Args:
        model: the trained dense network; it is left alone.
        kernels: of it.
        importance: of every kernel, by layer; the least important go first.
        levels: (A,) fractions of a layer that may go.
        x: (N, ...) training rows.
        y: their targets.
        how: epochs, optimizer, seed; its `loss` is the sandwich rule's whatever it was.
    """
    shared = copy.deepcopy(model)
    task = how.task or make_task(TaskSpec())
    allowed = allowed_levels(kernels, levels)
    loss = partial(
        _sandwich_loss,
        kernels=kernels,
        importance=importance,
        levels=np.asarray(levels, dtype=float),
        allowed=allowed,
        task=task,
    )
    fit(shared, x, y, replace(how, loss=loss))
    return shared.eval()


def drawn_fractions(levels: FloatArray, allowed: BoolArray, drawn: FloatArray) -> FloatArray:
    """Return (L,) the levels of a network, of any size with equal odds.

    Levels drawn one by one would nearly always come to networks of about half of the size.

    Args:
        levels: (A,) fractions.
        allowed: (L, A).
        drawn: (1 + L,) numbers from 0 to 1: of the network, and of each of its layers.
    """
    wanted = drawn[0] + _SPREAD * (2 * drawn[1:] - 1)
    distance = np.where(allowed, np.abs(levels[None] - wanted[:, None]), np.inf)
    return np.asarray(levels[distance.argmin(axis=1)])


def _sandwich_loss(
    network: nn.Module,
    x: Tensor,
    y: Any,
    weight: Any = None,
    *,
    kernels: KernelMap,
    importance: Mapping[str, Tensor],
    levels: FloatArray,
    allowed: BoolArray,
    task: Task,
) -> Tensor:
    """Return the summed loss of the whole network, of the smallest and of some in between.

    They are drawn from torch's global generator, which `fit` seeds.
    """
    output = task.judged(network(x), x)
    loss = task.loss(output, y, weight)
    # Detached: the whole network must not be drawn toward smaller ones.
    taught = task.taught(y, task.teaching(output.detach()), 1.0)
    drawn = torch.rand(_BETWEEN, 1 + len(allowed), dtype=torch.float64).numpy()
    networks = [drawn_fractions(levels, allowed, row) for row in drawn]
    networks.append(np.where(allowed, levels, 0.0).max(axis=1))
    for fractions in networks:
        masks = kernels.masks(importance, fractions)
        loss = loss + task.loss(task.judged(_under(network, masks, x), x), taught, weight)
    return loss


def _under(network: nn.Module, masks: Masks, x: Tensor) -> Tensor:
    """Return what a network gives under masks, with gradients for the weights that stay."""
    kept = {
        name: network.get_parameter(name) * mask.to(x.device)
        for name, mask in parameter_masks(masks).items()
    }
    output: Tensor = functional_call(network, kept, (x,))
    return output
