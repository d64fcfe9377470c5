"""What every kernel is worth: from its weights, or from what the loss would lose with it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.errors import SpecError
from rfprune.kernels import KernelMap
from rfprune.kernels.importance import sum_over_kernels

__all__ = ["SCORES", "check_score", "kernel_values"]

#: Of those of `rfprune.scores`.
SCORES = ("l1", "l2", "taylor", "random")


def check_score(score: str) -> None:
    """Refuse a score that is not defined for kernels.

    Raises:
        SpecError: names those that are.
    """
    if score not in SCORES:
        raise SpecError(
            f"prune.score: '{score}' is not known for kernels. Allowed: {', '.join(SCORES)}."
        )


def kernel_values(
    model: nn.Module,
    kernels: KernelMap,
    score: str,
    batches: Iterable[tuple[Tensor, Tensor]],
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Return (n_kernels,) >= 0 per prunable layer.

    Args:
        model: the network as it is now.
        kernels: of the network.
        score: see `SCORES`; of coupled convolutions the sum.
        batches: training rows, for ``taylor``.
        rng: for ``random``.
    """
    if score == "random":
        return {
            layer.name: torch.from_numpy(rng.random(layer.n_kernels)) for layer in kernels.prunable
        }
    if score == "taylor":
        return _taylor(model, kernels, batches)
    return kernels.rank(model, score)


def _taylor(
    model: nn.Module, kernels: KernelMap, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """First-order loss change without the kernel, ``|sum w dL/dw|`` (Molchanov et al. 2019)."""
    paths = [path for layer in kernels.prunable for path in layer.convs]
    weights = [model.get_parameter(f"{path}.weight") for path in paths]
    totals = {layer.name: torch.zeros(layer.n_kernels).double() for layer in kernels.prunable}
    training = model.training
    model.eval()
    for x, y in batches:
        loss = nn.functional.cross_entropy(model(x), y)
        gradients = torch.autograd.grad(loss, weights)
        products = {
            path: weight.detach() * gradient
            for path, weight, gradient in zip(paths, weights, gradients, strict=True)
        }
        sums = sum_over_kernels(kernels.channels, products)
        for layer in kernels.prunable:
            totals[layer.name] += sums[layer.group].abs()
    model.train(training)
    return totals
