"""One pruning run: a network, how it is trained, and how it is decided what goes.

The only class that the loop works on. What can be pruned, and what it costs, is a `Prunable` of the
target; what is good is said by the task.
"""

from __future__ import annotations

import copy
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from enum import IntEnum, unique
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.data import Dataset
from rfprune.methods import Choice, Method, Problem, check_choice
from rfprune.methods.coupled import select_coupled
from rfprune.pruning.budget import Growth, step_budget, step_fractions, walked_growth
from rfprune.pruning.prunable import Masks, Prunable, Values
from rfprune.pruning.regularizers import group_penalty, weight_penalty
from rfprune.pruning.scores import score_groups
from rfprune.spec import TrialSpec
from rfprune.tasks import Task
from rfprune.training import Fit, Penalty, Trainer, measure, outputs_of, train

__all__ = ["Evaluation", "Purpose", "Session", "Snapshot", "drawn_seed"]


#: Choices that are made again of one step, by costs that follow from what is built.
_CORRECTIONS = 3


@unique
class Purpose(IntEnum):
    """What random numbers of a step are drawn for; a number once given keeps its meaning.

    Otherwise a trial that an earlier version began would not continue with the same numbers.
    """

    MASKED = 0  #: fine-tuning under masks
    SCORE = 1
    SELECT = 2
    UNMASKED = 3  #: warm-up, and training in which what was pruned may come back
    RELEASE = 4  #: fine-tuning without the regularizer
    NOISE = 5  #: of the inputs that an agent sees
    SETTLE = 6  #: rows on which batch norms are settled before an agent measures
    SHORTLIST = 7  #: fine-tuning of the agent's best networks, of which one is kept


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a network on its target.

    Attributes:
        metrics: of the task: ``val_...`` on validation rows, which decide, ``float_val_...`` the
            same in floats where the target computes otherwise, and the others on test rows.
        errors: standard error of the score, by the name of the score.
        constant: whether the network gives all validation rows one and the same answer.
    """

    metrics: dict[str, float]
    errors: dict[str, float]
    constant: bool


@dataclass(frozen=True)
class Snapshot:
    """Where a session stood.

    Attributes:
        weights: a copy of the model's state.
        masks: of the last training, None if it had none.
        values: what was chosen beside them, or None.
    """

    weights: dict[str, Tensor]
    masks: Masks | None
    values: Values | None


@dataclass(kw_only=True)
class Session:
    """One pruning run.

    Attributes:
        spec: the trial.
        model: changed in place.
        data: on the model's device.
        task: what the training is for.
        prunable: what can go, and what it costs.
        method: how it is chosen what stays.
        amounts: final budget by resource; empty = no budget.
        dense_score: of the dense network on the validation rows; reference of the tolerance.
        teacher: what the dense network answers on the training rows, or None.
        trainer: what trains: the loop of `rfprune.training`, or the user's own.
        agent_dir: where a method that learns keeps its checkpoints, one folder per step.
        masks: of the last training; None = everything is left.
        dense: a copy of the network before anything was pruned, for methods that learn.
    """

    spec: TrialSpec
    model: nn.Module
    data: Dataset
    task: Task
    prunable: Prunable
    method: Method
    amounts: dict[str, float]
    dense_score: float
    teacher: Any = None
    trainer: Trainer = train
    agent_dir: Path | None = None
    masks: Masks | None = None
    dense: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        """Keep a copy of the dense network where a method plays on it."""
        self.dense = copy.deepcopy(self.model).eval() if self.method.learns else self.model

    # Scores and acceptance ------------------------------------------------------------------

    @property
    def accepted_from(self) -> float:
        """The worst score of a step that is accepted."""
        prune = self.spec.prune
        return self.task.bound(self.dense_score, prune.tolerance, prune.tolerance_absolute)

    def measured(self) -> Evaluation:
        """Return every metric, on validation rows, which decide, and on test rows.

        They are those of the network as its target computes it. Where that is not in floats, the
        float values on validation rows are kept beside them.
        """
        data, task = self.data, self.task
        with self._what_is_left():
            built = self.prunable.deployed(self.model)
            output = outputs_of(built, data.x_val, task)
            tested = measure(built, data.x_test, data.y_test, task, data.w_test)
            floats = {}
            if built is not self.model:
                floats = measure(self.model, data.x_val, data.y_val, task, data.w_val)
        found = task.measure(output, data.y_val, data.w_val)
        error = task.standard_error(output, data.y_val, data.w_val)
        return Evaluation(
            metrics={
                **{f"val_{alias}": value for alias, value in found.items()},
                **{f"float_val_{alias}": value for alias, value in floats.items()},
                **tested,
            },
            errors={task.spec.score_name: error} if math.isfinite(error) else {},
            constant=task.one_answer(output),
        )

    def _what_is_left(self) -> AbstractContextManager[Any]:
        """While open, the model computes without what is pruned."""
        if self.masks is None or self.prunable.zeroes:
            return nullcontext()
        return self.prunable.masked(self.model, self.masks)

    # Random numbers ---------------------------------------------------------------------------

    def seed(self, step: int, purpose: Purpose) -> int:
        """Return a seed that depends on the trial, the step and the purpose alone."""
        return drawn_seed(self.spec.seed, step, purpose)

    def rng(self, step: int, purpose: Purpose) -> np.random.Generator:
        """Return random numbers that depend on the trial, the step and the purpose alone."""
        return np.random.default_rng(self.seed(step, purpose))

    # Budgets ----------------------------------------------------------------------------------

    def budget(self, progress: float) -> FloatArray:
        """Return (R,) the budget at `progress` between dense (0) and final (1); inf = no limit."""
        prunable = self.prunable
        return step_budget(prunable.resources, prunable.dense, self.amounts, progress, self._growth)

    def budget_fractions(self, progress: float) -> dict[str, float]:
        """Return each budget at `progress` as a fraction of the dense network's use."""
        return step_fractions(self.prunable.dense, self.amounts, progress, self._growth)

    @cached_property
    def _growth(self) -> Growth | None:
        """By how much more than its end the start of a ladder is; None where there is none."""
        prune = self.spec.prune
        if prune.walked and self.amounts:
            return walked_growth(self.prunable.dense, prune.budget, prune.steps)
        # Every rung multiplies the budget by the same factor, and the last is the final budget.
        return prune.widths.ladder**-prune.steps if self.method.chooses_values else None

    def price_table(self, prices: FloatArray | None) -> dict[str, float]:
        """Return (R,) prices by resource, for those that have a budget."""
        if prices is None:
            return {}
        place = {name: at for at, name in enumerate(self.prunable.resources)}
        return {name: float(prices[place[name]]) for name in self.amounts}

    # Selection --------------------------------------------------------------------------------

    def score_batches(self) -> list[tuple[Any, ...]]:
        """Return training rows for gradient-based scores, with targets and weights, if any.

        They are always the same ones.
        """
        rows, size = self.prunable.score_rows, self.prunable.score_batch
        x, y = self.data.x_train[:rows], self.data.y_train[:rows]
        weight = self.task.weights(self.data.y_train, self.data.w_train)
        starts = range(0, len(x), size)
        parts = [slice(start, start + size) for start in starts]
        columns = [x, y, *([] if weight is None else [weight[:rows]])]
        return [tuple(column[part] for column in columns) for part in parts]

    def values(self, step: int) -> FloatArray:
        """Return (G,) what each group is worth."""
        # A method of single weights has whole kernels to choose from where weights cannot go alone.
        own = self.method.kernel_score if self.prunable.coupled else None
        prune, rng = self.spec.prune, self.rng(step, Purpose.SCORE)
        with self._what_is_left():
            value = score_groups(
                self.model,
                self.prunable,
                own or prune.score,
                prune.normalize,
                self.score_batches(),
                rng,
                task=self.task,
            )
        # What is masked and keeps its values is worth nothing until it is taken back.
        return value if self.prunable.zeroes else value * self.prunable.kept(self.masks)

    def select(self, step: int, progress: float) -> Choice:
        """Return which groups the method keeps at `progress` of the budgets."""
        prunable = self.prunable
        prunable.correct_costs(self.model, None)
        choice = self._selected(step, progress)
        # An agent learns on the costs that it began with.
        for _ in range(0 if self.method.learns else _CORRECTIONS):
            if not prunable.correct_costs(self.model, prunable.masks(choice.keep)):
                break
            choice = self._selected(step, progress)
        return choice

    def _selected(self, step: int, progress: float) -> Choice:
        prunable = self.prunable
        problem = self.problem(step, progress)
        if prunable.coupled:
            choice = select_coupled(self.method, problem, prunable.cost)
        else:
            choice = self.method.select(problem)
        check_choice(problem, choice)
        return choice

    def problem(self, step: int, progress: float) -> Problem:
        """Return the selection problem of one step."""
        prunable, fixed = self.prunable, self.prunable.fixed
        budget = self.budget(progress)
        return Problem(
            value=self.values(step),
            cost=prunable.cost(prunable.kept(self.masks)),
            # Methods choose among groups only: what no pruning frees is taken off first.
            budget=np.maximum(budget - fixed, 0.0),
            layer=prunable.layer_index,
            floor=prunable.floor_of(self.method.learns),
            used=lambda keep: prunable.used(keep) - fixed,
            # A generator of its own for each purpose: what scores draw does not move what methods
            # draw.
            rng=self.rng(step, Purpose.SELECT),
            merit=self.masked_merit,
            agent=self.spec.prune.agent,
            task=prunable.game(self, step, budget) if self.method.learns else None,
            tuned=prunable.tuner(self, step),
            costs_at=prunable.cost if prunable.coupled else None,
            agent_folder=None if self.agent_dir is None else self.agent_dir / f"{step:03d}",
            resources=prunable.resources,
        )

    def repair(self, masks: Masks, progress: float) -> Masks:
        """Return masks under which what is built is within the budget, and hold the model to them.

        Raises:
            BudgetError: nothing that may go is left.
        """
        self.masks = self.prunable.repair(self.model, masks, self.budget(progress))
        return self.masks

    def masked_merit(self, keep: BoolArray) -> float:
        """Return how good the network is with only the groups in `keep` (G,), not fine-tuned."""
        masked = self.prunable.masked(self.model, self.prunable.masks(keep))
        with masked, self.prunable.rounded(self.model):
            data = self.data
            found = measure(self.model, data.x_val, data.y_val, self.task, data.w_val)
        # Larger is better, so that no method needs to know the direction.
        return self.task.merit(found[self.task.score])

    # Training ---------------------------------------------------------------------------------

    def penalty(self, prices: FloatArray | None) -> Penalty | None:
        """Return the regularizer, or None if its weight is 0 in every layer.

        A group's factor is ``weight * sqrt(weights in the group)`` (Yuan and Lin 2006), so that one
        weight suits groups of different size. With ``prune.regularizer.priced`` it is multiplied by
        ``1 + price . cost / mean``: more for what occupies scarce resources.

        Args:
            prices: (R,) of the step's selection, or None.
        """
        if self.method.penalty == "none":
            return None
        regularizer = self.spec.prune.regularizer
        weights = [weight for weight in self.prunable.weights if not weight.follows]
        factors = self._price_factors(prices)
        strength = []
        for weight in weights:
            name = self.prunable.layers[weight.layer]
            own = self.spec.prune.layer(name).regularizer_weight
            # The root of the group's size, as Yuan and Lin: large groups have large norms.
            size = weight.size**0.5 if self.method.penalty == "group" else 1.0
            assert own is not None
            strength.append(torch.from_numpy(own * size * factors[weight.layer]).float())
        # None saves a pass over all weights in every update.
        if all(float(part.max()) == 0 for part in strength):
            return None
        build = group_penalty if self.method.penalty == "group" else weight_penalty
        return build(self.model, weights, strength, regularizer.form == "proximal")

    def _price_factors(self, prices: FloatArray | None) -> list[FloatArray]:
        """Return, by layer, (G_l,) by how much more than usual each group is pressed."""
        counts = self.prunable.counts
        factors = np.ones(int(counts.sum()))
        if self.spec.prune.regularizer.priced and prices is not None:
            # A resource without a limit has no price; the mean makes the factor unit-free.
            finite = np.where(np.isfinite(prices), prices, 0.0)
            worth = self.prunable.cost(np.ones(len(factors), dtype=bool)) @ finite
            mean = float(worth.mean())
            factors = 1.0 + worth / mean if mean > 0 else factors
        return list(np.split(factors, np.cumsum(counts)[:-1]))

    def fit(self, how: Fit, masks: Masks | None) -> None:
        """Train under masks, or the whole network; what is left afterwards is what was trained."""
        self.masks = masks
        by_parameter = None
        if masks is not None and self.prunable.zeroes:
            by_parameter = self.prunable.by_parameter(masks)
        # Where the target keeps values under masks, `_what_is_left` applies them and training does
        # not.
        how = replace(how, masks=by_parameter, task=self.task, weight=self.data.w_train)
        with self._what_is_left(), self.prunable.rounded(self.model):
            self.trainer(self.model, self.data, how)

    def snapshot(self) -> Snapshot:
        """Return a copy of everything that training changes."""
        weights = {name: v.detach().clone() for name, v in self.model.state_dict().items()}
        masks = None if self.masks is None else dict(self.masks)
        return Snapshot(weights, masks, self.prunable.values())

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""
        self.model.load_state_dict(snapshot.weights)
        self.masks = snapshot.masks
        self.prunable.take(snapshot.values)


def drawn_seed(seed: int, step: int, purpose: int) -> int:
    """Return a seed that depends on these numbers alone.

    So a resumed trial draws the same numbers as one that was never interrupted.
    """
    mixed = np.random.SeedSequence([seed % 2**32, step, purpose])
    return int(mixed.generate_state(1)[0])
