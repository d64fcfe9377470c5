"""Several yes-or-no labels per row: a logit, or a probability behind a sigmoid, for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfprune.core.named import Outputs
from rfprune.errors import DataError, SpecError
from rfprune.tasks.binary import Binary, check_labels
from rfprune.tasks.spec import ClassWeights
from rfprune.tasks.task import Array, check_both_labels, check_widths

__all__ = ["Multilabel"]


class Multilabel(Binary):
    """Labels 0 and 1 of shape (N, K)."""

    def encode(self, source: str, targets: dict[str, Any]) -> dict[str, Any]:
        """Return the labels as they are."""
        return targets

    def check(self, source: str, part: str, target: Any, rows: int) -> None:
        """Check that every row has K labels, 0 or 1."""
        if target.ndim != 2 or 0 in target.shape:
            raise DataError(
                f"{source}: y_{part} has shape {target.shape}; allowed for a multilabel task is "
                f"({rows}, K), K labels 0 or 1 per row."
            )
        hint = "a multilabel task has labels 0 and 1. For numbers use task: regression"
        check_labels(source, f"y_{part}", target, rows, hint)

    def outputs(self, source: str, targets: dict[str, Any]) -> int:
        """Return K."""
        check_widths(source, targets)
        self.check_split(source, targets["train"], targets["train"].shape[1])
        return int(targets["train"].shape[1])

    def check_split(self, source: str, train: Any, outputs: Outputs) -> None:
        """Check that both values occur of every label."""
        for label, column in enumerate(train.T):
            if len(present := np.unique(column)) < 2:
                raise DataError(
                    f"{source}: label {label} is {present[0]:g} in all {len(train)} training rows; "
                    "both 0 and 1 are needed."
                )

    def check_scored(self, source: str, part: str, target: Any) -> None:
        """Check that both values occur of every label, where a metric needs both."""
        names = {alias: metric.name for alias, metric in self.spec.measured.items()}
        for label, column in enumerate(target.T):
            check_both_labels(source, f"y_{part}, label {label},", column, names)

    def tensor(self, target: Any) -> Tensor:
        """Return (N, K) float32."""
        return torch.from_numpy(target.astype(np.float32))

    def _weights_of_labels(self, given: ClassWeights, train: Tensor) -> Tensor:
        """Return (K, 2) the weight of 0 and of 1 for every label."""
        rows, labels = train.shape
        if given == "balanced":
            ones = train.sum(dim=0).cpu()
            # As scikit-learn's `compute_class_weight` has it, for each label on its own.
            counts = torch.stack([rows - ones, ones], dim=1)
            return rows / (2 * counts.clamp_min(1))
        if len(given) != labels:
            raise SpecError(
                f"task.class_weights: has {len(given)} weights, and the data have {labels} labels."
            )
        return torch.tensor(given, dtype=torch.float32).unsqueeze(1).expand(-1, 2)

    def weights(self, target: Any, weight: Tensor | None) -> Any:
        """Return (N,) of the rows, or (N, K) times those of each label where a file names them."""
        if self._label_weights is None:
            return weight
        known = self._label_weights.to(target.device)
        of_label = torch.where(target > 0.5, known[:, 1], known[:, 0])
        return of_label if weight is None else weight.unsqueeze(1) * of_label

    def answers(self, output: Array) -> Array:
        """Return (N, K) probabilities of each label."""
        return self.probabilities(output)

    def _flat(self, target: Array) -> Array:
        return target.astype(np.int64)

    def guess(
        self, train: Any, validation: Any, outputs: Outputs, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Return what tosses of a coin give."""
        found = super().guess(train, validation, outputs, weight)
        assert isinstance(outputs, int)
        # All labels of a row have to be right.
        exact = {a: 0.5**outputs for a, m in self.spec.measured.items() if m.name == "accuracy"}
        return {**found, **exact}
