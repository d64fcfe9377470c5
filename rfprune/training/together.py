"""Many small trainings at once: equal networks on equal rows, as one batched network.

Masks, regularizers, learning rates, weight decays, targets of a teacher and the order of the rows
may differ; each network gets the weights that `rfprune.training.fit` gives it, up to the rounding
of sums in another order. What cannot be done so is trained alone, by that function itself.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rfprune.core.named import Named
from rfprune.core.turns import Turns, current
from rfprune.data import Rows
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.training.augment import Augmentation
from rfprune.training.fit import (
    Fit,
    aims,
    fit,
    optimizer_of,
    scheduler_of,
    seed_everything,
)
from rfprune.training.order import batches, stored_parts
from rfprune.training.penalty import Penalty, Term
from rfprune.training.stacked import (
    ApartError,
    Stack,
    check_agreement,
    how_computed,
    kind_of,
    why_apart,
)

__all__ = [
    "Training",
    "fit_all",
    "fit_in_turn",
    "in_turns",
    "no_gain",
    "note_alone",
    "noted_alone",
    "why_alone",
]

#: On a CPU: rows of a minibatch up to which networks gain, by how they are computed together.
_GAINING_ROWS = {"products": 1024, "convolutions": 128, "vmap": 64}

#: Of each thread: why its trainings were not done together with others.
_noted = threading.local()


@dataclass(eq=False)
class Training:
    """One training that is wanted.

    Attributes:
        model: trained in place.
        x: (N, ...) training rows.
        y: their targets.
        how: as of `rfprune.training.fit`.
        error: what went wrong, once it has been tried.
        alone: why it was not trained together with others; empty if it was, or was the only one.
    """

    model: nn.Module
    x: Rows
    y: Any
    how: Fit
    error: Exception | None = None
    alone: str = ""

    @cached_property
    def task(self) -> Task:
        """What the training is for."""
        return make_task(TaskSpec()) if self.how.task is None else self.how.task


def in_turns(works: Sequence[Callable[[], None]]) -> list[BaseException | None]:
    """Run works in threads, one at a time, whose trainings meet; return what each raised, or None.

    Whatever a work trains by `rfprune.training.train` waits until the others want a training, have
    ended or wait for something else; those that can be are then trained together.
    """
    return Turns(fit_all).run(works)


def fit_in_turn(model: nn.Module, x: Rows, y: Any, how: Fit) -> None:
    """Train in place, together with the other works of `in_turns` if this is one.

    Raises:
        TrialError: the loss is not finite.
    """
    turns = current()
    if turns is None:
        fit(model, x, y, how)
        return
    why = why_alone(model, x, y, how) or no_gain(model, x.device, how.train.batch_size)
    job = Training(model, x, y, how, alone=why)
    if job.alone:
        fit(model, x, y, how)
    else:
        turns.meet(job)
        # As a training of its own leaves the generators that code of the user's may draw from.
        seed_everything(how.seed)
    if job.alone:
        note_alone(job.alone)
    if job.error is not None:
        raise job.error


def note_alone(why: str) -> None:
    """Note that a work of `in_turns` has been trained without the others, and why."""
    if current() is not None:
        _noted.__dict__.setdefault("reasons", {})[why] = None


def noted_alone() -> list[str]:
    """Return, once, why trainings of this work were not done together with others."""
    return list(_noted.__dict__.pop("reasons", {}))


def why_alone(model: nn.Module, x: Rows, y: Any, how: Fit) -> str:
    """Return why a training cannot share its minibatches with others; empty if it may."""
    watched = how.train.early_stopping or how.train.plateau
    if how.validation is not None and watched is not None:
        return "train.early_stopping and train.plateau look at each network after every epoch"
    if how.watcher is not None or how.loss is not None:
        return "the method works on the weights in every update"
    if how.penalty is not None and how.penalty.on is None:
        return "the method has a regularizer of its own"
    if isinstance(x, Named) or isinstance(y, Named):
        return "networks of several inputs or outputs are not trained together"
    if stored_parts(x) or isinstance(how.teacher, nn.Module):
        return "the rows stay in their file"
    why = why_apart(model)
    return f"the network's {why}" if why else ""


def no_gain(model: nn.Module, device: torch.device, batch_size: int) -> str:
    """Return why a training is no faster together with others; empty if it is, or on a GPU."""
    most = _GAINING_ROWS[how_computed(model)]
    if device.type != "cpu" or batch_size <= most:
        return ""
    return (
        f"minibatches of {batch_size} rows are no faster together on a CPU, where this network "
        f"gains up to {most}"
    )


def fit_all(jobs: Sequence[Training]) -> None:
    """Train what can be trained together so, and the rest one after the other.

    Nothing is raised: each job holds what went wrong with it.
    """
    for group in _groups(jobs):
        if len(group) > 1:
            try:
                _fit_together(group)
                continue
            except (ApartError, torch.OutOfMemoryError) as error:
                # Nothing has been written into the networks yet.
                for job in group:
                    job.alone = f"the network: {error}"
        for job in group:
            try:
                fit(job.model, job.x, job.y, job.how)
            except Exception as error:
                job.error = error


def _groups(jobs: Sequence[Training]) -> list[list[Training]]:
    """Return jobs by what those that are trained together have in common."""
    alike: dict[Any, list[Training]] = {}
    for job in jobs:
        alike.setdefault(_kind(job), []).append(job)
    groups = []
    for found in alike.values():
        pressed: dict[Any, list[Training]] = {}
        for job in found:
            if (penalty := job.how.penalty) is not None:
                pressed.setdefault((penalty.on, penalty.proximal), []).append(job)
        parts = list(pressed.values()) or [[]]
        # A regularizer of weight 0 is of any form.
        parts[0] += [job for job in found if job.how.penalty is None]
        groups += parts
    return groups


def _kind(job: Training) -> tuple[Any, ...]:
    """Return what jobs that are trained together have in common, beside the regularizer's form."""
    how = job.how
    free = {"learning_rate": 1.0, "weight_decay": 0.0, "epochs": 0}
    return (
        kind_of(job.model),
        # The rows themselves: trials of one process share them.
        id(job.x),
        how.epochs,
        how.train.model_copy(update=free).model_dump_json(),
        job.task.spec.model_dump_json(),
        # Whether targets are classes or what a teacher makes of them, and whether rows are weighed.
        how.teacher is not None and how.distillation > 0,
        how.weight is None,
    )


def _fit_together(jobs: Sequence[Training]) -> None:
    """Train networks of one kind, all at once.

    Raises:
        ApartError: they cannot be, or one of them does not stay finite; none of them has changed.
    """
    modes = [job.model.training for job in jobs]
    for job in jobs:
        job.model.train()
    try:
        masked = [_masked(job) for job in jobs]
        rows = _Batches(jobs)
        check_agreement([job.model for job in jobs], *rows.first())
        stack = Stack([job.model for job in jobs])
        _train(stack, jobs, rows, masked)
    except BaseException:
        for job, mode in zip(jobs, modes, strict=True):
            job.model.train(mode)
        raise
    stack.write([job.model for job in jobs])
    for job in jobs:
        job.model.eval()


def _masked(job: Training) -> dict[str, Tensor]:
    """Return the masks of a job by parameter, on the device and in the type of the weights."""
    found = {}
    for name, mask in (job.how.masks or {}).items():
        weight = job.model.get_parameter(name)
        found[name] = mask.to(weight.device, weight.dtype)
    return found


class _Batches:
    """Minibatches of K jobs on the same rows, each in its own order; equal ones are made once."""

    def __init__(self, jobs: Sequence[Training]) -> None:
        self._jobs, self._x = jobs, jobs[0].x
        self._size = jobs[0].how.train.batch_size
        self._target = _once([aims(job.task, job.y, job.how) for job in jobs])
        self._weight = _once([job.task.weights(job.y, job.how.weight) for job in jobs])
        seeds = [job.how.seed for job in jobs]
        self.same_order = len(set(seeds)) == 1
        orders = seeds[:1] if self.same_order else seeds
        self._generators = [torch.Generator().manual_seed(seed) for seed in orders]
        how = jobs[0].how.train.augment
        self._augment = [Augmentation(how, seed) for seed in orders] if how else []

    def first(self) -> tuple[Tensor, bool]:
        """Return the rows of a first minibatch, and whether all jobs share it."""
        orders = [self._jobs[0]] if self.same_order else self._jobs
        generators = [torch.Generator().manual_seed(job.how.seed) for job in orders]
        index = [next(batches(self._x, self._size, generator)) for generator in generators]
        return self._rows(index, augmented=False), self.same_order

    def epoch(self) -> Any:
        """Yield (rows, targets, weights) of every minibatch of an epoch, as `_taken` returns."""
        orders = [batches(self._x, self._size, generator) for generator in self._generators]
        for index in zip(*orders, strict=True):
            own = [index[0]] * len(self._jobs) if self.same_order else list(index)
            yield (
                self._rows(list(index), augmented=True),
                self._taken(self._target, own),
                None if self._weight[0] is None else self._taken(self._weight, own),
            )

    def _rows(self, index: list[Tensor], augmented: bool) -> Tensor:
        """Return (B, ...) rows that all share, or (K, B, ...)."""
        flat = torch.cat(index).to(self._x.device)
        found: Tensor = self._x.index_select(0, flat)
        parts = list(torch.split(found, len(index[0])))
        if augmented and self._augment:
            parts = [a(part) for a, part in zip(self._augment, parts, strict=True)]
        elif not self.same_order:
            return found.reshape(len(index), -1, *found.shape[1:])
        return parts[0] if self.same_order else torch.stack(parts)

    def _taken(self, values: list[Tensor], index: list[Tensor]) -> Tensor:
        """Return (K, B, ...) values of the rows of each job."""
        device, shape = values[0].device, (len(self._jobs), len(index[0]))
        if len(values) > 1:
            parts = [v.index_select(0, i.to(device)) for v, i in zip(values, index, strict=True)]
            return torch.stack(parts)
        if self.same_order:
            taken = values[0].index_select(0, index[0].to(device))
            return taken.unsqueeze(0).expand(shape[0], *taken.shape)
        taken = values[0].index_select(0, torch.cat(index).to(device))
        return taken.reshape(*shape, *taken.shape[1:])


def _once(values: list[Any]) -> list[Any]:
    """Return one value where all are equal, or all of them."""
    first = values[0]
    if first is None:
        return [None]
    same = all(value is first or torch.equal(value, first) for value in values[1:])
    return [first] if same else values


def _train(
    stack: Stack, jobs: Sequence[Training], rows: _Batches, masked: Sequence[dict[str, Tensor]]
) -> None:
    """Do what `rfprune.training.fit` does, with all networks of a stack."""
    how = jobs[0].how
    trained = [p for p in stack.parameters.values() if p.requires_grad]
    rates, decays = _PerJob([j.how.learning_rate for j in jobs], trained), None
    if any(job.how.train.weight_decay for job in jobs):
        decays = _PerJob([job.how.train.weight_decay for job in jobs], trained)
    updates = -(-len(jobs[0].x) // how.train.batch_size) * how.epochs
    step = _Update(trained, how, rates, decays, updates)
    penalty, masks = _penalty(stack, jobs, rates), _masks(stack, masked)
    _apply(masks)
    for epoch in range(how.epochs):
        total = torch.zeros((), device=trained[0].device)
        for x, y, weight in rows.epoch():
            loss = _summed_loss(jobs, stack(x, rows.same_order), x, y, weight, rows.same_order)
            step(loss, penalty)
            _apply(masks)
            total += loss.detach()
        if not math.isfinite(float(total)):
            # Trained alone, each of them says for itself what became of it.
            raise ApartError(f"a training loss was not finite in epoch {epoch + 1}")


def _summed_loss(
    jobs: Sequence[Training],
    output: Tensor,
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    shared: bool,
) -> Tensor:
    """Return the sum of the losses of all networks on their minibatches.

    Args:
        jobs: K of them.
        output: (K, B, ...) of the networks.
        x: (B, ...) rows if they are `shared`, (K, B, ...) otherwise.
        y: (K, B, ...) what is trained for.
        weight: (K, B, ...) of the rows, or None.
        shared: whether all networks have the same rows.
    """
    task = jobs[0].task
    if not task.averages:
        parts = []
        for k, job in enumerate(jobs):
            rows = x if shared else x[k]
            own = None if weight is None else weight[k]
            parts.append(job.task.loss(job.task.judged(output[k], rows), y[k], own))
        return torch.stack(parts).sum()
    # All rows at once: the sum of K means is K times the mean of all.
    every = task.judged(output.flatten(0, 1), None)
    target = y.flatten(0, 1)
    if weight is None:
        return task.loss(every, target) * len(jobs)
    # The same for weighted means, once the weights of each minibatch add up to 1.
    share = weight / weight.flatten(1).sum(1).clamp_min(1e-12).view(-1, *[1] * (weight.ndim - 1))
    return task.loss(every, target, share.flatten(0, 1)) * share.sum()


class _PerJob:
    """A number for each job, in the shape that spreads over tensors (K, ...)."""

    def __init__(self, numbers: Sequence[float], tensors: Sequence[Tensor]) -> None:
        first = tensors[0]
        self.numbers = numbers
        flat = torch.tensor(numbers, dtype=first.dtype, device=first.device)
        self._by_axes = {t.ndim: flat.view(-1, *[1] * (t.ndim - 1)) for t in tensors}

    def of(self, tensor: Tensor) -> Tensor:
        """Return (K, 1, ...) with as many axes as a tensor."""
        return self._by_axes[tensor.ndim]


class _Update:
    """One optimizer step for all networks, each at its own learning rate and weight decay.

    torch's optimizer moves zeros at a rate that begins with 1, by a schedule that is linear in the
    first rate; what they become, times the rate of each network, is the step of its weights.
    """

    def __init__(
        self,
        trained: list[Tensor],
        how: Fit,
        rates: _PerJob,
        decays: _PerJob | None,
        updates: int,
    ) -> None:
        self._trained, self._rates, self._decays = trained, rates, decays
        self._moves = [torch.zeros_like(parameter) for parameter in trained]
        self._optimizer = optimizer_of(self._moves, how.train, 1.0, 0.0)
        self._scheduler = scheduler_of(self._optimizer, how.train, updates)
        self._clip, self._decoupled = how.train.clip_norm, how.train.optimizer == "adamw"

    def __call__(self, loss: Tensor, penalty: Penalty | None) -> None:
        """Go one step down a loss, the sum over all networks, and under a regularizer."""
        for parameter in self._trained:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if penalty is not None and not penalty.proximal:
            penalty.add_gradient()
        with torch.no_grad():
            self._scale_gradients()
            self._hand_over_gradients()
            factor = self._optimizer.param_groups[0]["lr"]
            self._optimizer.step()
            for parameter, move in zip(self._trained, self._moves, strict=True):
                if parameter.grad is None:
                    continue
                rate = self._rates.of(parameter)
                if self._decays is not None and self._decoupled:
                    parameter.mul_(1 - factor * rate * self._decays.of(parameter))
                parameter.addcmul_(move, rate)
                move.zero_()
        # The rates of the networks are in the regularizer's strength already.
        if penalty is not None and penalty.proximal:
            penalty.shrink(factor)
        self._scheduler.step()

    def _scale_gradients(self) -> None:
        """Clip the gradient of each network, as `torch.nn.utils.clip_grad_norm_` does."""
        if self._clip is None:
            return
        found = [p.grad for p in self._trained if p.grad is not None]
        squares = torch.stack([g.flatten(1).square().sum(1) for g in found]).sum(0)
        factor = (self._clip / (squares.sqrt() + 1e-6)).clamp_max(1.0)
        for gradient in found:
            gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))

    def _hand_over_gradients(self) -> None:
        for parameter, move in zip(self._trained, self._moves, strict=True):
            gradient = parameter.grad
            if gradient is not None and self._decays is not None and not self._decoupled:
                gradient = gradient.addcmul(parameter, self._decays.of(parameter))
            move.grad = gradient


def _penalty(stack: Stack, jobs: Sequence[Training], rates: _PerJob) -> Penalty | None:
    """Return the regularizers of all jobs as one on the stacked weights; None if none has one."""
    found = [job.how.penalty for job in jobs]
    there = [penalty for penalty in found if penalty is not None]
    if not there:
        return None
    first = there[0]
    assert first.on is not None
    usual = {term.parameter: term for penalty in there for term in penalty.terms}
    pairs = []
    for name, term in usual.items():
        # Where a job does not press a tensor, its groups have the strength 0.
        free = replace(term, strength=torch.zeros_like(term.strength))
        terms = []
        for penalty, rate in zip(found, rates.numbers, strict=True):
            own = {t.parameter: t for t in penalty.terms} if penalty is not None else {}
            factor = rate if first.proximal else 1.0
            one = own.get(name, free)
            terms.append(replace(one, strength=one.strength * factor))
        pairs.append((stack.parameters[name], _merged(terms)))
    return first.on(pairs, first.proximal)


def _merged(terms: Sequence[Term]) -> Term:
    """Return the terms of K tensors as one of them stacked, with the groups of each apart."""
    counts = [len(term.strength) for term in terms]
    starts = [sum(counts[:k]) for k in range(len(counts))]
    label = torch.cat([term.label + start for term, start in zip(terms, starts, strict=True)])
    rows = all(term.rows for term in terms) and len(set(counts)) == 1
    return Term(terms[0].parameter, label, torch.cat([t.strength for t in terms]), rows)


def _masks(stack: Stack, masked: Sequence[dict[str, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Return (weight, mask), each (K, ...), of every parameter that some job masks."""
    names = list(dict.fromkeys(name for masks in masked for name in masks))
    found = []
    for name in names:
        weight = stack.parameters[name].detach()
        parts = [masks.get(name, torch.ones_like(weight[0])) for masks in masked]
        found.append((weight, torch.stack([part.expand_as(weight[0]) for part in parts])))
    return found


def _apply(masks: list[tuple[Tensor, Tensor]]) -> None:
    # Multiplied after each update, as of one network alone: what is pruned is exactly 0.0.
    for weight, mask in masks:
        weight.mul_(mask)
