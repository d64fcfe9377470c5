"""What is checked of a trial before anything is trained or written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from rfprune.core.named import InputShape
from rfprune.core.registry import importable
from rfprune.data import Dataset, load
from rfprune.errors import BudgetError, UnknownNameError
from rfprune.methods import Method, find_method
from rfprune.pruning import Session, final_amounts
from rfprune.spec import TrialSpec
from rfprune.tasks import Task, make_task
from rfprune.training import (
    Fit,
    no_gain,
    rehearse,
    select_device,
    teacher_of,
    trainer_of,
    why_alone,
)
from rfprune.trial.dense import Dense, new_model
from rfprune.trial.target import Deployment, Target, target_of

__all__ = ["Prepared", "prepare"]


#: Rows on which an untrained network is called.
_CALLED_ROWS = 8


@dataclass(frozen=True)
class Prepared:
    """A trial whose input has been checked in full.

    Attributes:
        spec: the trial.
        data: the rows.
        task: what the training is for, as it is for this network.
        target: what it runs on.
        deployment: the network there.
        method: how it is pruned.
        amounts: final budgets by resource; empty where the method's own reward decides.
        base_dir: folder that relative paths and the user's own modules refer to.
    """

    spec: TrialSpec
    data: Dataset
    task: Task
    target: Target
    deployment: Deployment
    method: Method
    amounts: dict[str, float]
    base_dir: Path

    def notes(self) -> list[str]:
        """Return what the user should know before training, one sentence each."""
        dense = self.deployment.prunable.dense
        unused = [
            f"prune.budget.{name}: the dense network uses no {name}, so this budget prunes nothing."
            for name in self.amounts
            if self.method.prunes and dense[name] <= 0
        ]
        model, untrained = self.spec.model, []
        if self.spec.train.epochs == 0 and model.weights is None and not model.is_file:
            untrained.append(
                "train.epochs: 0 takes the network as it is, and model.weights names no file; "
                f"unless '{model.name}' loads weights itself, the network is untrained."
            )
        return [
            *self.data.notes,
            *self.deployment.notes(),
            *unused,
            *untrained,
            *self._watched_once(),
        ]

    def _watched_once(self) -> list[str]:
        """Say of keys that look at validation rows that they do so for the dense network alone."""
        train = self.spec.train
        keys = [key for key in ("early_stopping", "plateau") if getattr(train, key) is not None]
        if not keys or not self.method.prunes:
            return []
        named = " and ".join(f"train.{key}" for key in keys)
        verb = "act" if len(keys) > 1 else "acts"
        return [
            f"{named} {verb} on the training of the dense network alone; fine-tuning lasts as "
            "long as prune.epochs_per_step says."
        ]

    def apart(self) -> str:
        """Return why fine-tuning is not done together with that of other trials; empty if it is."""
        spec, prunable = self.spec, self.deployment.prunable
        if spec.train.function is not None:
            return f"'{spec.train.function}' (train.function) trains in its own way"
        if self.method.chooses_values or self.method.learns:
            return f"prune.method: {spec.prune.method} trains in its own way"
        if not prunable.zeroes:
            return f"{spec.target.title} keeps pruned weights under masks of each network's own"
        if spec.prune.fixed_point:
            return "prune.fixed_point computes in the numbers of each network's own types"
        model = new_model(spec, self.data, self.base_dir)
        how = Fit(1, spec.train.learning_rate, spec.train, spec.seed, task=self.task)
        why = why_alone(model, self.data.x_train, self.data.y_train, how)
        device = select_device(spec.train.device)
        return why or no_gain(model, device, spec.train.batch_size)

    def session(self, dense: Dense, data: Dataset, folder: Path | None = None) -> Session:
        """Return a pruning run at its start.

        Args:
            dense: the dense network, which pruning changes in place.
            data: the rows, on the network's device.
            folder: of the trial, where a method that learns keeps its checkpoints.
        """
        spec = self.spec
        if not self.amounts and self.method.prunes:
            # Without a budget to approach there is only one step.
            once = spec.prune.model_copy(update={"steps": 1, "schedule": "binary"})
            spec = spec.model_copy(update={"prune": once})
        elif self.method.chooses_values or spec.prune.walked:
            # Budgets lie on a ladder, on which every step is as long.
            ladder = spec.prune.model_copy(update={"schedule": "constant"})
            spec = spec.model_copy(update={"prune": ladder})
        self.deployment.arrange(dense.model)
        prunable = self.deployment.prunable
        prunable.start(dense.model)
        # The same as before, unless it is parts of what is built of the trained network.
        amounts = final_amounts(prunable.dense, spec.prune.budget) if self.amounts else {}
        distils = spec.prune.distillation > 0
        return Session(
            spec=spec,
            model=dense.model,
            data=data,
            task=self.task,
            prunable=prunable,
            method=self.method,
            amounts=amounts,
            dense_score=dense.metrics[self.task.spec.score_name],
            teacher=teacher_of(dense.model, data.x_train, self.task) if distils else None,
            trainer=trainer_of(spec.train, self.base_dir),
            agent_dir=None if folder is None else folder / "agent",
        )


def prepare(
    spec: TrialSpec, base_dir: Path, data: Dataset | None = None, *, to_run: bool = True
) -> Prepared:
    """Check everything that can be known before training.

    Args:
        spec: the trial.
        base_dir: folder that relative paths refer to.
        data: the rows, if they are loaded already.
        to_run: also check what only a run needs: installed estimators and packages, and budgets
        that pruning can reach.

    Raises:
        InputError: data, network, target, groups or budget are wrong, in one sentence.
        MissingExtraError: the method needs a package that is not installed.
    """
    target = target_of(spec)
    try:
        with importable(base_dir):
            method = find_method(spec.prune.method)
    except UnknownNameError as error:
        raise UnknownNameError(f"prune.method: {error}") from None
    # A finished trial is shown and exported where its tools are not installed.
    if to_run:
        method.check_installed()
        target.check(spec, base_dir)
    task = make_task(spec.task, base_dir)
    rows = load(spec.data, base_dir, task) if data is None else data
    # Untrained, so that everything that depends on shapes alone fails before any training.
    model = new_model(spec, rows, base_dir)
    deployment = deploy(spec, method, model, rows.input_shape, rows.x_train, base_dir)
    prunable = deployment.prunable
    # An agent with its own reward may decide how much is pruned.
    rewarded = method.learns and spec.prune.agent.reward is not None
    free = rewarded and prunable.reward_may_decide
    amounts = {} if free else final_amounts(prunable.dense, spec.prune.budget)
    if method.prunes and to_run:
        _check_reachable(deployment, amounts)
    # After the model is known: its last operation decides whether it puts out logits.
    task = task.bound_to(model, rows.y_train)
    if to_run:
        trainer_of(spec.train, base_dir)
        rehearse(model, rows, task)
    return Prepared(spec, rows, task, target, deployment, method, amounts, base_dir)


def deploy(
    spec: TrialSpec, method: Method, model: nn.Module, shape: InputShape, x: Any, base_dir: Path
) -> Deployment:
    """Return an untrained network on its target, or refuse it: what ``rfprune check`` says of it.

    Args:
        spec: the trial.
        method: its method.
        model: the network.
        shape: of a sample; of several inputs by name.
        x: rows, of which a few are put through it.
        base_dir: folder that relative paths refer to.

    Raises:
        InputError: what the target does not take, why, and what to do instead.
    """
    deployment = target_of(spec).deploy(spec, method, model, shape, base_dir)
    # Called on real rows: a trace can differ from what the network does with values.
    deployment.check_called(model, x[:_CALLED_ROWS])
    return deployment


def _check_reachable(deployment: Deployment, amounts: dict[str, float]) -> None:
    """Raise if no pruning can reach a budget.

    Raises:
        BudgetError: names the resource, the least that is possible and what holds it.
    """
    prunable = deployment.prunable
    least, dense = prunable.least, prunable.dense
    for name, amount in amounts.items():
        # A fraction of the dense cost is rounded; a budget equal to the least must pass.
        if least[name] > amount * (1 + 1e-9):
            raise BudgetError(
                f"prune.budget.{name}: {amount:g} of {dense[name]:g} {name} cannot be reached: "
                f"{prunable.why_not_less(name, amount)}. The least is {least[name]:g} "
                f"({least[name] / dense[name]:.4g} of the dense network)."
            )
