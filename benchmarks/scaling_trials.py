"""The trial of `benchmarks.scaling`: sleeps, and writes a real run folder step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.engine_trials import objectives
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
    reuse = [layer.reuse_factor or 1 for layer in spec.hardware.layers.values()]
    accuracy, dsp, latency = objectives(reuse, spec.prune.budget["dsp"])
    for index in range(n_steps):
        time.sleep(spec.model.args["seconds"] / n_steps)
        step = StepRecord(
            step=index,
            accepted=True,
            val_accuracy=accuracy,
            accuracy=accuracy,
            sparsity=1 - spec.prune.budget["dsp"],
            dsp=dsp,
            latency_cycles=latency,
        )
        folder.append_step(step)
        if on_step is not None:
            on_step(step)
    result = TrialResult(
        trial=folder.number, attempt=attempt, state="complete", final_step=n_steps - 1
    )
    folder.write_result(result)
    return result
