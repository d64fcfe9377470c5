"""Regularizers on the kernels of convolutions: group lasso, or L1 on every weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rfprune.training import Penalty

__all__ = ["kernel_penalty"]

_TINY = 1e-12


def kernel_penalty(weights: Sequence[Tensor], strength: float, kind: str, form: str) -> Penalty:
    """Return ``strength * sum_k sqrt(size of k) * ||w_k||_2``, or ``strength * sum |w|``.

    Args:
        weights: of convolutions, one kernel per row.
        strength: factor of the term.
        kind: ``group`` (Yuan and Lin 2006) or ``weight`` (L1).
        form: ``gradient`` or ``proximal``; see `rfprune.training.penalty`.
    """

    def slope(weight: Tensor) -> Tensor:
        """Return the gradient of the term; what is 0 stays 0."""
        if kind == "weight":
            return strength * weight.sign()
        rows = weight.flatten(1)
        norm = rows.square().sum(dim=1).add(_TINY).sqrt()
        factor = strength * rows.shape[1] ** 0.5 / norm
        return _times(weight, factor)

    def add_gradient() -> None:
        with torch.no_grad():
            for weight in weights:
                assert weight.grad is not None
                weight.grad.add_(slope(weight))

    def shrink(learning_rate: float) -> None:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(_shrunk(weight, learning_rate * strength, kind))

    return Penalty(add_gradient, shrink, form == "proximal")


def _shrunk(weight: Tensor, amount: float, kind: str) -> Tensor:
    if kind == "weight":
        return weight.sign() * (weight.abs() - amount).clamp_min(0)
    rows = weight.flatten(1)
    norm = rows.square().sum(dim=1).add(_TINY).sqrt()
    kept = (1 - amount * rows.shape[1] ** 0.5 / norm).clamp_min(0)
    return _times(weight, kept)


def _times(weight: Tensor, factor: Tensor) -> Tensor:
    """Return `weight` with every kernel multiplied by its entry of `factor` (n_kernels,)."""
    scaled: Tensor = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    return scaled
