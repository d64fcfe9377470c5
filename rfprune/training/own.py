"""Functions of the user's own: a training in place of the loop, and a trial of losses and metrics.

A training is ``f(model, data, hook, settings) -> model``. It may do as it likes with the network:
what is masked stays zero, and a network of another structure is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rfprune.core.named import call
from rfprune.core.registry import a_type, importable, resolve
from rfprune.data import Dataset, Rows
from rfprune.errors import SpecError, TrialError, UnknownNameError
from rfprune.spec.training import TrainSpec
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.training.fit import Fit, aims, outputs_of, seed_everything
from rfprune.training.together import fit_in_turn, note_alone

__all__ = ["Hook", "Settings", "Trainer", "TrainingRows", "rehearse", "train", "trainer_of"]

#: Trains a network in place on the training rows of a data set.
Trainer = Callable[[nn.Module, Dataset, Fit], None]
_REHEARSED_ROWS = 256


@dataclass(frozen=True)
class TrainingRows:
    """What a training of the user's own sees of the data: never the test rows.

    Attributes:
        x_train: (N, ...) rows; of several inputs a `rfprune.core.named.Named`.
        y_train: what is to be trained for: targets, softened by ``label_smoothing`` and mixed with
            the answers of the dense network, as `Settings.loss` takes them.
        w_train: (N,) weights of the rows, of several labels with weights (N, K), or None.
        x_val: validation rows.
        y_val: their targets, as the data have them.
        w_val: likewise.
    """

    x_train: Rows
    y_train: Any
    w_train: Any
    x_val: Rows
    y_val: Any
    w_val: Tensor | None


@dataclass(frozen=True)
class Settings:
    """What the file says of the training.

    Attributes:
        epochs: how many are wanted.
        learning_rate: at the start.
        seed: of this training; Python, numpy and torch are seeded with it.
        train: the section ``train``.
        task: what the training is for.
    """

    epochs: int
    learning_rate: float
    seed: int
    train: TrainSpec
    task: Task

    def loss(self, model: nn.Module, x: Any, y: Any, weight: Any = None) -> Tensor:
        """Return the task's loss of a network on a minibatch of `TrainingRows`."""
        return self.task.loss(self.task.judged(call(model, x), x), y, weight)

    def measure(self, model: nn.Module, x: Rows, y: Any, weight: Any = None) -> dict[str, float]:
        """Return every metric of the task by its alias, e.g. on the validation rows."""
        return self.task.measure(outputs_of(model, x, self.task), y, weight)


class Hook:
    """Keeps masked weights masked, and adds the regularizer; to be called around each update."""

    def __init__(self, model: nn.Module, how: Fit) -> None:
        """Take the masks of a training."""
        # A copy: the user's function is handed the hook, and must not change what is masked.
        self._masks = {name: mask.clone() for name, mask in (how.masks or {}).items()}
        self._model, self._penalty = model, how.penalty

    def after_backward(self) -> None:
        """Add the gradient of the regularizer, if it has one, to those of the loss."""
        if self._penalty is not None and not self._penalty.proximal:
            self._penalty.add_gradient()

    def after_step(self, learning_rate: float) -> None:
        """Let the regularizer shrink the weights, if it does so, and zero what is masked."""
        if self._penalty is not None and self._penalty.proximal:
            self._penalty.shrink(learning_rate)
        self()

    def __call__(self) -> None:
        """Zero what is masked."""
        with torch.no_grad():
            for name, mask in self._masks.items():
                weight = self._model.get_parameter(name)
                weight.mul_(mask.to(weight.device))


def train(model: nn.Module, data: Dataset, how: Fit) -> None:
    """Train a network in place by the loop of `rfprune.training.fit`; with others, if there are."""
    fit_in_turn(model, data.x_train, data.y_train, how)


def trainer_of(spec: TrainSpec, base_dir: Path | None = None) -> Trainer:
    """Return what trains: the loop, or the function that the file names.

    Raises:
        UnknownNameError: the function cannot be imported.
        SpecError: it is no function.
    """
    if spec.function is None:
        return train
    name = spec.function
    with importable(base_dir):
        try:
            function = resolve(name)
        except UnknownNameError as error:
            raise UnknownNameError(f"train.function: {error}") from None
    if not callable(function):
        raise SpecError(
            f"train.function: '{name}' is {a_type(function)}, not a function "
            "f(model, data, hook, settings)."
        )

    def trains(model: nn.Module, data: Dataset, how: Fit) -> None:
        note_alone(f"'{name}' (train.function) trains in its own way")
        _train_by(function, name, model, data, how)

    return trains


def _train_by(
    function: Callable[..., Any], name: str, model: nn.Module, data: Dataset, how: Fit
) -> None:
    """Let the user's function train, and take nothing from it but weights of the same network."""
    task = make_task(TaskSpec()) if how.task is None else how.task
    rows = TrainingRows(
        data.x_train,
        aims(task, data.y_train, how),
        task.weights(data.y_train, how.weight),
        data.x_val,
        data.y_val,
        data.w_val,
    )
    settings = Settings(how.epochs, how.learning_rate, how.seed, how.train, task)
    hook, before, versions = Hook(model, how), _structure(model), _versions(data)
    trained_before = [parameter.requires_grad for parameter in model.parameters()]
    hook()
    seed_everything(how.seed)
    model.train()
    try:
        # What it does to torch's own switch must not outlive it.
        with torch.enable_grad():
            trained = function(model, rows, hook, settings)
    except Exception as error:
        raise TrialError(
            f"train.function '{name}' failed on {len(data.y_train)} training rows: "
            f"{type(error).__name__}: {error}."
        ) from error
    if not isinstance(trained, nn.Module):
        raise TrialError(
            f"train.function '{name}' returned {a_type(trained)}, expected the network."
        )
    if _versions(data) != versions:
        raise TrialError(f"train.function '{name}' changed the rows in place; work on copies.")
    _check_structure(name, before, _structure(trained))
    # A copy of the network is allowed; its weights go back into the one that the loop holds.
    if trained is not model:
        _check_structure(name, before, _structure(model))
        model.load_state_dict(trained.state_dict())
    for parameter, wanted in zip(model.parameters(), trained_before, strict=True):
        parameter.requires_grad_(wanted)
    for own, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise TrialError(f"train.function '{name}' left values in '{own}' that are not finite.")
    # Whatever it did, also to its hook: what is masked is zero.
    Hook(model, how)()
    model.eval()


def _structure(model: nn.Module) -> dict[str, str]:
    """Return what must not change: modules, tensors with their shapes, and hooks, by name."""
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        own = ", its forward replaced" if "forward" in vars(module) else ""
        found[f"module '{path}'"] = f"{type(module).__qualname__} with {hooks} hooks{own}"
    for name, value in model.state_dict().items():
        found[f"'{name}'"] = f"{tuple(value.shape)} {value.dtype} on {value.device}"
    return found


def _check_structure(name: str, before: dict[str, str], after: dict[str, str]) -> None:
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if changed:
        raise TrialError(
            f"train.function '{name}' returned another network: {changed[0]} is not what it was "
            f"({before.get(changed[0], 'absent')} before, {after.get(changed[0], 'absent')} now); "
            "it may change weights, and neither layers, shapes nor hooks."
        )


def _versions(data: Dataset) -> list[int]:
    """Return how often each tensor of rows has been changed in place."""
    names = ("x_train", "y_train", "w_train", "x_val", "y_val", "w_val")
    found = [getattr(data, name) for name in names]
    parts = [part for rows in found for part in getattr(rows, "parts", {"": rows}).values()]
    return [part._version for part in parts if isinstance(part, Tensor)]


def rehearse(model: nn.Module, data: Dataset, task: Task) -> None:
    """Try losses and metrics of the user's own on the untrained network, before any training.

    Raises:
        SpecError: one of them fails, or does not return what it has to.
    """
    if not task.has_own_functions:
        return
    training = model.training
    model.eval()
    weight = task.weights(data.y_train, data.w_train)
    rows = slice(0, _REHEARSED_ROWS)
    x, y = data.x_train[rows], task.aims(data.y_train)[rows]
    output = task.judged(call(model, x), x)
    task.try_loss(output, y, None if weight is None else weight[rows])
    try:
        task.measure(outputs_of(model, data.x_val, task), data.y_val, data.w_val)
    except TrialError as error:
        raise SpecError(f"task.metrics: on the untrained network, {error}") from error
    model.train(training)
