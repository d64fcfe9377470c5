"""One training loop for dense networks and masked fine-tuning."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.data import Rows
from rfprune.errors import TrialError
from rfprune.spec.trial import TrainSpec
from rfprune.training.augment import Augmentation
from rfprune.training.penalty import Penalty

__all__ = [
    "Fit",
    "batches",
    "cross_entropy",
    "evaluate",
    "fit",
    "probabilities",
    "seed_everything",
    "select_device",
]

#: Per forward pass when nothing is learned: large enough to be fast, small enough for memory.
_EVALUATION_ROWS = 4096
_EVALUATION_VALUES = 2**22


@dataclass(frozen=True)
class Fit:
    """How to train once.

    Attributes:
        epochs: passes over the training rows.
        learning_rate: at the start.
        train: batch size, optimizer, weight decay, learning-rate schedule, augmentation.
        masks: layer path to a weight mask in the weight's shape; kept exact after every update.
        penalty: regularizer, or None.
        seed: of the order of the rows and of dropout.
        teacher: (N, classes) probabilities of the dense network on the training rows, or None.
        distillation: weight of the teacher's probabilities against the labels, 0 to 1.
        loss: loss of a model on a minibatch and its targets; None = cross entropy of its logits.
    """

    epochs: int
    learning_rate: float
    train: TrainSpec
    seed: int
    masks: Mapping[str, Tensor] | None = None
    penalty: Penalty | None = None
    teacher: Tensor | None = None
    distillation: float = 0.0
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None


def select_device(name: str) -> torch.device:
    """Return the device that ``train.device`` names; ``auto`` takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy's legacy generator (user code may draw from it) and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def batches(rows: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of shuffled minibatches; the rows stay where they are, no worker processes.

    The last one is left out if it has a single row, on which batch norm cannot train.
    """
    for chosen in torch.split(torch.randperm(rows, generator=generator), batch_size):
        if len(chosen) > 1 or rows == 1:
            yield chosen


def targets(y: Tensor, n_classes: int, how: Fit) -> Tensor:
    """Return what the network is trained toward: labels (N,), or probabilities (N, classes).

    With a teacher the target is ``(1 - d) * label + d * teacher`` (Hinton et al. 2015, at
    temperature 1): where classes overlap, its probabilities are less noisy than the labels.
    """
    if how.teacher is None or how.distillation == 0:
        return y
    labels = nn.functional.one_hot(y, n_classes).to(how.teacher.dtype)
    return (1 - how.distillation) * labels + how.distillation * how.teacher


def evaluation_rows(x: Rows) -> int:
    """Return how many rows go through a network at once when nothing is learned."""
    return max(1, min(_EVALUATION_ROWS, _EVALUATION_VALUES // math.prod(x.shape[1:])))


def probabilities(model: nn.Module, x: Rows) -> Tensor:
    """Return (N, classes): the class probabilities of `model` in eval mode."""
    training = model.training
    model.eval()
    with torch.no_grad():
        parts = [model(rows).softmax(dim=1) for rows in x.split(evaluation_rows(x))]
    model.train(training)
    return torch.cat(parts)


def evaluate(model: nn.Module, x: Rows, y: Tensor) -> float:
    """Return the fraction of rows whose largest logit is their class; `model` keeps its mode.

    Args:
        model: on the device of the rows.
        x: (N, ...) rows.
        y: (N,) their classes.
    """
    training = model.training
    model.eval()
    correct = 0
    with torch.inference_mode():
        size = evaluation_rows(x)
        for rows, labels in zip(x.split(size), torch.split(y, size), strict=True):
            correct += int((model(rows).argmax(dim=1) == labels).sum())
    model.train(training)
    return correct / max(len(y), 1)


def fit(model: nn.Module, x: Rows, y: Tensor, how: Fit) -> float:
    """Train `model` in place and return the mean loss of the last epoch.

    Args:
        model: on the device of `x`.
        x: (N, ...) training rows.
        y: (N,) classes.
        how: epochs, optimizer, masks, penalty.

    Raises:
        TrialError: the loss is not finite.
    """
    seed_everything(how.seed)
    generator = torch.Generator().manual_seed(how.seed)
    optimizer = _optimizer(model, how)
    scheduler = _scheduler(optimizer, how, steps=-(-len(x) // how.train.batch_size) * how.epochs)
    masked = _masked_weights(model, how.masks)
    _apply_masks(masked)
    augment = Augmentation(how.train.augment, how.seed) if how.train.augment else None
    target = targets(y, 0 if how.teacher is None else how.teacher.shape[1], how)
    model.train()
    mean = math.nan
    for epoch in range(how.epochs):
        total, rows = torch.zeros((), device=x.device), 0
        for index in batches(len(x), how.train.batch_size, generator):
            chosen = index.to(x.device)
            rows_x, rows_y = x.index_select(0, chosen), target.index_select(0, chosen)
            rows_x = rows_x if augment is None else augment(rows_x)
            loss = _update(model, rows_x, rows_y, optimizer, how)
            scheduler.step()
            _apply_masks(masked)
            total += loss * len(chosen)
            rows += len(chosen)
        mean = float(total) / max(rows, 1)
        if not math.isfinite(mean):
            raise TrialError(
                f"the training loss is {mean} after epoch {epoch + 1} at learning rate "
                f"{how.learning_rate:g}; a lower train.learning_rate may help."
            )
    model.eval()
    return mean


def _update(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer,
    how: Fit,
) -> Tensor:
    """Do one optimizer step and return the detached data loss."""
    loss = cross_entropy(model(x), y) if how.loss is None else how.loss(model, x, y)
    penalty = how.penalty
    # What Optimizer.zero_grad does, without its hooks, which take 4 % of a small network's step.
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    if penalty is not None and not penalty.proximal:
        penalty.add_gradient()
    optimizer.step()
    if penalty is not None and penalty.proximal:
        penalty.shrink(optimizer.param_groups[0]["lr"])
    return loss.detach()


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross entropy of (N, classes) logits; `y` as `targets` makes it."""
    # With the classes in front torch vectorizes the softmax over rows; over a short last axis it
    # does not, and takes four times as long.
    return nn.functional.cross_entropy(logits.t().unsqueeze(0), y.t().unsqueeze(0))


def _optimizer(model: nn.Module, how: Fit) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay, rate = how.train.weight_decay, how.learning_rate
    if how.train.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay, fused=True)
    adam = torch.optim.Adam if how.train.optimizer == "adam" else torch.optim.AdamW
    return adam(parameters, lr=rate, weight_decay=decay, fused=True)


def _scheduler(
    optimizer: torch.optim.Optimizer, how: Fit, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if how.train.learning_rate_schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _masked_weights(
    model: nn.Module, masks: Mapping[str, Tensor] | None
) -> list[tuple[Tensor, Tensor]]:
    """Return (weight, mask) of every masked layer, with the mask on the weight's device."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for path, mask in (masks or {}).items():
        weight = model.get_submodule(path).weight
        assert isinstance(weight, Tensor)
        pairs.append((weight.data, mask.to(weight.device)))
    return pairs


def _apply_masks(masked: list[tuple[Tensor, Tensor]]) -> None:
    # Multiplying after each update keeps pruned weights at exactly 0.0, which is what hls4ml tests.
    for weight, mask in masked:
        weight.mul_(mask)
