"""One trial from file to result: data, dense network, groups, pruning steps, conversion, estimate.

The run folder is the truth. A trial that was cut off goes on from its last accepted step and ends
as if it had not been: every random number depends on the trial and the step alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rfprune.data import Dataset, load
from rfprune.errors import TrialError, UnknownNameError
from rfprune.groups import Groups, build_groups
from rfprune.methods import METHODS, Method, find_method
from rfprune.network import Plan, plan, trace
from rfprune.pruning import (
    Session,
    State,
    budget_notes,
    check_reachable,
    dense_step,
    final_fractions,
    steps,
)
from rfprune.pruning.loop import Step
from rfprune.runs import StepRecord, TrialFolder, TrialResult
from rfprune.runs.files import write_json
from rfprune.spec import TrialSpec
from rfprune.training import probabilities, select_device
from rfprune.trial.checkpoints import load_step, save_step
from rfprune.trial.dense import Dense, dense_network, new_model, to_device
from rfprune.trial.measure import measure, record
from rfprune.trial.provenance import provenance

__all__ = ["Prepared", "open_session", "prepare", "run_trial"]

OnStep = Callable[[StepRecord], None]


@dataclass(frozen=True)
class Prepared:
    """A trial whose input has been checked in full, before anything is trained or written.

    Attributes:
        spec: the trial.
        data: the rows.
        plan: the network on its FPGA.
        groups: what is pruned.
        method: how.
        fractions: final budgets, as fractions of the dense network.
    """

    spec: TrialSpec
    data: Dataset
    plan: Plan
    groups: Groups
    method: Method
    fractions: dict[str, float]

    def notes(self) -> list[str]:
        """Return what the user should know before training, one sentence each."""
        budget = self.spec.prune.budget if self.method.prunes else {}
        return [*self.plan.notes(), *budget_notes(self.groups, budget)]


def prepare(spec: TrialSpec, base_dir: Path, data: Dataset | None = None) -> Prepared:
    """Check everything that can be known before training.

    Args:
        spec: the trial.
        base_dir: folder that relative paths refer to.
        data: the rows, if they are loaded already.

    Raises:
        InputError: data, network, hardware, groups or budget are wrong, in one sentence.
    """
    check_name("estimator", spec.estimator)
    check_name("prune.method", spec.prune.method)
    method = find_method(spec.prune.method)
    rows = load(spec.data, base_dir) if data is None else data
    model = new_model(spec, rows, base_dir)
    planned = plan(trace(model, rows.input_shape), spec.hardware)
    groups = build_groups(planned, spec.prune, method.structure)
    fractions = final_fractions(groups, spec.prune.budget)
    if method.prunes:
        check_reachable(groups, fractions)
    return Prepared(spec, rows, planned, groups, method, fractions)


def check_name(key: str, name: str) -> None:
    """Raise if `name`, which stands under `key` of a trial, is in no table.

    Raises:
        UnknownNameError: names the key and the nearest known name.
    """
    from rfprune.estimate import ESTIMATORS

    table = {"estimator": ESTIMATORS, "prune.method": METHODS}[key]
    try:
        table[name]
    except UnknownNameError as error:
        if ":" not in name:
            raise UnknownNameError(f"{key}: {error}") from None


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
    if done is not None and done.state == "complete":
        return done
    begun = time.monotonic()
    prepared = prepare(spec, base_dir)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_spec(spec)
    device = select_device(spec.train.device)
    data = to_device(prepared.data, device)
    dense = dense_network(spec, data, dense_dir, base_dir)
    runner = _Runner(prepared, dense, data, folder, base_dir, on_step or (lambda record: None))
    last = runner.run()
    result = TrialResult(
        trial=folder.number,
        attempt=attempt,
        state="complete",
        stopped=_why(last, prepared.method),
        budgets_met=last.budgets_met,
        final_step=runner.last_accepted,
        dense_val_accuracy=dense.val_accuracy,
        dense_accuracy=dense.accuracy,
        seconds=round(time.monotonic() - begun, 3),
        notes=prepared.notes(),
        provenance=provenance(spec.seed, torch.get_num_threads(), prepared.data.sha256, base_dir),
    )
    folder.write_result(result)
    return result


def open_session(prepared: Prepared, dense: Dense, data: Dataset) -> Session:
    """Return a pruning run at its start: the dense network with its data, groups and method.

    Args:
        prepared: the checked trial.
        dense: its dense network, which pruning changes in place.
        data: the rows, on the network's device.
    """
    distills = prepared.spec.prune.distillation > 0
    return Session(
        spec=prepared.spec,
        model=dense.model,
        data=data,
        groups=prepared.groups,
        method=prepared.method,
        fractions=prepared.fractions,
        dense_val_accuracy=dense.val_accuracy,
        teacher=probabilities(dense.model, data.x_train) if distills else None,
    )


def _why(last: Step, method: Method) -> str:
    if not method.prunes:
        return "nothing to prune"
    if last.budgets_met:
        return "budgets met"
    return "steps done" if last.accepted else "tolerance broken"


class _Runner:
    """Drives the loop of one trial and writes what happens."""

    def __init__(
        self,
        prepared: Prepared,
        dense: Dense,
        data: Dataset,
        folder: TrialFolder,
        base_dir: Path,
        on_step: OnStep,
    ) -> None:
        self.spec, self.folder, self.base_dir, self.on_step = (
            prepared.spec,
            folder,
            base_dir,
            on_step,
        )
        self.data = data
        self.session = open_session(prepared, dense, data)
        self.last_accepted = 0

    def run(self) -> Step:
        """Run to the end and return the last step."""
        state = self._resume()
        if state is None:
            step = self._timed(lambda: dense_step(self.session))
            state = step.state
        else:
            step = self._step_at(state)
        loop = steps(self.session, state)
        while True:
            begun = time.monotonic()
            following = next(loop, None)
            if following is None:
                return step
            step = following
            self._keep(step, begun)

    def _timed(self, make: Callable[[], Step]) -> Step:
        begun = time.monotonic()
        step = make()
        self._keep(step, begun)
        return step

    def _keep(self, step: Step, begun: float) -> None:
        """Write one step: checkpoint and estimate first, its line last."""
        measured = measure(self.session, self.folder.path / "hls")
        found = record(self.session, step, measured, time.monotonic() - begun)
        if not all(map(math.isfinite, (found.val_accuracy, found.accuracy))):
            raise TrialError(f"step {step.index}: the accuracy is not finite.")
        if step.accepted:
            path = self.folder.checkpoint(step.index)
            save_step(path, self.session.model, step.state, self.spec, self.data, self.base_dir)
            write_json(self.folder.estimate(step.index), measured.as_json(self.session.groups))
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
        return load_step(self.folder.checkpoint(self.last_accepted), self.session.model)

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
