"""One training loop for dense networks and masked fine-tuning."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.named import call, shape_of
from rfprune.data import Rows
from rfprune.errors import TrialError
from rfprune.spec.training import TrainSpec, WatchSpec
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.training.augment import Augmentation
from rfprune.training.order import batches, stored_parts
from rfprune.training.penalty import Penalty, Watcher

__all__ = [
    "Fit",
    "Validation",
    "aims",
    "evaluate",
    "fit",
    "measure",
    "optimizer_of",
    "outputs_of",
    "scheduler_of",
    "seed_everything",
    "select_device",
    "teacher_of",
]

#: Rows per forward pass in evaluation: large enough to be fast, small enough to fit into memory.
_EVALUATION_ROWS = 4096
#: Values of the input. What layers of a small network put out stays in a processor's caches, and
#: needs no new pages of memory, which take three times as long as computing it.
_EVALUATION_VALUES = {"cpu": 2**18}
_EVALUATION_VALUES_ELSEWHERE = 2**22


@dataclass(frozen=True)
class Validation:
    """Rows that a training looks at after every epoch.

    Attributes:
        x: (N, ...) rows.
        y: their targets.
        weight: (N,) of the rows, or None.
    """

    x: Rows
    y: Any
    weight: Tensor | None = None


@dataclass(frozen=True)
class Fit:
    """How to train once.

    Attributes:
        epochs: passes over the training rows.
        learning_rate: at the start.
        train: batch size, optimizer, weight decay, learning-rate schedule, augmentation, clipping.
        masks: parameter to a mask in its shape; kept exact after every update.
        penalty: regularizer, or None.
        seed: of the order of the rows and of dropout.
        teacher: (N, outputs) answers of the dense network on the training rows; or that network,
            to be asked as the rows come, if there are more than fit into memory; or None.
        distillation: weight of the teacher's answers against the targets, 0 to 1.
        task: says what the loss is; classification if not given.
        loss: loss of a model on a minibatch, its targets and their weights or None, in place of the
            task's.
        weight: (N,) of the training rows, or None.
        watcher: called around every update, or None.
        validation: rows that ``early_stopping`` and ``plateau`` look at; None = both are off.
    """

    epochs: int
    learning_rate: float
    train: TrainSpec
    seed: int
    masks: Mapping[str, Tensor] | None = None
    penalty: Penalty | None = None
    teacher: Any = None
    distillation: float = 0.0
    task: Task | None = None
    loss: Callable[[nn.Module, Any, Any, Any], Tensor] | None = None
    weight: Tensor | None = None
    validation: Validation | None = None
    watcher: Watcher | None = None


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


def evaluation_rows(x: Rows) -> int:
    """Return how many rows go through a network at once in evaluation."""
    shape = shape_of(x)
    values = sum(map(math.prod, shape.values())) if isinstance(shape, dict) else math.prod(shape)
    most = _EVALUATION_VALUES.get(x.device.type, _EVALUATION_VALUES_ELSEWHERE)
    return max(1, min(_EVALUATION_ROWS, most // max(values, 1)))


def outputs_of(model: nn.Module, x: Rows, task: Task | None = None) -> Any:
    """Return (N, outputs): what `model` puts out for all rows, in eval mode; it keeps its mode.

    Args:
        model: on the device of the rows.
        x: (N, ...) rows.
        task: whose losses and metrics are to take the outputs (`Task.judged`); of several heads
            they come by name. Without one they are as the network puts them out.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        parts = []
        for rows in x.split(evaluation_rows(x)):
            output = call(model, rows)
            parts.append(output if task is None else task.judged(output, rows))
    # A caller in the middle of a training finds the mode that it left.
    model.train(training)
    return _joined(parts)


def _joined(parts: list[Any]) -> Any:
    """Return outputs of consecutive rows as one: tensors, or tuples or dicts of them."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, Mapping):
        return {name: _joined([part[name] for part in parts]) for name in first}
    return tuple(_joined(list(each)) for each in zip(*parts, strict=True))


def teacher_of(model: nn.Module, x: Rows, task: Task) -> Any:
    """Return (N, outputs): what a network teaches those that are pruned from it.

    Of rows that are larger than memory, a copy of the network, to be asked as they come.
    """
    # Rows that stay in their file: outputs for all of them would not fit into memory.
    if stored_parts(x):
        return copy.deepcopy(model).eval().requires_grad_(False)
    return task.teaching(outputs_of(model, x, task))


def measure(
    model: nn.Module, x: Rows, y: Any, task: Task, weight: Tensor | None = None
) -> dict[str, float]:
    """Return every metric of the task by its alias.

    Args:
        model: on the device of the rows.
        x: (N, ...) rows.
        y: their targets.
        task: what they mean.
        weight: (N,) of the rows, or None.
    """
    return task.measure(outputs_of(model, x, task), y, weight)


def evaluate(
    model: nn.Module, x: Rows, y: Any, task: Task | None = None, weight: Tensor | None = None
) -> float:
    """Return the score of the task; of classification the fraction of rows that get their class."""
    task = make_task(TaskSpec()) if task is None else task
    return measure(model, x, y, task, weight)[task.score]


def fit(model: nn.Module, x: Rows, y: Any, how: Fit) -> float:
    """Train `model` in place and return the mean loss of the last epoch.

    Args:
        model: on the device of `x`.
        x: (N, ...) training rows.
        y: their targets, as the task makes them.
        how: epochs, optimizer, masks, penalty.

    Raises:
        TrialError: the loss is not finite.
    """
    seed_everything(how.seed)
    generator = torch.Generator().manual_seed(how.seed)
    rate, decay = how.learning_rate, how.train.weight_decay
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizer_of(trained, how.train, rate, decay)
    updates = -(-len(x) // how.train.batch_size) * how.epochs
    scheduler = scheduler_of(optimizer, how.train, steps=updates)
    masked = _masked_weights(model, how.masks)
    _apply_masks(masked)
    augment = Augmentation(how.train.augment, how.seed) if how.train.augment else None
    task = make_task(TaskSpec()) if how.task is None else how.task
    target, weight = aims(task, y, how), task.weights(y, how.weight)
    watch = Watch.of(task, how)
    model.train()
    mean, update = math.nan, 0
    for epoch in range(how.epochs):
        # Summed on the device: reading each loss would make a GPU wait for every minibatch.
        total, rows = torch.zeros((), device=x.device), 0
        for index in batches(x, how.train.batch_size, generator):
            chosen = index.to(x.device)
            rows_x, rows_y = x.index_select(0, chosen), target.index_select(0, chosen)
            rows_y = taught_now(task, rows_x, rows_y, how)
            rows_x = rows_x if augment is None else augment(rows_x)
            if how.watcher is not None:
                how.watcher.before(update, updates)
            own = None if weight is None else weight.index_select(0, chosen)
            loss = _loss(task, model, rows_x, rows_y, own, how)
            _update(loss, optimizer, how)
            scheduler.step()
            _apply_masks(masked)
            if how.watcher is not None:
                how.watcher.after(update, updates)
            update += 1
            total += loss.detach() * len(chosen)
            rows += len(chosen)
        mean = float(total) / max(rows, 1)
        if not math.isfinite(mean):
            raise TrialError(
                f"the training loss is {mean} after epoch {epoch + 1} at learning rate {rate:g}; "
                "a lower train.learning_rate may help."
            )
        if watch is not None and watch.ends(model, optimizer):
            break
    if watch is not None:
        watch.restore(model)
    model.eval()
    return mean


def _loss(task: Task, model: nn.Module, x: Any, y: Any, weight: Tensor | None, how: Fit) -> Tensor:
    """Return the mean loss of a minibatch: the method's own, or that of the task."""
    if how.loss is not None:
        return how.loss(model, x, y, weight)
    return task.loss(task.judged(call(model, x), x), y, weight)


def aims(task: Task, y: Any, how: Fit) -> Any:
    """Return what is trained for: the targets, softened, and those of the teacher among them."""
    # Answers of all rows, where they were computed beforehand; a network is asked per minibatch.
    target = task.aims(y)
    if how.teacher is not None and how.distillation > 0 and not isinstance(how.teacher, nn.Module):
        target = task.taught(target, how.teacher, how.distillation)
    return target


def taught_now(task: Task, x: Any, target: Any, how: Fit) -> Any:
    """Return the targets of a minibatch, mixed with the answers of a teacher that is asked now."""
    if not isinstance(how.teacher, nn.Module) or how.distillation <= 0:
        return target
    with torch.no_grad():
        answer = task.teaching(task.judged(call(how.teacher, x), x))
    return task.taught(target, answer, how.distillation)


class Watch:
    """Looks at validation rows after every epoch, and keeps the best one."""

    def __init__(self, task: Task, how: Fit, validation: Validation) -> None:
        """Take what to look at, and the rows."""
        self._task, self._rows = task, validation
        self._stopping, self._plateau = how.train.early_stopping, how.train.plateau
        self._best: dict[str, float] = {}
        self._waited = {"stopping": 0, "plateau": 0}
        self._kept: tuple[float, dict[str, Tensor]] | None = None

    @classmethod
    def of(cls, task: Task, how: Fit) -> Watch | None:
        """Return what watches a training; None if nothing is to be watched."""
        watched = how.train.early_stopping or how.train.plateau
        if watched is None or how.validation is None:
            return None
        return cls(task, how, how.validation)

    def ends(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
        """Look at the network, lower the rate if it got no better; return whether to end."""
        merits = self._merits(model)
        # The first that is watched decides which epoch is the best.
        first = self._stopping or self._plateau
        assert first is not None
        if self._kept is None or merits[first.monitor] > self._kept[0]:
            weights = {name: v.detach().clone() for name, v in model.state_dict().items()}
            self._kept = merits[first.monitor], weights
        if self._plateau is not None and self._stands("plateau", self._plateau, merits):
            # The new rate gets as long a patience as the old one.
            self._waited["plateau"] = 0
            for group in optimizer.param_groups:
                group["lr"] = max(group["lr"] * self._plateau.factor, self._plateau.least)
        return self._stopping is not None and self._stands("stopping", self._stopping, merits)

    def _stands(self, name: str, watch: WatchSpec, merits: dict[str, float]) -> bool:
        """Return whether nothing has got better for as long as the patience lasts."""
        merit = merits[watch.monitor]
        if name not in self._best or merit > self._best[name] + watch.min_delta:
            self._best[name], self._waited[name] = merit, 0
        else:
            self._waited[name] += 1
        return self._waited[name] >= watch.patience

    def _merits(self, model: nn.Module) -> dict[str, float]:
        """Return the score and the negative loss: larger is better."""
        rows, task = self._rows, self._task
        output = outputs_of(model, rows.x, task)
        wanted = {watch.monitor for watch in (self._stopping, self._plateau) if watch is not None}
        found = {}
        if "score" in wanted:
            found["score"] = task.merit(task.measure(output, rows.y, rows.weight)[task.score])
        if "loss" in wanted:
            with torch.no_grad():
                weight = task.weights(rows.y, rows.weight)
                found["loss"] = -float(task.loss(output, rows.y, weight))
        return found

    def restore(self, model: nn.Module) -> None:
        """Put the weights of the best epoch back."""
        if self._kept is not None:
            model.load_state_dict(self._kept[1])


def _update(loss: Tensor, optimizer: torch.optim.Optimizer, how: Fit) -> None:
    """Do one optimizer step down a loss."""
    parameters = optimizer.param_groups[0]["params"]
    # What Optimizer.zero_grad does, without its hooks, which take 4 % of a small network's step.
    for parameter in parameters:
        parameter.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    penalty = how.penalty
    if penalty is not None and not penalty.proximal:
        penalty.add_gradient()
    # After the regularizer in gradient form, whose part is clipped as well.
    if how.train.clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, how.train.clip_norm)
    optimizer.step()
    # At the rate of this update: the scheduler lowers it afterwards.
    if penalty is not None and penalty.proximal:
        penalty.shrink(optimizer.param_groups[0]["lr"])


def optimizer_of(
    parameters: Iterable[Tensor], train: TrainSpec, rate: float, decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer that ``train.optimizer`` names, at a learning rate and weight decay."""
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay, fused=True)
    adam = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return adam(parameters, lr=rate, weight_decay=decay, fused=True)


def scheduler_of(
    optimizer: torch.optim.Optimizer, train: TrainSpec, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return what lowers the learning rate over so many updates, or leaves it."""
    # Per update and not per epoch: few epochs per step would make a stair of the curve.
    if train.learning_rate_schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _masked_weights(
    model: nn.Module, masks: Mapping[str, Tensor] | None
) -> list[tuple[Tensor, Tensor]]:
    """Return (weight, mask) of every masked parameter, with the mask on the weight's device."""
    found = {model.get_parameter(name): mask for name, mask in (masks or {}).items()}
    return [(weight.data, mask.to(weight.device)) for weight, mask in found.items()]


def _apply_masks(masked: list[tuple[Tensor, Tensor]]) -> None:
    # Multiplying after each update keeps pruned weights at exactly 0.0, which is what hls4ml tests.
    for weight, mask in masked:
        weight.mul_(mask)
