"""A trial for an FPGA: what is checked before training, and how a step is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfprune.data import Dataset, load
from rfprune.errors import SpecError, UnknownNameError
from rfprune.groups import Groups, build_groups
from rfprune.methods import METHODS, Method, find_method
from rfprune.network import Plan, plan, trace
from rfprune.pruning import (
    Session,
    Step,
    budget_notes,
    check_reachable,
    dense_use,
    final_fractions,
    sort_neurons,
)
from rfprune.registry import importable
from rfprune.runs import StepRecord
from rfprune.spec import TrialSpec
from rfprune.training import probabilities
from rfprune.trial.dense import Dense, new_model
from rfprune.trial.measure import measure, step_record

__all__ = ["FpgaBench", "Prepared", "check_name", "open_session", "prepare"]


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

    def bench(self, dense: Dense, data: Dataset, folder: Path) -> FpgaBench:
        """Return the pruning run at its start; see `open_session`."""
        return FpgaBench(open_session(self, dense, data))


@dataclass(frozen=True)
class FpgaBench:
    """A pruning run on the groups of an FPGA."""

    subject: Session

    def record(
        self, step: Step, seconds: float, scratch: Path
    ) -> tuple[StepRecord, dict[str, Any]]:
        """Convert and estimate the network as it is now."""
        measured = measure(self.subject, scratch)
        found = step_record(self.subject, step, measured, seconds)
        return found, measured.as_json(self.subject.groups)


def prepare(spec: TrialSpec, base_dir: Path, data: Dataset | None = None) -> Prepared:
    """Check everything that can be known before training.

    Args:
        spec: the trial.
        base_dir: folder that relative paths refer to.
        data: the rows, if they are loaded already.

    Raises:
        InputError: data, network, hardware, groups or budget are wrong, in one sentence.
    """
    if spec.edge is not None:
        raise SpecError("edge: the trial is for an edge device, and this is for an FPGA.")
    check_name("estimator", spec.estimator, base_dir)
    check_name("prune.method", spec.prune.method, base_dir)
    method = find_method(spec.prune.method)
    method.check_installed()
    rows = load(spec.data, base_dir) if data is None else data
    model = new_model(spec, rows, base_dir)
    planned = plan(trace(model, rows.input_shape), spec.hardware)
    groups = build_groups(planned, spec.prune, method.structure)
    fractions = final_fractions(dense_use(groups), spec.prune.budget)
    if method.prunes:
        check_reachable(groups, fractions)
    return Prepared(spec, rows, planned, groups, method, fractions)


def check_name(key: str, name: str, base_dir: Path) -> None:
    """Raise if `name`, which stands under `key` of a trial, is in no table and in no module.

    Args:
        key: ``estimator`` or ``prune.method``.
        name: in the table, or ``package.module:name``, which is imported.
        base_dir: folder of the file, where a user's own modules are looked for first.

    Raises:
        UnknownNameError: names the key and the nearest known name.
    """
    from rfprune.estimate import ESTIMATORS

    table = {"estimator": ESTIMATORS, "prune.method": METHODS}[key]
    try:
        with importable(base_dir):
            table.load(name) if ":" in name else table[name]
    except UnknownNameError as error:
        raise UnknownNameError(f"{key}: {error}") from None


def open_session(prepared: Prepared, dense: Dense, data: Dataset) -> Session:
    """Return a pruning run at its start: the dense network with its data, groups and method.

    Args:
        prepared: the checked trial.
        dense: its dense network, which pruning changes in place.
        data: the rows, on the network's device.
    """
    distills = prepared.spec.prune.distillation > 0
    if prepared.spec.prune.sort_neurons:
        sort_neurons(dense.model, prepared.plan.network)
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
