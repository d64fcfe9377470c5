"""Regularizers that drive whole hardware groups, or single weights, toward zero.

Group lasso over hardware groups: ``sum_g s_g ||w_g||_2`` (arXiv 2308.05170, resource-aware
regularization; Yuan and Lin 2006). In proximal form the exact shrinkage
``w_g <- w_g * max(0, 1 - lr * s_g / ||w_g||)`` follows each optimizer step, which reaches zeros; in
gradient form the term is added to the loss, which only approaches them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rfprune.groups import Groups, LayerGroups

__all__ = ["Penalty", "group_penalty", "weight_penalty"]

_TINY = 1e-12


@dataclass(frozen=True)
class Penalty:
    """A regularizer on the weights of one model.

    Attributes:
        loss: returns the differentiable term, for the gradient form.
        shrink: applies the proximal step for a given learning rate, in place.
        proximal: which of the two forms training uses.
    """

    loss: Callable[[], Tensor]
    shrink: Callable[[float], None]
    proximal: bool


def group_penalty(
    model: nn.Module, groups: Groups, strength: Sequence[Tensor], proximal: bool
) -> Penalty:
    """Return the group lasso.

    Args:
        model: the network.
        groups: its groups.
        strength: per layer (G_l,) or a scalar tensor: the factor s_g of each group.
        proximal: proximal or gradient form.
    """
    entries = [
        (layer, layer.weight_of(model), layer.label.to(layer.weight_of(model).device), s)
        for layer, s in zip(groups.layers, strength, strict=True)
    ]

    def squares(layer: LayerGroups, weight: Tensor, label: Tensor) -> Tensor:
        flat = weight.reshape(-1)
        return flat.new_zeros(layer.count).index_add(0, label, flat * flat)

    def loss() -> Tensor:
        terms = [
            (s.to(weight.device) * (squares(layer, weight, label) + _TINY).sqrt()).sum()
            for layer, weight, label, s in entries
        ]
        return torch.stack(terms).sum()

    def shrink(learning_rate: float) -> None:
        with torch.no_grad():
            for layer, weight, label, s in entries:
                norm = (squares(layer, weight, label) + _TINY).sqrt()
                factor = (1 - learning_rate * s.to(weight.device) / norm).clamp_min(0)
                weight.mul_(factor[label].reshape(weight.shape))

    return Penalty(loss, shrink, proximal)


def weight_penalty(
    model: nn.Module, groups: Groups, strength: Sequence[Tensor], proximal: bool
) -> Penalty:
    """Return the L1 penalty on every weight: the unstructured reference. Arguments as above."""
    entries = [
        (layer.weight_of(model), s) for layer, s in zip(groups.layers, strength, strict=True)
    ]

    def loss() -> Tensor:
        return torch.stack([s.to(w.device).mean() * w.abs().sum() for w, s in entries]).sum()

    def shrink(learning_rate: float) -> None:
        with torch.no_grad():
            for weight, s in entries:
                step = learning_rate * float(s.mean())
                weight.copy_(weight.sign() * (weight.abs() - step).clamp_min(0))

    return Penalty(loss, shrink, proximal)
