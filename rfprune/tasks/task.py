"""The task: everything about a training that depends on what the network is for.

Data checks, the network's output, training, distillation, acceptance, the front and the comparison
with the C++ ask it, and know no classes themselves.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, IntArray
from rfprune.core.named import InputShape, Outputs
from rfprune.core.quantities import Direction, Quantity
from rfprune.core.registry import a_type, importable, resolve
from rfprune.errors import DataError, SpecError, TrialError, UnknownNameError
from rfprune.tasks.losses import LOSSES, Loss
from rfprune.tasks.metrics import METRICS
from rfprune.tasks.named_tasks import HEADS, TASKS
from rfprune.tasks.noise import standard_error
from rfprune.tasks.spec import ClassWeights, GoalSpec, MetricSpec, TaskSpec

__all__ = [
    "Array",
    "Targets",
    "Task",
    "as_rows",
    "check_both_labels",
    "check_numbers",
    "check_widths",
    "from_one_hot",
    "make_task",
    "sigmoid_at_the_end",
]

Array = NDArray[Any]
#: Of one head, or of several by name.
Targets: TypeAlias = Array | dict[str, Array]


@dataclass(frozen=True)
class _Metric:
    function: Callable[..., float]
    direction: Direction


class Task(ABC):
    """What a training is for. To add one: a subclass, and its row in `TASKS`.

    Attributes:
        spec: the section of the file.
        metrics: what is measured, by alias.
        same_answer: how two outputs that `agreement` takes for equal are described, as in "the
            C++ {same_answer} torch on 99 % of the rows".
        output_name: what one output is called in messages.
        has_confidence: whether outputs are probabilities of an answer; see `confidence`.
        has_classes: whether targets are classes, which may be text and of which some may be picked.
    """

    same_answer: ClassVar[str]
    output_name: ClassVar[str]
    has_classes: ClassVar[bool] = False
    has_confidence: ClassVar[bool] = False
    #: By label: what `class_weights` says, or what the training rows make of ``balanced``.
    _label_weights: Tensor | None = None
    #: Of a task of several outputs, by name; see `rfprune.tasks.heads`.
    heads: Mapping[str, Task] = MappingProxyType({})

    def __init__(self, spec: GoalSpec, base_dir: Path | None = None) -> None:
        """Look up loss and metrics.

        Args:
            spec: the section of the file.
            base_dir: folder of the file, where the user's own modules are looked for first.

        Raises:
            UnknownNameError: a function that cannot be imported.
            SpecError: a metric of the user's without a direction.
        """
        self.spec = spec
        with importable(base_dir):
            self._loss: Loss = partial(_loss_of(spec), **spec.loss_args)
            self.metrics = {a: _metric_of(a, m) for a, m in spec.measured.items()}

    @property
    def score(self) -> str:
        """Alias of the metric that decides."""
        return self.spec.decides

    @property
    def direction(self) -> Direction:
        """Which way the score is better."""
        return self.metrics[self.score].direction

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """What is measured, on validation and on test rows, the user's functions among it."""
        known = {quantity.name for quantity in self.spec.quantities()}
        own = [
            Quantity(f"{prefix}{alias}", metric.direction, f"{part} {alias}", "metric")
            for alias, metric in self.metrics.items()
            for prefix, part in (("val_", "validation"), ("", "test"))
            if f"{prefix}{alias}" not in known
        ]
        found = (*self.spec.quantities(), *own)
        # Stable: the score first, all else in the order of the file.
        decides = (self.spec.score_name, self.score)
        return tuple(sorted(found, key=lambda quantity: quantity.name not in decides))

    @property
    def own_directions(self) -> dict[str, Direction]:
        """Which way quantities are better that functions of the user's measure, by name."""
        known = {quantity.name for quantity in self.spec.quantities()}
        return {q.name: q.direction for q in self.quantities if q.name not in known}

    # What the data must look like -----------------------------------------------------------

    def class_names(self, train: Targets) -> tuple[str, ...] | None:
        """Return the names of the classes in the order of their numbers; None if they have none."""
        return None

    def unlabelled(self, source: str, rows: int) -> Targets:
        """Return the targets of training rows that come without any.

        Raises:
            DataError: the task needs them.
        """
        raise DataError(
            f"{source}: array 'y_train' is missing; only the task anomaly trains on rows without "
            "labels."
        )

    @abstractmethod
    def encode(self, source: str, targets: dict[str, Any]) -> dict[str, Any]:
        """Return the targets in the form that `check` takes; text labels become numbers.

        Args:
            source: of the data, for messages.
            targets: by part: ``train``, and ``val`` and ``test`` where there are such.

        Raises:
            DataError: targets that do not belong to this task.
        """

    @abstractmethod
    def check(self, source: str, part: str, target: Any, rows: int) -> None:
        """Check the targets of one part of the data.

        Args:
            source: of the data, for messages.
            part: ``train``, ``val`` or ``test``.
            target: as `encode` returned it.
            rows: how many inputs the part has.

        Raises:
            DataError: the first fault found.
        """

    @abstractmethod
    def outputs(self, source: str, targets: dict[str, Any]) -> Outputs:
        """Return how many outputs the network needs; the targets are checked as a whole.

        Args:
            source: of the data, for messages.
            targets: by part, as `encode` returned them.

        Raises:
            DataError: the parts contradict each other.
        """

    def needed(self, outputs: Outputs, shape: InputShape) -> Outputs:
        """Return how many outputs a network needs for samples of a shape."""
        return outputs

    def trained_on(self, train: Any) -> BoolArray | None:
        """Return (N,) which training rows are used; None = all."""
        return None

    def check_split(self, source: str, train: Any, outputs: Outputs) -> None:  # noqa: B027
        """Check the targets that are left for training.

        Raises:
            DataError: they cannot teach what is asked for.
        """

    def check_scored(self, source: str, part: str, target: Any) -> None:  # noqa: B027
        """Check the targets of validation or test rows.

        Raises:
            DataError: a metric is not defined on them.
        """

    @abstractmethod
    def tensor(self, target: Any) -> Any:
        """Return targets as the tensor that training and metrics take; of heads a `Named`."""

    # Training ---------------------------------------------------------------------------------

    def bound_to(
        self, model: nn.Module, train: Any = None, head: tuple[int, str] | None = None
    ) -> Self:
        """Return the task as it is for a network, whose last operation may decide the loss.

        Args:
            model: the network.
            train: targets of the training rows, by which ``class_weights: balanced`` goes.
            head: place and name of the output that the task is of; None for the only one.
        """
        if self.spec.class_weights is None or train is None:
            return self
        # A copy: one task serves the networks of several trials in the same worker.
        bound = copy.copy(self)
        bound._label_weights = self._weights_of_labels(self.spec.class_weights, train)
        return bound

    def _weights_of_labels(self, given: ClassWeights, train: Tensor) -> Tensor:
        labels = train.reshape(-1).long().cpu()
        counts = labels.bincount(minlength=2)
        if given == "balanced":
            # As scikit-learn's `compute_class_weight`: N / (classes * rows of the class).
            return len(labels) / (len(counts) * counts.float().clamp_min(1))
        if len(given) != len(counts):
            raise SpecError(
                f"task.class_weights: has {len(given)} weights, and the data have {len(counts)} "
                "classes."
            )
        return torch.tensor(given, dtype=torch.float32)

    def weights(self, target: Any, weight: Tensor | None) -> Any:
        """Return what `loss` is to weigh rows by: their own weight times that of their class.

        Args:
            target: as `tensor` makes it.
            weight: (N,) of the rows, or None.
        """
        if self._label_weights is None:
            return weight
        of_class = self._label_weights.to(target.device)[target.reshape(-1).long()]
        return of_class if weight is None else weight * of_class

    def aims(self, target: Any) -> Any:
        """Return what is trained for: the targets, softened by ``label_smoothing``."""
        return target

    def judged(self, output: Any, x: Any) -> Any:
        """Return what loss and metrics take: (N, outputs), or what the task makes of it and `x`.

        Args:
            output: of the network; (N,) stands for one output per row.
            x: its input.
        """
        return as_rows(output)

    def loss(self, output: Any, target: Any, weight: Any = None) -> Tensor:
        """Return the loss of a minibatch.

        Args:
            output: (N, outputs) of the network, as `judged` returns it.
            target: as `tensor`, `aims` or `taught` makes it.
            weight: (N,) of the rows.
        """
        return self._loss(output, target) if weight is None else self._loss(output, target, weight)

    @property
    def averages(self) -> bool:
        """Whether the loss is a mean over rows, weighted or not, of what each puts out.

        Those that rfprune names are; of a function of the user's nobody knows.
        """
        return not any(":" in name for name in (self.spec.name, self.spec.loss or ""))

    @property
    def has_own_functions(self) -> bool:
        """Whether loss or metrics are functions of the user's, or the task itself is."""
        named = (
            self.spec.name,
            self.spec.loss or "",
            *(m.name for m in self.spec.measured.values()),
        )
        return any(":" in name for name in named)

    def try_loss(self, output: Any, target: Any, weight: Any, key: str = "task.loss") -> None:
        """Check that the loss of a minibatch is a number that can be trained down.

        Args:
            output: as `judged` returns it, with its graph.
            target: as `aims` returns it.
            weight: (N,) of the rows, or None.
            key: of the file, for the message.

        Raises:
            SpecError: names the function and the shapes that it was given.
        """
        name = self.spec.loss or "the loss"
        given = f"output {tuple(output.shape)} and target {tuple(target.shape)}"
        try:
            loss = self.loss(output, target, weight)
        except SpecError:
            raise
        except Exception as error:
            reason = str(error).split("\n")[0]
            raise SpecError(
                f"{key}: {name} failed on {given}: {type(error).__name__}: {reason}."
            ) from error
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise SpecError(f"{key}: {name} returned {what} on {given}, expected a scalar tensor.")
        if not loss.requires_grad:
            raise SpecError(
                f"{key}: {name} returned a tensor without gradient on {given}; compute it from the "
                "output by torch alone."
            )
        if not math.isfinite(float(loss.detach())):
            raise SpecError(f"{key}: {name} returned {float(loss.detach())} on {given}.")

    @abstractmethod
    def teaching(self, output: Any) -> Any:
        """Return what an output (N, outputs) of the dense network teaches the pruned one."""

    @abstractmethod
    def taught(self, target: Any, teacher: Any, share: float) -> Any:
        """Return targets of which a share comes from the teacher (Hinton et al. 2015)."""

    # Scores -----------------------------------------------------------------------------------

    @abstractmethod
    def answers(self, output: Array) -> Array:
        """Return what metrics are computed on: see `rfprune.tasks.metrics`."""

    def measure(self, output: Any, target: Any, weight: Tensor | None = None) -> dict[str, float]:
        """Return every metric by its alias.

        Args:
            output: (N, outputs) of the network, all rows, as `judged` returns it.
            target: as `tensor` makes it.
            weight: (N,) of the rows, or None.

        Raises:
            TrialError: a function of the user's raised, or did not return a finite number.
        """
        answers = self.answers(output.detach().cpu().numpy())
        wanted = self._flat(target.detach().cpu().numpy())
        weights = () if weight is None else (weight.detach().cpu().numpy().astype(np.float64),)
        found = {}
        for alias, metric in self.metrics.items():
            with _blaming(f"metric '{alias}' ({self.spec.measured[alias].name})", answers, wanted):
                value = metric.function(answers, wanted, *weights)
                found[alias] = _number(value) if self.spec.measured[alias].is_function else value
        return found

    def _flat(self, target: Array) -> Array:
        """Return targets as metrics take them."""
        return target

    def standard_error(
        self, output: Any, target: Any, weight: Tensor | None = None, alias: str | None = None
    ) -> float:
        """Return the standard error of a metric on these rows; see `rfprune.tasks.noise`.

        Args:
            output: (N, outputs) of the network, all rows, as `judged` returns it.
            target: as `tensor` makes it.
            weight: (N,) of the rows, or None.
            alias: of the metric; the score if not given.
        """
        metric = self.metrics[alias or self.score]
        answers = self.answers(output.detach().cpu().numpy())
        wanted = self._flat(target.detach().cpu().numpy())
        weights = None if weight is None else weight.detach().cpu().numpy().astype(np.float64)

        def score(rows: IntArray) -> float:
            own = () if weights is None else (weights[rows],)
            try:
                return float(metric.function(answers[rows], wanted[rows], *own))
            except Exception:  # a function of the user's may need all rows: no error is known then
                return math.nan

        return standard_error(score, len(wanted))

    def one_answer(self, output: Any) -> bool:
        """Return whether all of several rows get the same answer: that network has learned nothing.

        As `same` has it: the same class, the same side, the same numbers.
        """
        rows = output.detach().cpu().numpy()
        first = rows[:1].repeat(len(rows), axis=0)
        return len(rows) > 1 and bool(self.same(rows, first, 0.0).all())

    def bound(self, dense: float, tolerance: float, absolute: float | None) -> float:
        """Return the worst score that is still accepted.

        Args:
            dense: score of the dense network.
            tolerance: relative to it.
            absolute: in the score's own units, in place of `tolerance`.
        """
        sign = 1 if self.direction == "max" else -1
        if absolute is not None:
            return dense - sign * absolute
        return (1 - sign * tolerance) * dense

    def accepts(self, score: float, bound: float) -> bool:
        """Return whether a score is at least as good as `bound`."""
        return score >= bound if self.direction == "max" else score <= bound

    def merit(self, score: float) -> float:
        """Return the score with its sign such that larger is better."""
        return score if self.direction == "max" else -score

    def confidence(self, output: Tensor, target: Tensor) -> float:
        """Return the mean probability that the right answer is given, where there is one."""
        raise NotImplementedError(f"a {self.spec.name} task has no probabilities")

    @abstractmethod
    def guess(
        self, train: Any, validation: Any, outputs: Outputs, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Return what every metric is, by alias, without looking at the input.

        It fixes the reference point of the hypervolume: a network that is worse is worth nothing.

        Args:
            train: targets of the training rows.
            validation: targets of the validation rows.
            outputs: of the network.
            weight: (N,) of the validation rows, or None.
        """

    def tossed(
        self, validation: Tensor, outputs: int, low: float, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Return what every metric is, by alias, for outputs that are drawn at random.

        It is the guess of metrics whose guess is in no table. One that is to be large counts as at
        most 0, so that such a reference point is below whatever a network reaches.

        Args:
            validation: targets of the validation rows.
            outputs: of the network.
            low: outputs are drawn between this and 1.
            weight: (N,) of the validation rows, or None.
        """
        # Not equal for all rows: many a function of the user's is not defined on a constant.
        draw = torch.rand((len(validation), outputs), generator=torch.Generator().manual_seed(0))
        found = self.measure(low + (1 - low) * draw, validation.cpu(), weight)
        return {
            # As a comparison, in which a value that is not known (NaN) is none below 0.
            alias: value if self.metrics[alias].direction == "min" or value < 0 else 0.0
            for alias, value in found.items()
        }

    @abstractmethod
    def same(self, a: Any, b: Any, step: Any) -> BoolArray:
        """Return (N,) on which rows two outputs (N, outputs) give the same answer.

        Args:
            a: outputs; of several heads by name.
            b: outputs of another way to compute the same network.
            step: one unit in the last place of the output's type; of several heads by name.
        """

    def agreement(self, a: Any, b: Any, step: Any) -> float:
        """Return the fraction of rows on which two outputs give the same answer; see `same`."""
        return float(self.same(a, b, step).mean())


def make_task(spec: GoalSpec, base_dir: Path | None = None) -> Task:
    """Return the task that a file names.

    Raises:
        UnknownNameError: a name in no table and no module.
        SpecError: the name leads to something other than a `Task`.
    """
    row = TASKS.get(spec.name)
    if isinstance(spec, TaskSpec) and spec.heads is not None:
        row = HEADS
    with importable(base_dir):
        try:
            kind = resolve(spec.name if row is None else row.task)
        except UnknownNameError as error:
            raise UnknownNameError(f"task.name: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise SpecError(f"task.name: '{spec.name}' is not a subclass of rfprune.tasks.Task.")
    return kind(spec, base_dir)


def _loss_of(spec: GoalSpec) -> Loss:
    if spec.loss is None:
        return LOSSES[spec.facts.losses[0]] if spec.facts else _no_loss
    if ":" not in spec.loss:
        return LOSSES[spec.loss]
    try:
        found: Loss = resolve(spec.loss)
    except UnknownNameError as error:
        raise UnknownNameError(f"task.loss: {error}") from None
    return found


def _no_loss(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    raise SpecError(
        "task.loss: is missing. Name a function, or override `loss` in the class of your task."
    )


def _metric_of(alias: str, spec: MetricSpec) -> _Metric:
    if not spec.is_function:
        row = METRICS[spec.name]
        return _Metric(partial(row.function, **spec.args), row.direction)
    try:
        function = resolve(spec.name)
    except UnknownNameError as error:
        raise UnknownNameError(f"task.metrics.{alias}: {error}") from None
    direction = getattr(function, "direction", None)
    if direction not in ("max", "min"):
        raise SpecError(
            f"task.metrics.{alias}: {spec.name} has no direction. Write {function.__name__}"
            f'.direction = "max" (or "min") below the function.'
        )
    return _Metric(partial(function, **spec.args), direction)


@contextmanager
def _blaming(what: str, output: Array, target: Array) -> Iterator[None]:
    """Turn whatever goes wrong in a metric into a sentence that names it and what it was given."""
    try:
        yield
    except Exception as error:
        raise TrialError(
            f"{what} failed on output {output.shape} and target {target.shape}: "
            f"{type(error).__name__}: {error}."
        ) from error


def _number(value: Any) -> float:
    """Return what a user's metric returned, which has to be one finite number."""
    if isinstance(value, Tensor | np.ndarray | np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise TypeError(f"it returned {a_type(value)}{shape}, expected one number")
    if not math.isfinite(value):
        raise ValueError(f"it returned {value}, expected a finite number")
    return float(value)


def check_numbers(source: str, name: str, target: Array, rows: int) -> None:
    """Check that targets are finite numbers, as many as there are rows.

    Raises:
        DataError: names the array and the first row at fault.
    """
    where = f"{source}: {name}"
    if len(target) != rows:
        x = name.replace("y_", "x_")
        raise DataError(f"{where} has {len(target)} rows, but {x} has {rows}; they must agree.")
    if target.dtype.kind not in "biuf":
        raise DataError(f"{where} is of type {target.dtype}; allowed are real numbers.")
    bad = ~np.isfinite(target.astype(np.float64))
    if bad.any():
        first = int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])
        raise DataError(
            f"{where} holds {int(bad.sum())} values that are NaN or infinite, the first in row "
            f"{first}; every value must be finite."
        )


def check_widths(source: str, targets: dict[str, Array]) -> None:
    """Check that the rows of every part (N, K) have as many numbers as those of training.

    Raises:
        DataError: names the first part at fault.
    """
    width = targets["train"].shape[1]
    for part, y in targets.items():
        if y.shape[1] != width:
            raise DataError(
                f"{source}: a row of y_{part} has {y.shape[1]} numbers, a row of y_train "
                f"{width}; they must be equal."
            )


def check_both_labels(source: str, name: str, target: Array, metrics: dict[str, str]) -> None:
    """Check that both labels occur, where a metric needs both.

    Args:
        source: of the data, for messages.
        name: of the array.
        target: (N,) labels 0 and 1.
        metrics: name of each metric by alias.

    Raises:
        DataError: names the metric.
    """
    needing = [a for a, name in metrics.items() if name in METRICS and METRICS[name].needs_both]
    if needing and len(present := np.unique(target)) < 2:
        raise DataError(
            f"{source}: all {len(target)} rows of {name} have the label {present[0]:g}, and the "
            f"metric '{needing[0]}' needs rows of both 0 and 1."
        )


def from_one_hot(target: Any) -> Any:
    """Return (N,) numbers of classes for one-hot rows (N, C), and everything else as it is."""
    if isinstance(target, dict) or target.ndim != 2 or target.shape[1] < 2 or not len(target):
        return target
    ones = target == 1 if target.dtype.kind in "biuf" else np.zeros(target.shape, dtype=bool)
    is_one_hot = bool((ones | (target == 0)).all() and (ones.sum(axis=1) == 1).all())
    return ones.argmax(axis=1) if is_one_hot else target


def as_rows(tensor: Tensor) -> Tensor:
    """Return (N,) as (N, 1), and everything else as it is."""
    return tensor.unsqueeze(1) if tensor.ndim == 1 else tensor


def sigmoid_at_the_end(model: nn.Module, head: tuple[int, str] | None = None) -> bool:
    """Return whether the last operation of a network is a sigmoid.

    Args:
        model: the network.
        head: place in its tuple and key in its dict of the output that is meant.
    """
    try:
        graph = torch.fx.symbolic_trace(model).graph
    except Exception:  # what cannot be traced here is refused, or taken, elsewhere
        return False
    (output,) = (node for node in graph.nodes if node.op == "output")
    last: Any = output.args[0]
    if head is not None and not isinstance(last, torch.fx.Node):
        last = last.get(head[1]) if isinstance(last, dict) else last[head[0]]
    if not isinstance(last, torch.fx.Node):
        return False
    if last.op == "call_module":
        return isinstance(model.get_submodule(str(last.target)), nn.Sigmoid)
    return last.target in (torch.sigmoid, nn.functional.sigmoid, "sigmoid")
