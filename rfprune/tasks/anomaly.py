"""How unusual a row is: trained on usual rows, measured by how well unusual ones stand out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfprune.core.arrays import BoolArray
from rfprune.core.named import InputShape, Outputs
from rfprune.errors import DataError
from rfprune.tasks.binary import check_labels, one_column
from rfprune.tasks.task import Array, Targets, Task, as_rows, check_both_labels

__all__ = ["Anomaly"]


class Anomaly(Task):
    """Labels 0 (usual) and 1 of shape (N,) or (N, 1), which training rows may lack.

    With the loss ``output`` the network puts out its own score, one number per row that is to be
    small for usual rows. With ``reconstruction`` it puts out its input again, and the score of a
    row is their squared distance.
    """

    same_answer = "puts out, to one step of its type, the same score as"
    output_name = "output"

    @property
    def reconstructs(self) -> bool:
        """Whether the network puts out its input again."""
        return self.spec.loss == "reconstruction"

    def unlabelled(self, source: str, rows: int) -> Targets:
        """Return (N,) zeros: rows without labels are taken for usual ones."""
        return np.zeros(rows, dtype=np.int64)

    def encode(self, source: str, targets: dict[str, Any]) -> dict[str, Any]:
        """Return labels of shape (N,)."""
        return {part: one_column(y) for part, y in targets.items()}

    def check(self, source: str, part: str, target: Any, rows: int) -> None:
        """Check that there is one label per row, 0 or 1."""
        if target.ndim != 1:
            raise DataError(
                f"{source}: y_{part} has shape {target.shape}; allowed for an anomaly task are "
                f"({rows},) and ({rows}, 1), one label per row: 0 usual, 1 not."
            )
        hint = "an anomaly task has labels 0, usual, and 1, not"
        check_labels(source, f"y_{part}", target, rows, hint)

    def outputs(self, source: str, targets: dict[str, Any]) -> int:
        """Return 1: the score."""
        return 1

    def needed(self, outputs: Outputs, shape: InputShape) -> Outputs:
        """Return 1, or of a reconstruction as many as the input has values."""
        if not self.reconstructs:
            return outputs
        if isinstance(shape, dict):
            raise DataError(
                f"task.loss: 'reconstruction' is for one input, and the data have "
                f"{', '.join(shape)}."
            )
        return math.prod(shape)

    def trained_on(self, train: Any) -> BoolArray | None:
        """Return (N,) which rows have label 0; None if all have."""
        usual = np.asarray(train == 0)
        return None if usual.all() else usual

    def check_split(self, source: str, train: Any, outputs: Outputs) -> None:
        """Check that there are usual rows."""
        if not (train == 0).any():
            raise DataError(
                f"{source}: none of the training rows has label 0; an anomaly task trains on those."
            )

    def check_scored(self, source: str, part: str, target: Any) -> None:
        """Check that both labels occur, where a metric needs both."""
        names = {alias: metric.name for alias, metric in self.spec.measured.items()}
        check_both_labels(source, f"y_{part}", target, names)

    def tensor(self, target: Any) -> Tensor:
        """Return (N, 1) float32."""
        return torch.from_numpy(target.astype(np.float32)).unsqueeze(1)

    @property
    def averages(self) -> bool:
        """False: the score may look at the rows, and a training of usual rows leaves some out."""
        return False

    def judged(self, output: Any, x: Any) -> Tensor:
        """Return (N, 1) the score: the output, or its squared distance from the input."""
        if not self.reconstructs:
            return as_rows(output)
        score: Tensor = (output.flatten(1) - x.flatten(1)).square().sum(dim=1, keepdim=True)
        return score

    def loss(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean score of usual rows, or what a loss of the user's makes of it.

        Args:
            output: (N, 1) as `judged` returns it.
            target: (N, 1) labels, or (N, 3) as `taught` returns them.
            weight: (N,) of the rows.
        """
        if target.shape[1] == 1:
            return self._of_usual(output, target, weight)
        label, teacher, share = target[:, :1], target[:, 1:2], target[:, 2:]
        # In the units of the score, as both terms are: a pruned network is to score as the dense
        # one does, and no lower than that.
        taught = (output - teacher).abs()
        return self._of_usual((1 - share) * output + share * taught, label, weight)

    def _of_usual(self, score: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
        usual = 1 - label.squeeze(1)
        return super().loss(score, label, usual if weight is None else usual * weight)

    def teaching(self, output: Tensor) -> Tensor:
        """Return (N, 1) the score."""
        return output

    def taught(self, target: Tensor, teacher: Tensor, share: float) -> Tensor:
        """Return (N, 3) label, score of the teacher and its share."""
        return torch.cat([target, teacher, torch.full_like(target, share)], dim=1)

    def answers(self, output: Array) -> Array:
        """Return (N,) the scores."""
        return output[:, 0].astype(np.float64)

    def _flat(self, target: Array) -> Array:
        return target[:, 0].astype(np.int64)

    def guess(
        self, train: Any, validation: Any, outputs: Outputs, weight: Tensor | None = None
    ) -> dict[str, float]:
        """Return what scores without a meaning give: an area of one half, and no rate."""
        known = {"auc": 0.5, "tpr": 0.0}
        found = {a: known[m.name] for a, m in self.spec.measured.items() if m.name in known}
        if len(found) == len(self.spec.measured):
            return found
        tossed = self.tossed(validation, 1, 0.0, weight)
        return {alias: found.get(alias, value) for alias, value in tossed.items()}

    def same(self, a: Any, b: Any, step: Any) -> BoolArray:
        """Return (N,) where all outputs are at most one step apart."""
        return np.asarray((np.abs(a - b) <= step).reshape(len(a), -1).all(axis=1))
