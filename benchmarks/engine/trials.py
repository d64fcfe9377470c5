"""The trial of `benchmarks.engine` and `benchmarks.scaling`: sleeps, and writes a run folder."""

import time
from collections.abc import Callable
from pathlib import Path

from rfprune.results import StepRecord, TrialFolder, TrialResult
from rfprune.spec import TrialSpec


def run(
    spec: TrialSpec,
    folder: TrialFolder,
    *,
    dense_dir: Path,
    base_dir: Path,
    attempt: int = 0,
    on_step: Callable[[StepRecord], None] | None = None,
) -> TrialResult:
    """Take ``model.args.seconds`` in ``model.args.steps`` equal steps (one if not given)."""
    n_steps = spec.model.args.get("steps", 1)
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


def step_at(spec: TrialSpec, index: int) -> StepRecord:
    """Return an accepted step whose quantities are a smooth function of the point."""
    reuse = [layer.reuse_factor or 1 for layer in spec.hardware.layers.values()]
    budget = float(spec.prune.budget["dsp"])
    accuracy, dsp, latency = objectives(reuse, budget)
    values = {"val_accuracy": accuracy, "accuracy": accuracy, "sparsity": 1 - budget}
    values |= {"dsp": dsp, "latency_cycles": latency}
    return StepRecord(step=index, accepted=True, values=values)


def objectives(reuse: list[int], budget: float) -> tuple[float, float, float]:
    """Return accuracy, DSPs and latency of a made-up network of equal layers."""
    dsp = sum(1000 * budget / factor for factor in reuse)
    accuracy = 0.95 - 0.1 * (1 - budget) ** 3 - 0.001 * sum(reuse) / len(reuse)
    return accuracy, dsp, 5.0 + sum(reuse)
