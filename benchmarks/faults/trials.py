"""A trial that trains nothing, and still has all that may be lost: steps, checkpoints, a result."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from rfprune.core.files import write_atomic
from rfprune.core.turns import waiting
from rfprune.results import StepRecord, TrialFolder, TrialResult
from rfprune.spec import TrialSpec

STEPS = 3
_CHECKPOINT_BYTES = 20_000


def run(
    spec: TrialSpec,
    folder: TrialFolder,
    *,
    dense_dir: Path,
    base_dir: Path,
    attempt: int = 0,
    on_step: Callable[[StepRecord], None] | None = None,
) -> TrialResult:
    """Take `STEPS` steps of ``model.args.seconds``, resuming after those that are there."""
    stored = folder.result()
    if stored is not None:
        return stored
    for index in range(len(folder.steps()), STEPS + 1):
        # Trials that share a process go on meanwhile.
        with waiting():
            time.sleep(spec.model.args["seconds"])
        step = step_at(spec, index)
        write_atomic(folder.checkpoint(index), checkpoint(spec, index))
        folder.append_step(step)
        if on_step is not None:
            on_step(step)
    result = TrialResult(trial=folder.number, attempt=attempt, state="complete", final_step=STEPS)
    folder.write_result(result)
    return result


def step_at(spec: TrialSpec, index: int) -> StepRecord:
    """Return the step that a trial of this spec has; nothing else decides it."""
    factor = spec.hardware.reuse_factor
    kept = 1 - index / (STEPS + 1)
    noise = int(hashlib.sha256(f"{spec.key} {index}".encode()).hexdigest()[:6], 16) / 2**24
    values = {"accuracy": 0.9 - 0.1 * (1 - kept) + 0.05 * noise, "sparsity": 1 - kept}
    values |= {"val_accuracy": values["accuracy"], "dsp": 1000 * kept / factor}
    return StepRecord(step=index, accepted=True, values=values)


def checkpoint(spec: TrialSpec, index: int) -> bytes:
    """Return the content of a step's checkpoint."""
    digest = hashlib.sha256(f"{spec.key} {index}".encode()).digest()
    return digest * (_CHECKPOINT_BYTES // len(digest))
