"""A memory of measurements: no prefix of decisions is ever measured twice.

With a file, it outlives the process: a measurement costs a pass over the validation rows, and an
agent that was killed between two checkpoints repeats its decisions, not its measurements.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from rfprune.core.arrays import IntArray
from rfprune.core.json_lines import append_line, repair, whole_lines
from rfprune.errors import RunsError, TrialError
from rfprune.methods.agent_task import AgentMeasurement, AgentTask

__all__ = ["MeasuredTask"]

Key = tuple[int, ...]


class MeasuredTask:
    """Measures a task, and remembers.

    Args:
        task: what is measured.
        path: JSON lines that hold the memory; None = it ends with the process.

    Raises:
        RunsError: the file is damaged.
    """

    def __init__(self, task: AgentTask, path: Path | None = None) -> None:
        self.task = task
        self._path = path
        # By condition and prefix of decisions: layers that are not decided yet are dense.
        self._known: dict[Key, AgentMeasurement] = _read(path) if path is not None else {}

    def __len__(self) -> int:
        """Return how many distinct measurements were made."""
        return len(self._known)

    def __call__(self, choice: IntArray, upto: int, condition: int) -> AgentMeasurement:
        """Return the outcome of the first `upto` decisions of `choice` (L,) under a condition.

        Raises:
            TrialError: the task measured something that is not finite, or no power at all.
        """
        prefix = [int(level) for level in choice[:upto]]
        key = (condition, *prefix)
        if key not in self._known:
            whole = np.zeros(len(self.task.layers), dtype=np.int64)
            whole[:upto] = prefix
            found = self.task.measure(whole, upto, condition)
            if not (math.isfinite(found.accuracy) and math.isfinite(found.power)):
                raise TrialError(
                    f"condition {condition}, levels {prefix}: measured accuracy {found.accuracy} "
                    f"and power {found.power}, expected finite numbers."
                )
            self._known[key] = found
            if self._path is not None:
                line = {"key": key, "accuracy": found.accuracy, "power": found.power}
                line["extra"] = dict(found.extra)
                # Not forced onto the disk: a lost line costs one measurement, a sync each of them.
                append_line(self._path, line, durable=False)
        return self._known[key]

    def dense(self, condition: int) -> AgentMeasurement:
        """Return the outcome of the dense network under a condition.

        Raises:
            TrialError: its power is not above 0, so that nothing can be a share of it.
        """
        outcome = self(np.zeros(len(self.task.layers), dtype=np.int64), 0, condition)
        if outcome.power <= 0:
            raise TrialError(f"the dense network's power is {outcome.power:g}, expected above 0.")
        return outcome


def _read(path: Path) -> dict[Key, AgentMeasurement]:
    # A line that a crash cut off is completed or dropped before more are appended.
    repair(path)
    known: dict[Key, AgentMeasurement] = {}
    try:
        for line in whole_lines(path):
            row = json.loads(line)
            known[tuple(row["key"])] = AgentMeasurement(
                float(row["accuracy"]), float(row["power"]), row["extra"]
            )
    except (KeyError, TypeError, ValueError) as error:
        raise RunsError(f"{path}: is damaged ({error!r}); delete it to measure again.") from error
    return known
