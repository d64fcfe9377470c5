"""Scores: what the loss of each group would cost, from the weights or from gradients.

Every score returns (G,) >= 0 over all groups of all layers. Normalisation makes layers
comparable; it is a choice, not a law: on networks with wide and narrow layers it decides which of
them empties first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.arrays import FloatArray
from rfprune.groups import Groups, LayerGroups

__all__ = ["NORMALIZERS", "SCORES", "score_groups"]

Batches = Iterable[tuple[Tensor, Tensor]]
ScoreFunction = Callable[[nn.Module, Groups, Batches, np.random.Generator], list[Tensor]]


def _by_group(layer: LayerGroups, per_weight: Tensor) -> Tensor:
    flat = per_weight.detach().reshape(-1).cpu().to(torch.float64)
    return torch.zeros(layer.count, dtype=torch.float64).index_add(0, layer.label, flat)


def _l1(
    model: nn.Module, groups: Groups, batches: Batches, rng: np.random.Generator
) -> list[Tensor]:
    """Sum of absolute weights of the group."""
    return [_by_group(layer, layer.weight_of(model).abs()) for layer in groups.layers]


def _l2(
    model: nn.Module, groups: Groups, batches: Batches, rng: np.random.Generator
) -> list[Tensor]:
    """Euclidean norm of the group's weights."""
    return [_by_group(layer, layer.weight_of(model) ** 2).sqrt() for layer in groups.layers]


def _taylor(
    model: nn.Module, groups: Groups, batches: Batches, rng: np.random.Generator
) -> list[Tensor]:
    """First-order loss change without the group, ``|sum w dL/dw|`` (Molchanov et al. 2019)."""
    sums = [torch.zeros(layer.count, dtype=torch.float64) for layer in groups.layers]
    for gradients in _gradients(model, groups, batches):
        for total, layer, gradient in zip(sums, groups.layers, gradients, strict=True):
            total += _by_group(layer, layer.weight_of(model).detach() * gradient).abs()
    return sums


def _fisher(
    model: nn.Module, groups: Groups, batches: Batches, rng: np.random.Generator
) -> list[Tensor]:
    """Second-order saliency ``1/2 w^2 F`` with the diagonal of the empirical Fisher matrix.

    F is the mean over samples of the squared gradient (LeCun et al. 1990, optimal brain damage;
    Theis et al. 2018).
    """
    sums = [torch.zeros(layer.count, dtype=torch.float64) for layer in groups.layers]
    samples = 0
    for x, squares in _per_sample_squares(model, groups, batches):
        samples += len(x)
        for total, layer, square in zip(sums, groups.layers, squares, strict=True):
            total += _by_group(layer, 0.5 * layer.weight_of(model).detach() ** 2 * square)
    return [total / max(samples, 1) for total in sums]


def _random(
    model: nn.Module, groups: Groups, batches: Batches, rng: np.random.Generator
) -> list[Tensor]:
    """A random number: the reference that every other score must beat."""
    return [torch.from_numpy(rng.random(layer.count)) for layer in groups.layers]


def _gradients(model: nn.Module, groups: Groups, batches: Batches) -> Iterable[list[Tensor]]:
    """Yield, per batch, the gradient of the mean loss for each layer's weight."""
    model.eval()
    weights = [layer.weight_of(model) for layer in groups.layers]
    for x, y in batches:
        loss = nn.functional.cross_entropy(model(x), y)
        yield list(torch.autograd.grad(loss, weights))
    model.train()


def _per_sample_squares(
    model: nn.Module, groups: Groups, batches: Batches
) -> Iterable[tuple[Tensor, list[Tensor]]]:
    """Yield, per batch, the sum over its samples of each weight's squared gradient."""
    from torch.func import functional_call, grad, vmap

    model.eval()
    names = [f"{layer.plan.layer.path}.weight" for layer in groups.layers]
    state = {k: v.detach() for k, v in [*model.named_parameters(), *model.named_buffers()]}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, {**state, **weights}, (x.unsqueeze(0),))
        return nn.functional.cross_entropy(logits, y.unsqueeze(0))

    per_sample: Callable[..., dict[str, Tensor]] = vmap(
        grad(loss), in_dims=(None, 0, 0), chunk_size=128
    )
    for x, y in batches:
        gradients = per_sample({name: state[name] for name in names}, x, y)
        yield x, [(gradients[name] ** 2).sum(0) for name in names]
    model.train()


#: A new score is one function and one row here.
SCORES: dict[str, ScoreFunction] = {
    "l1": _l1,
    "l2": _l2,
    "taylor": _taylor,
    "fisher": _fisher,
    "random": _random,
}


def _unchanged(score: Tensor, size: int) -> Tensor:
    return score


def _layer_max(score: Tensor, size: int) -> Tensor:
    return score / score.max().clamp_min(1e-30)


def _layer_mean(score: Tensor, size: int) -> Tensor:
    return score / score.mean().clamp_min(1e-30)


def _size(score: Tensor, size: int) -> Tensor:
    root: float = size**0.5
    return score / root


#: Functions of a layer's scores (G_l,) and of the number of weights in one of its groups.
NORMALIZERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "none": _unchanged,
    "layer_max": _layer_max,
    "layer_mean": _layer_mean,
    "size": _size,
}


def score_groups(
    model: nn.Module,
    groups: Groups,
    score: str,
    normalize: str,
    batches: Batches,
    rng: np.random.Generator,
) -> FloatArray:
    """Return (G,) >= 0: the value of keeping each group.

    Args:
        model: the network as it is now.
        groups: its groups.
        score: a name in SCORES.
        normalize: a name in NORMALIZERS.
        batches: training rows for the scores that need gradients.
        rng: for the random score.
    """
    parts = SCORES[score](model, groups, batches, rng)
    scale = NORMALIZERS[normalize]
    scaled = [scale(part, layer.size) for layer, part in zip(groups.layers, parts, strict=True)]
    return torch.cat(scaled).numpy().astype(np.float64) if scaled else np.zeros(0)
