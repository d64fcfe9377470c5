"""A memory of measurements: no prefix of decisions is ever measured twice.

With a file, it outlives the process: a measurement costs a pass over the validation rows, and an
agent that was killed between two checkpoints repeats its decisions, not its measurements.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from rfprune.agent.task import Outcome, Task
from rfprune.arrays import IntArray
from rfprune.errors import RunsError, TrialError

__all__ = ["Measured"]

Key = tuple[int, ...]


class Measured:
    """Measures a task, and remembers.

    Args:
        task: what is measured.
        path: JSON lines that hold the memory; None = it ends with the process.

    Raises:
        RunsError: the file is damaged.
    """

    def __init__(self, task: Task, path: Path | None = None) -> None:
        self.task = task
        self._path = path
        self._known: dict[Key, Outcome] = _read(path) if path is not None else {}

    def __len__(self) -> int:
        """Return how many distinct measurements were made."""
        return len(self._known)

    def __call__(self, choice: IntArray, upto: int, condition: int) -> Outcome:
        """Return the outcome of the first `upto` decisions of `choice` (L,) under a condition.

        Raises:
            TrialError: the task measured something that is not finite, or no power at all.
        """
        prefix = [int(level) for level in choice[:upto]]
        key = (condition, *prefix)
        if key not in self._known:
            whole = np.zeros(len(self.task.layers), dtype=np.int64)
            whole[:upto] = prefix
            self._known[key] = _checked(self.task.measure(whole, upto, condition), key)
            self._write(key)
        return self._known[key]

    def dense(self, condition: int) -> Outcome:
        """Return the outcome of the dense network under a condition.

        Raises:
            TrialError: its power is not above 0, so that nothing can be a share of it.
        """
        outcome = self(np.zeros(len(self.task.layers), dtype=np.int64), 0, condition)
        if outcome.power <= 0:
            raise TrialError(f"the dense network's power is {outcome.power:g}, expected above 0.")
        return outcome

    def _write(self, key: Key) -> None:
        if self._path is None:
            return
        outcome = self._known[key]
        line = {"key": key, "accuracy": outcome.accuracy, "power": outcome.power}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "extra": dict(outcome.extra)}) + "\n")


def _checked(outcome: Outcome, key: Key) -> Outcome:
    if not (math.isfinite(outcome.accuracy) and math.isfinite(outcome.power)):
        raise TrialError(
            f"condition {key[0]}, levels {list(key[1:])}: measured accuracy {outcome.accuracy} and "
            f"power {outcome.power}, expected finite numbers."
        )
    return outcome


def _read(path: Path) -> dict[Key, Outcome]:
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    whole, _, cut = text.rpartition("\n")
    if cut:  # a line that a crash cut off; what is appended next has to begin a line of its own
        path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    known: dict[Key, Outcome] = {}
    try:
        for line in filter(None, whole.split("\n")):
            row = json.loads(line)
            known[tuple(row["key"])] = Outcome(
                float(row["accuracy"]), float(row["power"]), row["extra"]
            )
    except (KeyError, TypeError, ValueError) as error:
        raise RunsError(f"{path}: is damaged ({error!r}); delete it to measure again.") from error
    return known
