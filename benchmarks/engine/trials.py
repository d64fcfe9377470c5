"""The trial of `benchmarks.engine`: sleeps, and writes a real run folder of one step."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rfprune.runs import StepRecord, TrialFolder, TrialResult
from rfprune.spec import TrialSpec

__all__ = ["objectives", "run", "step_at"]


def run(
    spec: TrialSpec,
    folder: TrialFolder,
    *,
    dense_dir: Path,
    base_dir: Path,
    attempt: int = 0,
    on_step: Callable[[StepRecord], None] | None = None,
) -> TrialResult:
    """Take ``model.args.seconds``."""
    time.sleep(spec.model.args["seconds"])
    folder.append_step(step_at(spec, 1))
    result = TrialResult(
        trial=folder.number, attempt=attempt, state="complete", final_step=1, stopped="budgets met"
    )
    folder.write_result(result)
    return result


def step_at(spec: TrialSpec, index: int) -> StepRecord:
    """Return an accepted step whose quantities are a smooth function of the point."""
    reuse = [layer.reuse_factor or 1 for layer in spec.hardware.layers.values()]
    accuracy, dsp, latency = objectives(reuse, spec.prune.budget["dsp"])
    return StepRecord(
        step=index,
        accepted=True,
        val_accuracy=accuracy,
        accuracy=accuracy,
        sparsity=1 - spec.prune.budget["dsp"],
        dsp=dsp,
        latency_cycles=latency,
    )


def objectives(reuse: list[int], budget: float) -> tuple[float, float, float]:
    """Return accuracy, DSPs and latency of a made-up network of equal layers."""
    dsp = sum(1000 * budget / factor for factor in reuse)
    accuracy = 0.95 - 0.1 * (1 - budget) ** 3 - 0.001 * sum(reuse) / len(reuse)
    return accuracy, dsp, 5.0 + sum(reuse)
