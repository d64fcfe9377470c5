"""One network whose weights all masks share: what a choice of kernels is worth, without training.

The dense network knows nothing of networks from which kernels are gone, so that its accuracy under
masks says little of what fine-tuning would make of them. A copy of it that is trained for a few
epochs while masks come and go does (one-shot search: Guo et al., ECCV 2020, arXiv 1904.00420).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from rfprune.data import Rows
from rfprune.edge.kernels import Masks, parameter_masks
from rfprune.tasks import TaskSpec, make_task
from rfprune.training import Fit, fit

__all__ = ["share_weights"]

#: Networks that each update sees.
_TOGETHER = 4


def share_weights(
    model: nn.Module,
    draw: Callable[[np.random.Generator], Masks],
    x: Rows,
    y: Any,
    how: Fit,
) -> nn.Module:
    """Return a copy of a network that was trained under masks that come and go.

    The statistics of its norms are those of no network in particular: they have to be settled
    (`rfprune.training.settle_norms`) before a smaller one is measured.

    Args:
        model: the trained dense network; it is left alone.
        draw: returns the masks of a network of the kind that is to be measured.
        x: (N, ...) training rows.
        y: their targets.
        how: epochs, optimizer, seed; its `loss` is that of the drawn networks whatever it was.
    """
    shared = copy.deepcopy(model)
    task = how.task or make_task(TaskSpec())
    rng = np.random.default_rng(how.seed)

    def loss(network: nn.Module, x: Tensor, y: Any, weight: Any) -> Tensor:
        # Neither the whole network nor the smallest is among them, as the sandwich rule would have
        # it: what serves those two does not serve the ones that are compared.
        outputs = (_under(network, draw(rng), x) for _ in range(_TOGETHER))
        losses = [task.loss(task.judged(output, x), y, weight) for output in outputs]
        return torch.stack(losses).mean()

    fit(shared, x, y, replace(how, loss=loss))
    return shared.eval()


def _under(network: nn.Module, masks: Masks, x: Tensor) -> Tensor:
    """Return what a network gives under masks, with gradients for the weights that stay."""
    kept = {
        name: network.get_parameter(name) * mask.to(x.device)
        for name, mask in parameter_masks(masks).items()
    }
    output: Tensor = functional_call(network, kept, (x,))
    return output
