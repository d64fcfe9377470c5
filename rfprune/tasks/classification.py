"""One of several classes per row; the network puts out a logit per class."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray
from rfprune.core.named import Outputs
from rfprune.errors import DataError
from rfprune.tasks.task import Array, Targets, Task, from_one_hot

__all__ = ["Classification"]


class Classification(Task):
    """Classes 0..C-1; labels may be text."""

    same_answer = "names the same class as"
    output_name = "logit"
    has_classes = True
    has_confidence = True

    def class_names(self, train: Targets) -> tuple[str, ...] | None:
        """Return the names in alphabetical order, where labels are text."""
        # Text of more axes is no label; `check` refuses it with a better message.
        if isinstance(train, dict) or train.dtype.kind != "U" or train.ndim != 1:
            return None
        return tuple(str(name) for name in np.unique(train))

    def encode(self, source: str, targets: dict[str, Any]) -> dict[str, Any]:
        """Return labels as numbers: text in alphabetical order, one-hot rows by their one."""
        targets = {part: from_one_hot(y) for part, y in targets.items()}
        names = self.class_names(targets["train"])
        if names is None:
            return targets
        return {part: _numbered(source, part, y, names) for part, y in targets.items()}

    def check(self, source: str, part: str, target: Any, rows: int) -> None:
        """Check that labels are whole numbers from 0 on, one per row."""
        where = f"{source}: y_{part}"
        if target.ndim != 1:
            raise DataError(
                f"{where} has shape {target.shape}; allowed are ({rows},), one class per row, and "
                "one-hot rows, a single 1 among zeros. For several labels per row use task: "
                "multilabel, for numbers task: regression."
            )
        if len(target) != rows:
            raise DataError(
                f"{where} has {len(target)} rows, but x_{part} has {rows}; they must agree."
            )
        if target.dtype.kind not in "biu":
            raise DataError(
                f"{where} is of type {target.dtype}; labels must be integers 0..n_classes-1 (or "
                "all text). For numbers use task: regression."
            )
        negative = np.flatnonzero(target < 0)
        if len(negative):
            raise DataError(
                f"{where} has {len(negative)} negative labels, the first in row {negative[0]} "
                f"({target[negative[0]]}); labels must be 0..n_classes-1."
            )

    def outputs(self, source: str, targets: dict[str, Any]) -> int:
        """Return the number of classes."""
        train = targets["train"]
        present = np.unique(train)
        n_classes = int(present[-1]) + 1
        if len(present) < 2:
            raise DataError(
                f"{source}: y_train has only the class {present[0]}; at least two are needed."
            )
        if len(present) < n_classes:
            gap = int(np.flatnonzero(present != np.arange(len(present)))[0])
            raise DataError(
                f"{source}: y_train has labels up to {n_classes - 1}, but none is {gap}; labels "
                "must be 0..n_classes-1 without gaps."
            )
        for part, y in targets.items():
            if int(y.max()) >= n_classes:
                row = int(np.flatnonzero(y >= n_classes)[0])
                raise DataError(
                    f"{source}: row {row} of y_{part} has label {y[row]}; y_train has classes "
                    f"0..{n_classes - 1}."
                )
        return n_classes

    def check_split(self, source: str, train: Any, outputs: Outputs) -> None:
        """Check that the training rows hold every class."""
        assert isinstance(outputs, int)
        absent = np.flatnonzero(np.bincount(train, minlength=outputs) == 0)
        if len(absent):
            raise DataError(
                f"{source}: none of the {len(train)} training rows has class {absent[0]}; give "
                "more data, or change data.train_rows, data.val_fraction or data.split_seed."
            )

    def tensor(self, target: Any) -> Tensor:
        """Return (N,) int64."""
        return torch.from_numpy(target.astype(np.int64))

    def aims(self, target: Tensor) -> Tensor:
        """Return the labels, or with smoothing s (N, C) ``(1 - s) * label + s / C``.

        Source: Szegedy et al. 2016 (arXiv 1512.00567, section 7).
        """
        if not self.spec.label_smoothing:
            return target
        labels = nn.functional.one_hot(target).float()
        share = self.spec.label_smoothing
        return (1 - share) * labels + share / labels.shape[1]

    def teaching(self, output: Tensor) -> Tensor:
        """Return (N, C) probabilities."""
        return output.softmax(dim=1)

    def taught(self, target: Tensor, teacher: Tensor, share: float) -> Tensor:
        """Return (N, C) ``(1 - d) * label + d * teacher``, at temperature 1.

        Where classes overlap, the teacher's probabilities are less noisy than the labels.
        """
        labels = target
        if target.ndim == 1:
            labels = nn.functional.one_hot(target, teacher.shape[1]).to(teacher.dtype)
        return (1 - share) * labels + share * teacher

    def answers(self, output: Array) -> Array:
        """Return the logits (N, C)."""
        return output

    def confidence(self, output: Tensor, target: Tensor) -> float:
        """Return the accuracy of a class drawn from the network's probabilities."""
        return float(output.softmax(dim=1).gather(1, target[:, None]).mean())

    def guess(
        self, train: Any, validation: Any, outputs: Outputs, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Return what a guess among equally likely classes gives."""
        assert isinstance(outputs, int)
        chance = 1.0 / outputs
        known = {
            "accuracy": chance,
            "balanced_accuracy": chance,
            "auc": 0.5,
            "log_loss": float(np.log(outputs)),
        }
        found = {}
        for alias, metric in self.spec.measured.items():
            if metric.name == "top_k":
                found[alias] = min(1.0, float(metric.args.get("k", 2)) * chance)
            elif metric.name in known:
                found[alias] = known[metric.name]
        if len(found) == len(self.spec.measured):
            return found
        tossed = self.tossed(validation, outputs, -1.0, weight)
        return {alias: found.get(alias, value) for alias, value in tossed.items()}

    def same(self, a: Any, b: Any, step: Any) -> BoolArray:
        """Return (N,) where the same logit is the largest."""
        return np.asarray(a.argmax(axis=1) == b.argmax(axis=1))


def _numbered(source: str, part: str, labels: Array, names: tuple[str, ...]) -> Array:
    """Return (N,) the numbers of text labels.

    Raises:
        DataError: numbers, or a class that the training part lacks.
    """
    if labels.dtype.kind != "U":
        raise DataError(
            f"{source}: y_{part} is of type {labels.dtype}, but y_train holds text; both "
            "must be of one kind."
        )
    foreign = np.flatnonzero(~np.isin(labels, names))
    if len(foreign):
        raise DataError(
            f"{source}: row {foreign[0]} of y_{part} has the class '{labels[foreign[0]]}', "
            f"which y_train lacks; its classes are {', '.join(names)}."
        )
    return np.searchsorted(np.array(names), labels)
