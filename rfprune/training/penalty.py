"""Regularizers that drive whole hardware groups, or single weights, toward zero.

Group lasso over hardware groups: ``sum_g s_g ||w_g||_2`` (arXiv 2308.05170, resource-aware
regularization; Yuan and Lin 2006). In proximal form the exact shrinkage
``w_g <- w_g * max(0, 1 - lr * s_g / ||w_g||)`` follows each optimizer step, which reaches zeros; in
gradient form the term is part of the loss (its gradient ``s_g w_g / ||w_g||`` is added by hand,
which costs a fifth of letting autograd find it), which only approaches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.groups import Groups

__all__ = ["Penalty", "group_penalty", "weight_penalty"]

_TINY = 1e-12


@dataclass(frozen=True)
class Penalty:
    """A regularizer on the weights of one model.

    Attributes:
        add_gradient: adds the term's gradient to the weights' ``grad``, for the gradient form.
        shrink: applies the proximal step for a given learning rate, in place.
        proximal: which of the two forms training uses.
    """

    add_gradient: Callable[[], None]
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
    weights = [layer.weight_of(model) for layer in groups.layers]
    device = weights[0].device
    # One label over all layers, so that a step costs a few operations and not a few per layer.
    starts = np.cumsum([0, *(layer.count for layer in groups.layers)])
    label = torch.cat([layer.label + s for layer, s in zip(groups.layers, starts, strict=False)])
    label = label.to(device)
    factors = [s.expand(layer.count) for layer, s in zip(groups.layers, strength, strict=True)]
    factor = torch.cat(factors).to(device)

    def over_norm(flat: Tensor) -> Tensor:
        squares = flat.new_zeros(len(factor)).index_add_(0, label, flat * flat)
        return factor * squares.add_(_TINY).rsqrt_()

    def add_gradient() -> None:
        with torch.no_grad():
            flat = _flat(weights)
            _add_to_gradients(weights, flat.mul_(over_norm(flat).index_select(0, label)))

    def shrink(learning_rate: float) -> None:
        with torch.no_grad():
            kept = (1 - learning_rate * over_norm(_flat(weights))).clamp_min_(0)
            for weight, part in _parts(weights, kept.index_select(0, label)):
                weight.mul_(part)

    return Penalty(add_gradient, shrink, proximal)


def weight_penalty(
    model: nn.Module, groups: Groups, strength: Sequence[Tensor], proximal: bool
) -> Penalty:
    """Return the L1 penalty ``sum_l s_l |w|_1`` on every weight: the unstructured reference.

    Arguments as of `group_penalty`; s_l is the mean of a layer's ``strength`` (G_l,).
    """
    weights = [layer.weight_of(model) for layer in groups.layers]
    factors = [float(s.mean()) for s in strength]

    def add_gradient() -> None:
        with torch.no_grad():
            signs = [factor * w.sign() for factor, w in zip(factors, weights, strict=True)]
            _add_to_gradients(weights, _flat(signs))

    def shrink(learning_rate: float) -> None:
        with torch.no_grad():
            for weight, factor in zip(weights, factors, strict=True):
                size = (weight.abs() - learning_rate * factor).clamp_min_(0)
                weight.copy_(weight.sign() * size)

    return Penalty(add_gradient, shrink, proximal)


def _flat(weights: Sequence[Tensor]) -> Tensor:
    return torch.cat([weight.reshape(-1) for weight in weights])


def _parts(weights: Sequence[Tensor], flat: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each weight with its part of `flat`, in its shape."""
    sizes = [weight.numel() for weight in weights]
    for weight, part in zip(weights, torch.split(flat, sizes), strict=True):
        yield weight, part.view(weight.shape)


def _add_to_gradients(weights: Sequence[Tensor], flat: Tensor) -> None:
    for weight, part in _parts(weights, flat):
        assert weight.grad is not None
        weight.grad.add_(part)
