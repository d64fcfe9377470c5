"""Scores: what the loss of each group would cost, from the weights or from gradients.

Every score returns (G,) >= 0 over all groups of all layers. Normalisation makes layers
comparable; it is a choice, not a law: on networks with wide and narrow layers it decides which of
them empties first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import FloatArray
from rfprune.core.named import Named, call
from rfprune.pruning.prunable import GroupedWeight, Prunable
from rfprune.tasks import Task

__all__ = ["NORMALIZERS", "SCORES", "score_groups"]

#: Rows and their targets; then their weights, if they have some.
Batches = Iterable[tuple[Any, ...]]


@dataclass(frozen=True)
class _Scored:
    """What a score looks at."""

    model: nn.Module
    groups: Prunable
    batches: Batches
    task: Task
    rng: np.random.Generator

    def zeros(self) -> list[Tensor]:
        """Return, by layer, (G_l,) zeros."""
        return [torch.zeros(int(n), dtype=torch.float64) for n in self.groups.counts]

    def summed(self, weight: GroupedWeight, values: Tensor) -> Tensor:
        """Return (G_l,) the sums of `values`, in the shape of a weight, over its groups."""
        # In float64 on the CPU, so that sums of many weights are those of any machine.
        flat = values.detach().reshape(-1).cpu().to(torch.float64)
        label = weight.label
        # Weights of features that another layer's groups hold, as behind a concatenation.
        if int(label.min()) < 0:
            inside = label >= 0
            flat, label = flat[inside], label[inside]
        count = int(self.groups.counts[weight.layer])
        return torch.zeros(count, dtype=torch.float64).index_add(0, label, flat)

    @property
    def leading(self) -> list[GroupedWeight]:
        """The tensors that gradients are asked for."""
        return [weight for weight in self.groups.weights if not weight.follows]


def _l1(given: _Scored) -> list[Tensor]:
    """Sum of absolute weights of the group."""
    totals = given.zeros()
    for weight in given.groups.weights:
        totals[weight.layer] += given.summed(weight, weight.of(given.model).abs())
    return totals


def _l2(given: _Scored) -> list[Tensor]:
    """Euclidean norm of the group's weights; of several tensors the sum of their norms."""
    totals = given.zeros()
    for weight in given.groups.weights:
        totals[weight.layer] += given.summed(weight, weight.of(given.model) ** 2).sqrt()
    return totals


def _taylor(given: _Scored) -> list[Tensor]:
    """First-order loss change without the group, ``|sum w dL/dw|`` (Molchanov et al. 2019)."""
    totals = given.zeros()
    leading = given.leading
    tensors = [weight.of(given.model) for weight in leading]
    with _evaluating(given.model), _differentiable(tensors):
        for x, y, *weights in given.batches:
            output = given.task.judged(call(given.model, x), x)
            # A layer that the loss does not reach is worth nothing to it.
            gradients = torch.autograd.grad(
                given.task.loss(output, y, *weights),
                tensors,
                allow_unused=True,
                materialize_grads=True,
            )
            # Summed over all tensors of a layer first: they go together, and their changes may
            # cancel.
            change = given.zeros()
            for weight, tensor, gradient in zip(leading, tensors, gradients, strict=True):
                change[weight.layer] += given.summed(weight, tensor.detach() * gradient)
            for total, part in zip(totals, change, strict=True):
                # The absolute value per minibatch: signs of different minibatches must not cancel.
                total += part.abs()
    return totals


@contextmanager
def _differentiable(tensors: list[Tensor]) -> Iterator[None]:
    """While open, frozen weights have gradients, too: they can be pruned, though not trained."""
    frozen = [tensor for tensor in tensors if not tensor.requires_grad]
    for tensor in frozen:
        tensor.requires_grad_(True)
    try:
        yield
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)


def _fisher(given: _Scored) -> list[Tensor]:
    """Second-order saliency ``1/2 w^2 F`` with the diagonal of the empirical Fisher matrix.

    F is the mean over samples of the squared gradient (LeCun et al. 1990, optimal brain damage;
    Theis et al. 2018).
    """
    from torch.func import functional_call, grad, vmap

    model, totals, leading = given.model, given.zeros(), given.leading
    state = {k: v.detach() for k, v in [*model.named_parameters(), *model.named_buffers()]}
    # The gradient of each row by itself: squares of a mean would be far too small.
    names = [weight.parameter for weight in leading]

    def loss(weights: dict[str, Tensor], x: Any, y: Any) -> Tensor:
        x, y = _as_a_batch(x), _as_a_batch(y)
        arguments, by_name = ((), x.parts) if isinstance(x, Named) else ((x,), {})
        output = functional_call(model, {**state, **weights}, arguments, by_name)
        return given.task.loss(given.task.judged(output, x), y)

    per_sample: Callable[..., dict[str, Tensor]] = vmap(
        grad(loss), in_dims=(None, 0, 0), chunk_size=128
    )
    samples = 0.0
    with _evaluating(model):
        for x, y, *weights in given.batches:
            share = _rows_of(weights[0]) if weights else None
            # Weighted rows count by their weights, as in the loss.
            samples += len(x) if share is None else float(share.sum())
            gradients = per_sample({name: state[name] for name in names}, _tree(x), _tree(y))
            for weight in leading:
                square = gradients[weight.parameter] ** 2
                square = square.sum(0) if share is None else square.movedim(0, -1) @ share
                saliency = 0.5 * weight.of(model).detach() ** 2 * square
                totals[weight.layer] += given.summed(weight, saliency)
    return [total / max(samples, 1e-12) for total in totals]


def _tree(rows: Any) -> Any:
    """Return rows in the form in which vmap takes them apart."""
    return rows.parts if isinstance(rows, Named) else rows


def _as_a_batch(row: Any) -> Any:
    """Return one row, as vmap hands it over, as a batch of one."""
    if isinstance(row, dict):
        return Named({name: part.unsqueeze(0) for name, part in row.items()})
    return row.unsqueeze(0)


def _rows_of(weight: Any) -> Tensor:
    """Return (N,) one weight per row; where heads have weights of their own, their mean."""
    if isinstance(weight, Named):
        return torch.stack([*weight.parts.values()]).mean(dim=0)
    assert isinstance(weight, Tensor)
    return weight


def _random(given: _Scored) -> list[Tensor]:
    """A random number: the reference that every other score must beat."""
    return [torch.from_numpy(given.rng.random(int(count))) for count in given.groups.counts]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


#: A new score is one function and one row here.
SCORES: dict[str, Callable[[_Scored], list[Tensor]]] = {
    "l1": _l1,
    "l2": _l2,
    "taylor": _taylor,
    "fisher": _fisher,
    "random": _random,
}

#: Scaling of one layer's scores (G_l,), given the number of weights in its full group.
NORMALIZERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "none": lambda value, size: value,
    "layer_max": lambda value, size: value / value.max().clamp_min(1e-30),
    "layer_mean": lambda value, size: value / value.mean().clamp_min(1e-30),
    "size": lambda value, size: value / size**0.5,
}


def score_groups(
    model: nn.Module,
    groups: Prunable,
    score: str,
    normalize: str,
    batches: Batches,
    rng: np.random.Generator,
    *,
    task: Task,
) -> FloatArray:
    """Return (G,) what each group is worth.

    Args:
        model: the network as it is now.
        groups: its groups.
        score: a name in `SCORES`.
        normalize: a name in `NORMALIZERS`.
        batches: training rows, for scores that look at gradients.
        rng: for ``random``.
        task: whose loss is differentiated.
    """
    found = SCORES[score](_Scored(model, groups, batches, task, rng))
    scale = NORMALIZERS[normalize]
    scaled = [scale(value, size) for value, size in zip(found, groups.sizes, strict=True)]
    return np.asarray(torch.cat(scaled).numpy(), dtype=np.float64) if scaled else np.zeros(0)
