"""Yes or no: one logit per row, or a probability where the network ends in a sigmoid."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray
from rfprune.core.named import Outputs
from rfprune.errors import DataError
from rfprune.tasks.losses import bce
from rfprune.tasks.task import (
    Array,
    Task,
    as_rows,
    check_both_labels,
    check_numbers,
    from_one_hot,
    sigmoid_at_the_end,
)

__all__ = ["Binary", "check_labels", "one_column"]


class Binary(Task):
    """Labels 0 and 1, of shape (N,) or (N, 1)."""

    same_answer = "is on the same side of one half as"
    output_name = "output"
    has_confidence = True
    #: Whether the network puts out logits; `bound_to` looks.
    logits = True

    def encode(self, source: str, targets: dict[str, Any]) -> dict[str, Any]:
        """Return labels of shape (N,); one-hot rows by their one."""
        return {part: one_column(from_one_hot(y)) for part, y in targets.items()}

    def check(self, source: str, part: str, target: Any, rows: int) -> None:
        """Check that there is one label per row, 0 or 1."""
        where = f"{source}: y_{part}"
        if target.ndim != 1:
            raise DataError(
                f"{where} has shape {target.shape}; allowed for a binary task are ({rows},) and "
                f"({rows}, 1), one label 0 or 1 per row."
            )
        check_labels(
            source,
            f"y_{part}",
            target,
            rows,
            "a binary task has labels 0 and 1. For several classes use task: classification, for "
            "numbers task: regression",
        )

    def outputs(self, source: str, targets: dict[str, Any]) -> int:
        """Return 1."""
        self.check_split(source, targets["train"], 1)
        return 1

    def check_scored(self, source: str, part: str, target: Any) -> None:
        """Check that both labels occur, where a metric needs both."""
        names = {alias: metric.name for alias, metric in self.spec.measured.items()}
        check_both_labels(source, f"y_{part}", target, names)

    def check_split(self, source: str, train: Any, outputs: Outputs) -> None:
        """Check that both labels occur."""
        present = np.unique(train)
        if len(present) < 2:
            raise DataError(
                f"{source}: the {len(train)} training rows all have the label {present[0]:g}; both "
                "0 and 1 are needed."
            )

    def tensor(self, target: Any) -> Tensor:
        """Return (N, 1) float32."""
        return torch.from_numpy(target.astype(np.float32)).unsqueeze(1)

    def bound_to(
        self, model: nn.Module, train: Any = None, head: tuple[int, str] | None = None
    ) -> Self:
        """Return the task for a network of logits, or of probabilities behind a sigmoid."""
        # A copy: one task serves the networks of several trials in the same worker.
        bound = copy.copy(super().bound_to(model, train, head))
        bound.logits = not sigmoid_at_the_end(model, head)
        if self.spec.loss in (None, "bce"):
            arguments: dict[str, Any] = {**self.spec.loss_args, "logits": bound.logits}
            bound._loss = partial(bce, **arguments)
        return bound

    def aims(self, target: Tensor) -> Tensor:
        """Return the labels, with smoothing s ``(1 - s) * label + s / 2``."""
        share = self.spec.label_smoothing
        return (1 - share) * target + share / 2 if share else target

    def teaching(self, output: Tensor) -> Tensor:
        """Return (N, 1) probabilities of label 1."""
        return output.sigmoid() if self.logits else output

    def taught(self, target: Tensor, teacher: Tensor, share: float) -> Tensor:
        """Return (N, 1) ``(1 - d) * label + d * teacher``."""
        return (1 - share) * target + share * teacher

    def answers(self, output: Array) -> Array:
        """Return (N,) probabilities of label 1."""
        return self.probabilities(output[:, 0])

    def probabilities(self, output: Array) -> Array:
        """Return the probabilities, in the shape of the output."""
        wide = output.astype(np.float64)
        # Written so that large negative logits do not overflow.
        return np.exp(-np.logaddexp(0, -wide)) if self.logits else wide

    def _flat(self, target: Array) -> Array:
        return target[:, 0].astype(np.int64)

    def confidence(self, output: Tensor, target: Tensor) -> float:
        """Return the mean probability that is given to the right label."""
        p = self.teaching(output)
        return float(torch.where(as_rows(target) > 0.5, p, 1 - p).mean())

    def guess(
        self, train: Any, validation: Any, outputs: Outputs, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Return what the toss of a coin gives."""
        known = {"accuracy": 0.5, "balanced_accuracy": 0.5, "auc": 0.5, "log_loss": np.log(2.0)}
        found = {a: float(known[m.name]) for a, m in self.spec.measured.items() if m.name in known}
        if len(found) == len(self.spec.measured):
            return found
        assert isinstance(outputs, int)
        tossed = self.tossed(validation, outputs, -1.0 if self.logits else 0.0, weight)
        return {alias: found.get(alias, value) for alias, value in tossed.items()}

    def same(self, a: Any, b: Any, step: Any) -> BoolArray:
        """Return (N,) where all outputs are on the same side of one half."""
        middle = 0.0 if self.logits else 0.5
        return np.asarray(((a >= middle) == (b >= middle)).all(axis=1))


def one_column(target: Array) -> Array:
    """Return (N,) for (N, 1), and everything else as it is."""
    return target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target


def check_labels(source: str, name: str, target: Array, rows: int, hint: str) -> None:
    """Check that targets, of any shape, are 0 or 1.

    Args:
        source: of the data, for messages.
        name: of the array.
        target: the labels.
        rows: how many there must be.
        hint: what else the user may want, without a full stop.

    Raises:
        DataError: names the first row at fault.
    """
    check_numbers(source, name, target, rows)
    other = (target != 0) & (target != 1)
    if other.any():
        first = int(np.flatnonzero(other.reshape(len(other), -1).any(axis=1))[0])
        value = target[first].reshape(-1)[other[first].reshape(-1)][0]
        raise DataError(
            f"{source}: {name} holds {int(other.sum())} labels that are not 0 or 1, the first in "
            f"row {first} ({value}); {hint}."
        )
