"""The trial of `benchmarks.scaling`: sleeps, and writes a real run folder step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.engine.trials import step_at
from rfprune.runs import StepRecord, TrialFolder, TrialResult
from rfprune.spec import TrialSpec

__all__ = ["run"]


def run(
    spec: TrialSpec,
    folder: TrialFolder,
    *,
    dense_dir: Path,
    base_dir: Path,
    attempt: int = 0,
    on_step: Callable[[StepRecord], None] | None = None,
) -> TrialResult:
    """Take ``model.args.seconds`` in ``model.args.steps`` equal steps."""
    n_steps = spec.model.args["steps"]
    for index in range(n_steps):
        time.sleep(spec.model.args["seconds"] / n_steps)
        step = step_at(spec, index)
        folder.append_step(step)
        if on_step is not None:
            on_step(step)
    result = TrialResult(
        trial=folder.number, attempt=attempt, state="complete", final_step=n_steps - 1
    )
    folder.write_result(result)
    return result
