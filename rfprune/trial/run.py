"""One trial from file to result: data, dense network, groups, pruning steps, conversion, estimate.

The run folder is the truth. A trial that was cut off goes on from its last accepted step and ends
as if it had not been: every random number depends on the trial and the step alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from rfprune.data import Dataset
from rfprune.errors import TrialError
from rfprune.methods import Method
from rfprune.pruning import Snapshot, State, Step, Subject, dense_step, steps
from rfprune.runs import StepRecord, TrialFolder, TrialResult
from rfprune.runs.files import write_json
from rfprune.spec import TrialSpec
from rfprune.training import select_device
from rfprune.trial.checkpoints import load_step, save_step
from rfprune.trial.dense import dense_network, to_device
from rfprune.trial.edge import PreparedEdge, prepare_edge
from rfprune.trial.fpga import Prepared, prepare
from rfprune.trial.provenance import provenance
from rfprune.trial.rows import rows

__all__ = ["prepare_any", "run_trial"]

OnStep = Callable[[StepRecord], None]


class Bench(Protocol):
    """A pruning run, and how a step of it is measured."""

    @property
    def subject(self) -> Subject:
        """What is pruned."""

    def record(
        self, step: Step, seconds: float, scratch: Path
    ) -> tuple[StepRecord, dict[str, Any]]:
        """Return the record of the step that the subject has just done, and its costs by layer.

        Args:
            step: the step.
            seconds: how long it took.
            scratch: folder for files that are needed only meanwhile.
        """


def prepare_any(
    spec: TrialSpec, base_dir: Path, data: Dataset | None = None
) -> Prepared | PreparedEdge:
    """Check a trial for an FPGA or an edge device; see `prepare` and `prepare_edge`."""
    return (prepare if spec.edge is None else prepare_edge)(spec, base_dir, data)


def run_trial(
    spec: TrialSpec,
    folder: TrialFolder,
    *,
    dense_dir: Path,
    base_dir: Path,
    attempt: int = 0,
    on_step: OnStep | None = None,
) -> TrialResult:
    """Run a trial, or go on with one that was cut off; return the stored result of a finished one.

    Args:
        spec: the trial.
        folder: its run folder.
        dense_dir: where dense networks are shared between trials.
        base_dir: folder that relative paths in the spec refer to.
        attempt: 0, or how often the trial has been tried before.
        on_step: called with each step's record, as it happens.

    Raises:
        InputError: the input is wrong; nothing was written.
        WorkError: the work failed.
    """
    done = folder.result()
    if done is not None and done.state != "failed":
        return done
    begun = time.monotonic()
    prepared = prepare_any(spec, base_dir, rows(spec.data, base_dir))
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_spec(spec)
    device = select_device(spec.train.device)
    data = to_device(prepared.data, device)
    dense = dense_network(spec, data, dense_dir, base_dir)
    known = TrialResult(
        trial=folder.number,
        attempt=attempt,
        state="complete",
        dense_val_accuracy=dense.val_accuracy,
        dense_accuracy=dense.accuracy,
        notes=prepared.notes(),
        provenance=provenance(spec.seed, torch.get_num_threads(), prepared.data.sha256, base_dir),
    )
    folder.write_begun(known)
    bench = prepared.bench(dense, data, folder.path)
    runner = _Runner(bench, spec, data, folder, base_dir, on_step or (lambda record: None))
    last = runner.run()
    ending = {
        "stopped": _why(last, prepared.method),
        "budgets_met": last.budgets_met,
        "final_step": runner.last_accepted,
        "seconds": round(time.monotonic() - begun, 3),
    }
    result = known.model_copy(update=ending)
    folder.write_result(result)
    return result


def _why(last: Step, method: Method) -> str:
    if not method.prunes:
        return "nothing to prune"
    if last.budgets_met:
        return "budgets met"
    return "tolerance broken" if math.isfinite(last.state.schedule.stride) else "steps done"


class _Runner:
    """Drives the loop of one trial and writes what happens."""

    def __init__(
        self,
        bench: Bench,
        spec: TrialSpec,
        data: Dataset,
        folder: TrialFolder,
        base_dir: Path,
        on_step: OnStep,
    ) -> None:
        self.bench, self.subject = bench, bench.subject
        self.spec, self.data = spec, data
        self.folder, self.base_dir, self.on_step = folder, base_dir, on_step
        self.last_accepted = 0

    def run(self) -> Step:
        """Run to the end and return the last step."""
        state = self._resume()
        begun = time.monotonic()
        if state is None:
            last = dense_step(self.subject)
            self._keep(last, begun)
        else:
            last = self._step_at(state)
        begun = time.monotonic()
        for step in steps(self.subject, last.state):
            self._keep(step, begun)
            last, begun = step, time.monotonic()
        return last

    def _keep(self, step: Step, begun: float) -> None:
        """Write one step: checkpoint and estimate first, its line last."""
        found, costs = self.bench.record(step, time.monotonic() - begun, self.folder.path / "hls")
        if not all(map(math.isfinite, (found.val_accuracy, found.accuracy))):
            raise TrialError(f"step {step.index}: the accuracy is not finite.")
        if step.accepted:
            path = self.folder.checkpoint(step.index)
            save_step(path, self.subject.model, step.state, self.spec, self.data, self.base_dir)
            write_json(self.folder.estimate(step.index), costs)
            self.last_accepted = step.index
        self.folder.append_step(found)
        self.on_step(found)

    def _resume(self) -> State | None:
        """Load the last accepted step, if there is one, and drop what came after it."""
        records = self.folder.steps()
        accepted = [
            r.step for r in records if r.accepted and self.folder.checkpoint(r.step).exists()
        ]
        if not accepted:
            self.folder.rewrite_steps([])
            return None
        self.last_accepted = accepted[-1]
        self.folder.rewrite_steps([r for r in records if r.step <= self.last_accepted])
        state = load_step(self.folder.checkpoint(self.last_accepted), self.subject.model)
        self.subject.restore(Snapshot.of(self.subject.model, state.masks))
        return state

    def _step_at(self, state: State) -> Step:
        """Return the step that a resumption stands on, for the case that nothing follows it."""
        last = self.folder.steps()[-1]
        progress = state.schedule.good if self.last_accepted else 0.0
        return Step(
            self.last_accepted,
            progress,
            True,
            last.val_accuracy,
            last.accuracy,
            state.masks or {},
            None,
            state,
        )
