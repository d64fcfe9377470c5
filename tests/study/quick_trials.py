"""Trial functions that train nothing: real run folders, steps and results within milliseconds.

The workers import this module by the folder of the sweep file. ``model.args.fault`` says what goes
wrong, ``model.args.seconds`` how long a step takes, ``model.args.gate`` names a file for which all
trials but the first ones wait.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rfprune.errors import BudgetError
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
    """Write ``prune.steps`` steps, going on behind those that are there; then the result."""
    assert dense_dir.is_absolute()
    assert base_dir.is_absolute()
    stored = folder.result()
    if stored is not None:
        return stored
    _count_run(folder)
    _wait_at(spec.model.args.get("gate"), folder.number)
    fault = spec.model.args.get("fault", "none")
    for step in range(len(folder.steps()), spec.prune.steps + 1):
        time.sleep(spec.model.args.get("seconds", 0.0))
        record = _step(spec, step, fault)
        folder.append_step(record)
        _misbehave(fault, step, attempt)
        if on_step is not None:
            on_step(record)
    _misbehave(fault, spec.prune.steps, attempt)
    if fault == "missing":
        return None  # type: ignore[return-value]
    final = 99 if fault == "no_step" else spec.prune.steps
    result = TrialResult(
        trial=folder.number, attempt=attempt, state="complete", final_step=final, stopped="quick"
    )
    folder.write_result(result)
    return result


def _wait_at(gate: str | None, number: int) -> None:
    deadline = time.monotonic() + 300
    while gate and number > 4 and not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def _count_run(folder: TrialFolder) -> None:
    with (folder.path / "runs.txt").open("a") as file:
        file.write(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")


def _misbehave(fault: str, step: int, attempt: int) -> None:
    if step < 1:
        return
    if fault == "raise":
        raise ValueError("the layer is too flat")
    if fault == "memory" or (fault == "memory_once" and attempt == 0):
        raise MemoryError
    if fault == "disk":
        Path("/dev/full").write_text("x")
    if fault == "system_exit":
        raise SystemExit(3)
    if fault == "exit" or (fault == "exit_once" and attempt == 0):
        os._exit(1)


def _step(spec: TrialSpec, step: int, fault: str) -> StepRecord:
    values = [layer.reuse_factor or 1 for layer in spec.hardware.layers.values()]
    reuse = math.prod(values) ** (1 / max(1, len(values)))
    kept = 1 - step / (spec.prune.steps + 1)
    noise = int(hashlib.sha256(spec.key.encode()).hexdigest()[:6], 16) / 2**24
    accuracy = 0.9 - 0.02 * math.log2(reuse) - 0.05 * (1 - kept) + 0.02 * noise
    return StepRecord(
        step=step,
        accepted=True,
        val_accuracy=math.nan if fault == "nan" else accuracy,
        accuracy=accuracy,
        sparsity=1 - kept,
        dsp=None if fault == "unknown" else 1000 * kept / reuse,
        latency_cycles=10 + 3 * reuse,
        seconds=0.0,
    )


def reachable(spec: TrialSpec, folder: TrialFolder, **options: Any) -> TrialResult:
    """Run like `run`, but refuse budgets below a half as a real trial refuses one out of reach."""
    if spec.prune.budget["dsp"] < 0.5:
        raise BudgetError("prune.budget.dsp: 1 of 9 dsp cannot be reached: the floors hold 4.")
    return run(spec, folder, **options)
