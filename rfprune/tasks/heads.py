"""Several outputs of one network, each with a task of its own."""

from __future__ import annotations

import copy
import re
from collections.abc import ItemsView, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray
from rfprune.core.named import Named, Outputs
from rfprune.errors import DataError, NetworkError, SpecError
from rfprune.tasks.spec import GoalSpec, TaskSpec
from rfprune.tasks.task import Task, make_task

__all__ = ["Heads", "outputs_by_head"]


class Heads(Task):
    """The heads of a network, in the order of its tuple or by the keys of its dict.

    Targets, outputs and answers are those of the heads, by name. Each metric M of a head is called
    ``HEAD_M``; the loss is the weighted sum of theirs.

    Attributes:
        heads: their tasks, by name.
        share: weight of each head's loss.
    """

    same_answer = "gives, in every head, the same answer as"
    output_name = "output"

    def __init__(self, spec: GoalSpec, base_dir: Path | None = None) -> None:
        """Make the tasks of the heads.

        Raises:
            UnknownNameError: a function that cannot be imported.
            SpecError: a metric of the user's without a direction.
        """
        assert isinstance(spec, TaskSpec)
        assert spec.heads is not None
        self.spec = spec
        self.heads: dict[str, Task] = {}
        for name, head in spec.heads.items():
            try:
                self.heads[name] = make_task(head, base_dir)
            except (SpecError, DataError) as error:
                # The message of a single task names the key; here it is below the head.
                raise type(error)(str(error).replace("task.", f"task.heads.{name}.", 1)) from None
        self.share = {name: head.weight for name, head in spec.heads.items()}
        self.metrics = {
            f"{name}_{alias}": metric
            for name, task in self.heads.items()
            for alias, metric in task.metrics.items()
        }

    # What the data must look like -----------------------------------------------------------

    def encode(self, source: str, targets: dict[str, Any]) -> dict[str, Any]:
        """Return, by part and head, what the head's task makes of its targets."""
        found: dict[str, dict[str, Any]] = {part: {} for part in targets}
        for part, arrays in targets.items():
            own = set(arrays) if isinstance(arrays, dict) else set()
            if lacking := [name for name in self.heads if name not in own]:
                there = ", ".join(f"y_{part}_{name}" for name in sorted(own)) or f"y_{part}"
                raise DataError(
                    f"{source}: the head '{lacking[0]}' has no targets; needed is "
                    f"y_{part}_{lacking[0]}. Found: {there}."
                )
        for name, task in self.heads.items():
            with _about(name):
                for part, target in task.encode(source, _of(name, targets)).items():
                    found[part][name] = target
        return found

    def check(self, source: str, part: str, target: Any, rows: int) -> None:
        """Check the targets of every head."""
        for name, task in self.heads.items():
            with _about(name):
                task.check(source, part, target[name], rows)

    def outputs(self, source: str, targets: dict[str, Any]) -> Outputs:
        """Return how many outputs each head needs."""
        found = {}
        for name, task in self.heads.items():
            with _about(name):
                needed = task.outputs(source, _of(name, targets))
            assert isinstance(needed, int)
            found[name] = needed
        return found

    def check_split(self, source: str, train: Any, outputs: Outputs) -> None:
        """Check what is left for training, of every head."""
        assert isinstance(outputs, dict)
        for name, task in self.heads.items():
            with _about(name):
                task.check_split(source, train[name], outputs[name])

    def check_scored(self, source: str, part: str, target: Any) -> None:
        """Check what is measured on, of every head."""
        for name, task in self.heads.items():
            with _about(name):
                task.check_scored(source, part, target[name])

    def tensor(self, target: Any) -> Named:
        """Return the tensors of the heads."""
        return Named({name: task.tensor(target[name]) for name, task in self.heads.items()})

    # Training ---------------------------------------------------------------------------------

    def bound_to(
        self, model: nn.Module, train: Any = None, head: tuple[int, str] | None = None
    ) -> Self:
        """Return the task with that of every head as it is for its output of the network."""
        bound = copy.copy(self)
        bound.heads = {
            name: task.bound_to(model, None if train is None else train.parts[name], (at, name))
            for at, (name, task) in enumerate(self.heads.items())
        }
        return bound

    def weights(self, target: Any, weight: Tensor | None) -> Any:
        """Return the weights of the rows, by head where classes have weights of their own."""
        found = {name: task.weights(target.parts[name], weight) for name, task in self._each()}
        # One tensor for all heads, as long as no class has a weight of its own.
        if all(own is weight for own in found.values()):
            return weight
        ones = torch.ones(len(target), device=target.device)
        return Named({name: ones if own is None else own for name, own in found.items()})

    def aims(self, target: Any) -> Named:
        """Return what each head is trained for."""
        return Named({name: task.aims(target.parts[name]) for name, task in self._each()})

    @property
    def averages(self) -> bool:
        """False: there are several losses."""
        return False

    def judged(self, output: Any, x: Any) -> dict[str, Any]:
        """Return what the heads' losses and metrics take, by head.

        Raises:
            NetworkError: the network does not put out one tensor per head.
        """
        by_head = outputs_by_head(output, list(self.heads))
        return {name: task.judged(by_head[name], x) for name, task in self._each()}

    def loss(self, output: Any, target: Any, weight: Any = None) -> Tensor:
        """Return the sum of the heads' losses, each times its weight."""
        several = isinstance(weight, Named)
        losses = [
            self.share[name]
            * task.loss(output[name], target.parts[name], weight.parts[name] if several else weight)
            for name, task in self._each()
            # A head of weight 0 is measured and not trained.
            if self.share[name]
        ]
        return torch.stack(losses).sum()

    @property
    def has_own_functions(self) -> bool:
        """Whether one of the heads has functions of the user's."""
        return any(task.has_own_functions for task in self.heads.values())

    def try_loss(self, output: Any, target: Any, weight: Any, key: str = "task.heads") -> None:
        """Check the loss of every head."""
        for name, task in self._each():
            own = weight.parts[name] if isinstance(weight, Named) else weight
            task.try_loss(output[name], target.parts[name], own, f"{key}.{name}.loss")

    def teaching(self, output: Any) -> Named:
        """Return what each head of the dense network teaches."""
        return Named({name: task.teaching(output[name]) for name, task in self._each()})

    def taught(self, target: Any, teacher: Any, share: float) -> Named:
        """Return the heads' targets of which a share comes from the teacher."""
        return Named(
            {
                name: task.taught(target.parts[name], teacher.parts[name], share)
                for name, task in self._each()
            }
        )

    # Scores -----------------------------------------------------------------------------------

    def answers(self, output: Any) -> Any:
        """Return the answers of the heads, by name."""
        return {name: task.answers(output[name]) for name, task in self._each()}

    def measure(self, output: Any, target: Any, weight: Tensor | None = None) -> dict[str, float]:
        """Return every metric of every head, as ``HEAD_M``."""
        return self._joined(
            {
                name: task.measure(output[name], target.parts[name], weight)
                for name, task in self._each()
            }
        )

    def standard_error(
        self, output: Any, target: Any, weight: Tensor | None = None, alias: str | None = None
    ) -> float:
        """Return the standard error of a metric ``HEAD_M``."""
        wanted = alias or self.score
        for name, task in self._each():
            own = wanted.removeprefix(f"{name}_")
            if own != wanted and own in task.metrics:
                return task.standard_error(output[name], target.parts[name], weight, own)
        raise KeyError(wanted)

    def one_answer(self, output: Any) -> bool:
        """Return whether one of the heads gives all rows the same answer."""
        return any(task.one_answer(output[name]) for name, task in self._each())

    def guess(
        self, train: Any, validation: Any, outputs: Outputs, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Return what each head's metrics are without looking at the input."""
        assert isinstance(outputs, dict)
        return self._joined(
            {
                name: task.guess(train.parts[name], validation.parts[name], outputs[name], weight)
                for name, task in self._each()
            }
        )

    def same(self, a: Any, b: Any, step: Any) -> BoolArray:
        """Return (N,) where all heads give the same answer."""
        found = [
            task.same(a[name], b[name], step[name] if isinstance(step, Mapping) else step)
            for name, task in self._each()
        ]
        return np.asarray(np.all(found, axis=0))

    def _each(self) -> ItemsView[str, Task]:
        return self.heads.items()

    def _joined(self, found: dict[str, dict[str, float]]) -> dict[str, float]:
        return {
            f"{name}_{alias}": value for name, own in found.items() for alias, value in own.items()
        }


def outputs_by_head(output: Any, heads: list[str]) -> dict[str, Any]:
    """Return the outputs of a network by head: of its tuple in order, of its dict by key.

    Raises:
        NetworkError: it does not put out one tensor per head.
    """
    if isinstance(output, Tensor) and len(heads) == 1:
        return {heads[0]: output}
    if isinstance(output, Mapping):
        if set(output) == set(heads):
            return dict(output)
        found = f"a dict of {', '.join(map(str, output))}"
    elif isinstance(output, tuple | list):
        if len(output) == len(heads):
            return dict(zip(heads, output, strict=True))
        found = f"{len(output)} outputs"
    else:
        found = f"one {type(output).__name__}"
    raise NetworkError(
        f"the network puts out {found}, and the task has the heads {', '.join(heads)}: it must "
        "return a tuple of one tensor per head, in their order, or a dict with their names."
    )


@contextmanager
def _about(head: str) -> Iterator[None]:
    """Name the targets of a head in what its task refuses."""
    try:
        yield
    except DataError as error:
        text = re.sub(r"\by_(train|val|test)\b", rf"y_\1_{head}", str(error))
        raise type(error)(text) from None


def _of(head: str, targets: dict[str, Any]) -> dict[str, Any]:
    return {part: arrays[head] for part, arrays in targets.items()}
