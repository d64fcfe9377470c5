"""Carries a finished trial over to other hardware: its networks are measured again, not trained.

A mask holds on the new hardware if it takes away whole groups there: a mask by the multipliers of
reuse factor 8 holds at 8, and at 4 where each group of 8 is made of groups of 4.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfprune.core.files import link_or_copy, write_json
from rfprune.data import Dataset
from rfprune.errors import RfpruneError, RunsError
from rfprune.pruning import Evaluation, Masks, Prunable
from rfprune.results import StepRecord, TrialFolder, TrialResult
from rfprune.spec import TrialSpec
from rfprune.spec.yaml_files import set_path
from rfprune.trial.checkpoints import load_step
from rfprune.trial.dense import Dense, new_model
from rfprune.trial.prepare import Prepared, prepare
from rfprune.trial.repeats import averaged

__all__ = ["Carried", "carry_over", "what_breaks"]

#: A budget counts as met up to this relative error, which sums of costs may have.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Carried:
    """What of a trial was carried over.

    Attributes:
        steps: numbers of the steps that were.
        left_out: why other accepted steps were not, by their number.
    """

    steps: tuple[int, ...]
    left_out: Mapping[int, str] = field(default_factory=dict)


def carry_over(
    source: TrialFolder, spec: TrialSpec, target: TrialFolder, base_dir: Path, data: Dataset
) -> Carried:
    """Write the finished trial in `source` to `target`, as a trial on the hardware of `spec`.

    Every accepted step whose mask holds there is measured in its types and estimated; its
    checkpoint is the file of the source, linked where the disk allows that. Of a trial that has
    pruned something nothing is carried over if only its dense network would be: what the trial
    stands for in the search is lost then, and a continued sweep should train it.

    Args:
        source: a finished trial, which is only read.
        spec: the same network, data and training on other hardware.
        target: a folder that does not exist yet; it is gone again if an error is raised.
        base_dir: folder that relative paths in `spec` refer to.
        data: the rows.

    Raises:
        RfpruneError: nothing of the trial can be carried over; says why.
    """
    result = _finished(source, data)
    accepted = [record.of_its_network() for record in source.steps() if record.accepted]
    if not accepted:
        raise RunsError("it has no accepted step")
    carrier = _Carrier(source, spec, target, base_dir, data, result)
    for record in accepted:
        carrier.carry(record)
    steps = carrier.steps
    if not steps or (len(accepted) > 1 and not steps[-1].step):
        shutil.rmtree(target.path, ignore_errors=True)
        # Of several the last one's: it is the network that the trial was for.
        raise RunsError(list(carrier.left_out.values())[-1])
    target.rewrite_steps(_with_repeats(source, spec, target, base_dir, data, steps))
    target.write_spec(spec)
    target.write_result(carrier.result(result))
    return Carried(tuple(step.step for step in steps), carrier.left_out)


def _finished(source: TrialFolder, data: Dataset) -> TrialResult:
    """Return the result of a trial whose networks can be taken.

    Raises:
        RunsError: it has none, failed, or was measured on other rows than `data`.
    """
    result = source.result()
    if result is None:
        raise RunsError("it has not ended")
    if result.state == "failed":
        raise RunsError(f"it failed ({result.error})")
    known = result.provenance.data_sha256 if result.provenance else None
    if known is not None and known != data.sha256:
        raise RunsError("its data have changed since, so its networks were trained on other rows")
    return result


def _with_repeats(
    source: TrialFolder,
    spec: TrialSpec,
    target: TrialFolder,
    base_dir: Path,
    data: Dataset,
    steps: list[StepRecord],
) -> list[StepRecord]:
    """Carry over the same trial with further seeds, if any; return the steps as their means."""
    found = []
    for number in range(1, spec.repeats):
        other = spec.model_copy(update={"seed": spec.seed + number, "repeats": 1})
        carry_over(source.repeat(number), other, target.repeat(number), base_dir, data)
        found.append(target.repeat(number).steps())
    return averaged(steps, found) if found else steps


class _Carrier:
    """Takes the steps of one trial over, one by one."""

    def __init__(
        self,
        source: TrialFolder,
        spec: TrialSpec,
        target: TrialFolder,
        base_dir: Path,
        data: Dataset,
        result: TrialResult,
    ) -> None:
        self.source, self.target = source, target
        self.prepared = _without_teacher(prepare(spec, base_dir, data, to_run=False))
        model = new_model(spec, data, base_dir).eval()
        dense = Dense(model, dict(result.dense), 0.0, cached=True)
        self.session = self.prepared.session(dense, data)
        self.steps: list[StepRecord] = []
        self.left_out: dict[int, str] = {}
        self._met = False
        #: Whether it computes what it did, bit for bit, and is built of the same code.
        self._same_numbers = _built_of(source.spec()) == _built_of(spec)

    def carry(self, record: StepRecord) -> None:
        """Take an accepted step over, or note why not."""
        try:
            self.steps.append(self._step(record))
        except RfpruneError as error:
            self.left_out[record.step] = f"step {record.step}: {str(error).removesuffix('.')}"

    def _step(self, record: StepRecord) -> StepRecord:
        begun = time.monotonic()
        session, prunable = self.session, self.prepared.deployment.prunable
        checkpoint = self.source.checkpoint(record.step)
        if not checkpoint.exists():
            raise RunsError("its checkpoint has been removed")
        state = load_step(checkpoint, session.model)
        if why := what_breaks(prunable, state.masks, self.prepared.method.learns):
            raise RunsError(why)
        session.masks = state.masks
        prunable.take(state.values)
        deployment = self.prepared.deployment
        if self._same_numbers and deployment.measured_in_its_numbers(record):
            evaluation = _known(record)
            measured = deployment.measure_moved(session, self.target.path / "hls")
        else:
            evaluation = self._scores(record.step)
            measured = deployment.measure(session, self.target.path / "hls")
        link_or_copy(checkpoint, self.target.checkpoint(record.step))
        write_json(self.target.estimate(record.step), measured.costs)
        self._met = self._within_budgets(state.masks)
        return StepRecord(
            step=record.step,
            accepted=True,
            fraction=record.fraction,
            values={**evaluation.metrics, **measured.quantities},
            errors=evaluation.errors,
            constant=evaluation.constant,
            live=measured.live,
            groups=measured.groups,
            reuse_factor=measured.reuse_factor,
            strategy=measured.strategy,
            seconds=round(time.monotonic() - begun, 3),
        )

    def _scores(self, step: int) -> Evaluation:
        """Measure the network in its new types.

        Raises:
            RunsError: it is no longer good enough to be accepted.
        """
        session = self.session
        with torch.no_grad():
            evaluation = session.measured()
        name, bound = session.task.spec.score_name, session.accepted_from
        score = evaluation.metrics[name]
        # The dense network is accepted however it does, as it is in a trial that runs.
        if step and not session.task.accepts(score, bound):
            raise RunsError(
                f"{name} is {score:.4g} in the new types, and accepted from {bound:.4g} on"
            )
        return evaluation

    def _within_budgets(self, masks: Masks | None) -> bool:
        """Return whether what is left fits the trial's budgets on this hardware."""
        prunable = self.prepared.deployment.prunable
        used = dict(zip(prunable.resources, prunable.used(prunable.kept(masks)), strict=True))
        amounts = self.session.amounts
        return all(used[name] <= most * (1 + _ROUNDING) for name, most in amounts.items())

    def result(self, known: TrialResult) -> TrialResult:
        """Return the trial's result; to be called when its last step was taken over."""
        # What a method that chooses values holds is known to the circuit alone.
        kept = self.prepared.method.chooses_values
        return known.model_copy(
            update={
                "trial": self.target.number,
                "attempt": 0,
                "stopped": "retargeted" if known.state == "complete" else known.stopped,
                "budgets_met": known.budgets_met if kept else self._met,
                "final_step": self.steps[-1].step,
                "seconds": round(sum(step.seconds for step in self.steps), 3),
                "notes": [
                    *self.prepared.notes(),
                    f"The networks are those of trial {self.source.number} of "
                    f"'{self.source.home.name}', measured on other hardware.",
                ],
            }
        )


def _built_of(spec: TrialSpec) -> dict[str, Any]:
    """Return what decides the code and the numbers of a trial's networks."""
    values = {spec.target.section: spec.canonical()[spec.target.section]}
    for path in spec.target.outside:
        set_path(values, path, None)
    return values


def _known(record: StepRecord) -> Evaluation:
    """Return the scores of a step; costs are among its values, and are measured anew."""
    scores = {name: value for name, value in record.values.items() if value is not None}
    return Evaluation(scores, record.errors, record.constant)


def _without_teacher(prepared: Prepared) -> Prepared:
    """Return the trial without distillation, whose teacher would answer on all training rows."""
    prune = prepared.spec.prune.model_copy(update={"distillation": 0.0})
    return replace(prepared, spec=prepared.spec.model_copy(update={"prune": prune}))


def what_breaks(prunable: Prunable, masks: Masks | None, learns: bool = False) -> str:
    """Return why a mask takes away something else than whole groups; nothing if it holds.

    Args:
        prunable: the groups on the new hardware.
        masks: of weights or kernels by layer; None = nothing is pruned.
        learns: whether the method does, which may have floors of its own.
    """
    if masks is None:
        return ""
    for name, mask in masks.items():
        n_pruned = int((mask == 0).sum())
        if n_pruned and name not in prunable.layers:
            return f"{name}: {n_pruned} weights are pruned, and nothing can be pruned there now"
    absent = next((name for name in prunable.layers if name not in masks), None)
    if absent is not None:
        return f"{absent}: can be pruned now, and the mask does not say what is left of it"
    kept = prunable.kept(masks)
    whole = prunable.masks(kept)
    for index, name in enumerate(prunable.layers):
        back = int(((whole[name] != 0) & (masks[name] != 0).logical_not()).sum())
        if back:
            return (
                f"{name}: {back} pruned weights share a group of {prunable.sizes[index]} with "
                "weights that are left"
            )
    n_kept = np.bincount(prunable.layer_index[kept], minlength=len(prunable.layers))
    for name, left, floor in zip(prunable.layers, n_kept, prunable.floor_of(learns), strict=True):
        if left < floor:
            return f"{name}: {left} groups are left, and {floor} have to stay"
    return ""
