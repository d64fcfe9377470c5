"""Regularizers that drive whole groups, or single weights, toward zero.

Group lasso over groups: ``sum_g s_g ||w_g||_2`` (arXiv 2308.05170, resource-aware regularization;
Yuan and Lin 2006). In proximal form the exact shrinkage
``w_g <- w_g * max(0, 1 - lr * s_g / ||w_g||)`` follows each optimizer step, which reaches zeros; in
gradient form the term is part of the loss (its gradient ``s_g w_g / ||w_g||`` is added by hand,
which costs a fifth of letting autograd find it), which only approaches them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.pruning.prunable import GroupedWeight
from rfprune.training.penalty import Penalty, Term

__all__ = ["group_penalty", "weight_penalty"]

#: Below every square that training leaves in a living group; keeps 1 / norm finite at zero.
_TINY = 1e-12


def group_penalty(
    model: nn.Module,
    weights: Sequence[GroupedWeight],
    strength: Sequence[Tensor],
    proximal: bool,
) -> Penalty:
    """Return the group lasso; a group that several tensors share counts in each of them.

    Args:
        model: the network.
        weights: tensors all of whose weights belong to groups.
        strength: per tensor (G_l,): the factor s_g of each group.
        proximal: proximal or gradient form.
    """
    paired = [
        (w.of(model), Term(w.parameter, w.label, part, w.rows))
        for w, part in zip(weights, strength, strict=True)
        if _trained(model, w)
    ]
    return _group_penalty_on(paired, proximal)


def _group_penalty_on(paired: Sequence[tuple[Tensor, Term]], proximal: bool) -> Penalty:
    rows = [_Rows(tensor, term.strength) for tensor, term in paired if term.rows]
    spread = [(tensor, term) for tensor, term in paired if not term.rows]
    parts: list[_Lasso] = [*rows, *([_Spread(spread)] if spread else [])]

    def add_gradient() -> None:
        with torch.no_grad():
            for part in parts:
                part.add_gradient()

    def shrink(learning_rate: float) -> None:
        with torch.no_grad():
            for part in parts:
                part.shrink(learning_rate)

    terms = tuple(term for _, term in paired)
    return Penalty(add_gradient, shrink, proximal, terms, _group_penalty_on)


def _trained(model: nn.Module, weight: GroupedWeight) -> bool:
    """Return whether training changes a weight at all: what is frozen stays as it is."""
    return weight.of(model).requires_grad


class _Lasso(Protocol):
    """The term on some of the tensors."""

    def add_gradient(self) -> None:
        """Add the term's gradient to the tensors' ``grad``."""

    def shrink(self, learning_rate: float) -> None:
        """Apply the proximal step in place."""


class _Rows:
    """The lasso of one tensor whose groups follow each other in it: cheaper than by labels."""

    def __init__(self, tensor: Tensor, strength: Tensor) -> None:
        self._tensor, self._strength = tensor, strength.to(tensor.device).unsqueeze(1)

    def _rows(self) -> tuple[Tensor, Tensor]:
        """Return (G_l, size) the groups, and (G_l, 1) s_g / ||w_g||."""
        rows = self._tensor.reshape(len(self._strength), -1)
        norm = rows.square().sum(dim=1, keepdim=True).add_(_TINY)
        return rows, self._strength * norm.rsqrt_()

    def add_gradient(self) -> None:
        assert self._tensor.grad is not None
        rows, over_norm = self._rows()
        self._tensor.grad.add_((rows * over_norm).reshape(self._tensor.shape))

    def shrink(self, learning_rate: float) -> None:
        rows, over_norm = self._rows()
        # Clamped at 0: a group that the step would push past zero is zero.
        kept = (1 - learning_rate * over_norm).clamp_min_(0)
        self._tensor.copy_((rows * kept).reshape(self._tensor.shape))


class _Spread:
    """The lasso of tensors whose groups lie anywhere in them."""

    def __init__(self, paired: Sequence[tuple[Tensor, Term]]) -> None:
        self._tensors = [tensor for tensor, _ in paired]
        device = self._tensors[0].device
        # One label over all tensors, so that a step costs a few operations and not a few per
        # tensor.
        starts = np.cumsum([0, *(len(term.strength) for _, term in paired)])
        labels = [term.label + s for (_, term), s in zip(paired, starts, strict=False)]
        self._label = torch.cat(labels).to(device)
        self._strength = torch.cat([term.strength for _, term in paired]).to(device)

    def _over_norm(self, flat: Tensor) -> Tensor:
        """Return s_g / ||w_g|| for every weight."""
        squares = flat.new_zeros(len(self._strength)).index_add_(0, self._label, flat * flat)
        over = self._strength * squares.add_(_TINY).rsqrt_()
        return over.index_select(0, self._label)

    def add_gradient(self) -> None:
        flat = _flat(self._tensors)
        # `flat` is a copy, so that its product may be formed in place.
        _add_to_gradients(self._tensors, flat.mul_(self._over_norm(flat)))

    def shrink(self, learning_rate: float) -> None:
        kept = (1 - learning_rate * self._over_norm(_flat(self._tensors))).clamp_min_(0)
        for tensor, part in _parts(self._tensors, kept):
            tensor.mul_(part)


def weight_penalty(
    model: nn.Module,
    weights: Sequence[GroupedWeight],
    strength: Sequence[Tensor],
    proximal: bool,
) -> Penalty:
    """Return the L1 penalty ``sum_l s_l |w|_1`` on every weight: the unstructured reference.

    Arguments as of `group_penalty`; s_l is the mean of a tensor's ``strength`` (G_l,).
    """
    # One factor for all weights of a tensor.
    paired = [
        (w.of(model), Term(w.parameter, torch.zeros_like(w.label), part.mean().reshape(1), True))
        for w, part in zip(weights, strength, strict=True)
        if _trained(model, w)
    ]
    return _weight_penalty_on(paired, proximal)


def _weight_penalty_on(paired: Sequence[tuple[Tensor, Term]], proximal: bool) -> Penalty:
    tensors = [tensor for tensor, _ in paired]
    factors = [term.strength.to(tensor.device).unsqueeze(1) for tensor, term in paired]

    def times_factor(each: Tensor, factor: Tensor) -> Tensor:
        return (each.reshape(len(factor), -1) * factor).reshape(each.shape)

    def add_gradient() -> None:
        if not tensors:
            return
        with torch.no_grad():
            signs = [times_factor(t.sign(), f) for t, f in zip(tensors, factors, strict=True)]
            _add_to_gradients(tensors, _flat(signs))

    def shrink(learning_rate: float) -> None:
        with torch.no_grad():
            for tensor, factor in zip(tensors, factors, strict=True):
                # The same proximal step with every weight a group of its own: soft thresholding.
                size = tensor.abs().reshape(len(factor), -1) - learning_rate * factor
                tensor.copy_(tensor.sign() * size.clamp_min_(0).reshape(tensor.shape))

    terms = tuple(term for _, term in paired)
    return Penalty(add_gradient, shrink, proximal, terms, _weight_penalty_on)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _parts(tensors: Sequence[Tensor], flat: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each tensor with its part of `flat`, in its shape."""
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, part in zip(tensors, torch.split(flat, sizes), strict=True):
        yield tensor, part.view(tensor.shape)


def _add_to_gradients(tensors: Sequence[Tensor], flat: Tensor) -> None:
    for tensor, part in _parts(tensors, flat):
        assert tensor.grad is not None
        tensor.grad.add_(part)
