"""One or several numbers per row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfprune.core.arrays import BoolArray
from rfprune.core.named import Outputs
from rfprune.errors import DataError
from rfprune.tasks.task import Array, Task, check_numbers, check_widths

__all__ = ["Regression"]


class Regression(Task):
    """Targets of shape (N,) or (N, K): as many outputs as a row has numbers."""

    same_answer = "puts out, to one step of their type, the same numbers as"
    output_name = "output"

    def encode(self, source: str, targets: dict[str, Any]) -> dict[str, Any]:
        """Return targets of shape (N, K)."""
        return {part: y[:, None] if y.ndim == 1 else y for part, y in targets.items()}

    def check(self, source: str, part: str, target: Any, rows: int) -> None:
        """Check that every row has K finite numbers."""
        if target.ndim != 2 or 0 in target.shape:
            raise DataError(
                f"{source}: y_{part} has shape {target.shape}; allowed for a regression are "
                f"({rows},) and ({rows}, K)."
            )
        check_numbers(source, f"y_{part}", target, rows)

    def outputs(self, source: str, targets: dict[str, Any]) -> int:
        """Return K."""
        train = targets["train"]
        check_widths(source, targets)
        constant = np.flatnonzero((train == train[:1]).all(axis=0))
        if len(constant):
            raise DataError(
                f"{source}: column {constant[0]} of y_train is {train[0, constant[0]]:g} in every "
                "row; there is nothing to learn."
            )
        return int(train.shape[1])

    def tensor(self, target: Any) -> Tensor:
        """Return (N, K) float32."""
        return torch.from_numpy(target.astype(np.float32))

    def teaching(self, output: Tensor) -> Tensor:
        """Return the numbers themselves."""
        return output

    def taught(self, target: Tensor, teacher: Tensor, share: float) -> Tensor:
        """Return (N, K) ``(1 - d) * target + d * teacher``."""
        return (1 - share) * target + share * teacher

    def answers(self, output: Array) -> Array:
        """Return the numbers (N, K)."""
        return output.astype(np.float64)

    def guess(
        self, train: Any, validation: Any, outputs: Outputs, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Return what the mean of the training rows gives on the validation rows."""
        return self.measure(train.mean(dim=0).expand(len(validation), -1), validation, weight)

    def same(self, a: Any, b: Any, step: Any) -> BoolArray:
        """Return (N,) where all numbers are at most one step apart."""
        # One step: a sum near the middle of two values may be rounded either way.
        return np.asarray((np.abs(a - b) <= step).all(axis=1))
