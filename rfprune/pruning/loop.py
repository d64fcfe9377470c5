"""The iterative loop: score, select, mask, fine-tune, accept or not; then tighten the budget.

Follows arXiv 2308.05170 as implemented in hls4ml's ``dsp_aware_pruning``, with its defects left
out: masks are built for the reuse factors that hls4ml really uses, every accepted step is kept, and
choices are checked against the budget before they are applied. `steps` is a generator: the caller
decides what to do with each step, and may stop at any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import nn

from rfprune.groups import Masks
from rfprune.methods import Choice, check_choice
from rfprune.pruning.schedule import Schedule, first, following
from rfprune.pruning.session import Session
from rfprune.scores import score_groups
from rfprune.spec import TrainSpec, TrialSpec
from rfprune.training import Fit, Penalty, fit, fixed_point

__all__ = ["State", "Step", "dense_step", "steps"]

#: What random numbers are drawn for; see `Session.seed`.
_MASKED, _UNMASKED, _RELEASE = 0, 3, 4


@dataclass(frozen=True)
class State:
    """Where the loop stands after a step; with the weights it is all that a resumption needs.

    Attributes:
        schedule: budgets done and to come.
        failed: rejected steps in a row.
        masks: masks of the last step, None before the first.
        prices: (R,) prices of the last step, None before the first or without any.
    """

    schedule: Schedule
    failed: int = 0
    masks: Masks | None = None
    prices: np.ndarray | None = None


@dataclass(frozen=True)
class Step:
    """One step of the loop. The session's model holds its weights until the next one is asked for.

    Attributes:
        index: 0 for the dense network.
        progress: of the budget, 0 = dense, 1 = final.
        accepted: whether the accuracy tolerance holds.
        val_accuracy: decides.
        accuracy: test accuracy, reported only.
        masks: weight masks by layer name.
        choice: the method's choice, None for the dense network.
        state: where the loop stands after this step.
    """

    index: int
    progress: float
    accepted: bool
    val_accuracy: float
    accuracy: float
    masks: Masks
    choice: Choice | None
    state: State

    @property
    def budgets_met(self) -> bool:
        """Whether this step reached the final budgets."""
        return self.accepted and self.progress >= 1.0


def dense_step(session: Session) -> Step:
    """Return step 0: the dense network on its hardware, always accepted."""
    prune = session.spec.prune
    state = State(first(prune.schedule, prune.steps))
    return Step(0, 0.0, True, session.val_accuracy(), session.accuracy(), {}, None, state)


def steps(session: Session, state: State) -> Iterator[Step]:
    """Yield the steps after `state` until the budgets are met or the tolerance is broken.

    The model must hold the weights that belong to `state`. Between two steps, and before the first,
    the model is fine-tuned in place.
    """
    if not session.method.prunes:
        return
    if state.schedule.step == 0:
        _warm_up(session)
    accepted = _Weights(session.model)
    while (progress := state.schedule.progress()) is not None:
        index = state.schedule.step + 1
        if index > 1:
            _regrow(session, index, state)
        step = _one_step(session, index, progress, state)
        state = step.state
        if step.accepted:
            accepted = _Weights(session.model)
        yield step
        if step.budgets_met or state.failed > session.spec.prune.patience:
            return
        if not step.accepted and state.schedule.kind == "binary":
            accepted.restore(session.model)


def _one_step(session: Session, index: int, progress: float, state: State) -> Step:
    choice = _select(session, index, progress)
    masks = session.groups.masks(choice.keep)
    _masked(session, index, masks, choice.prices)
    val_accuracy = session.val_accuracy()
    accepted = val_accuracy >= session.accepted_from
    after = State(
        schedule=following(state.schedule, progress, accepted),
        failed=0 if accepted else state.failed + 1,
        masks=masks,
        prices=choice.prices,
    )
    return Step(index, progress, accepted, val_accuracy, session.accuracy(), masks, choice, after)


def _select(session: Session, index: int, progress: float) -> Choice:
    prune = session.spec.prune
    value = score_groups(
        session.model,
        session.groups,
        prune.score,
        prune.normalize,
        session.score_batches(),
        np.random.default_rng(session.seed(index, 1)),
    )
    problem = session.problem(value, progress, index)
    choice = session.method.select(problem)
    check_choice(problem, choice)
    return choice


def _masked(session: Session, index: int, masks: Masks, prices: np.ndarray | None) -> None:
    """Fine-tune under masks; the regularizer lets go in the last epochs if the file says so."""
    prune = session.spec.prune
    released = min(prune.regularizer.release_epochs, prune.epochs_per_step - 1)
    if session.penalty(prices) is None:
        released = 0
    _fine_tune(session, index, prune.epochs_per_step - released, masks, session.penalty(prices))
    if released:
        _fine_tune(session, index, released, masks, None, _RELEASE)


def _fine_tune(
    session: Session,
    index: int,
    epochs: int,
    masks: Masks | None,
    penalty: Penalty | None,
    purpose: int = _MASKED,
) -> None:
    """Train in place; a new optimizer each time, so that no momentum pulls pruned weights back."""
    spec = session.spec
    how = Fit(
        epochs=epochs,
        learning_rate=spec.prune.learning_rate or spec.train.learning_rate,
        train=_train(spec, cosine=purpose == _RELEASE),
        seed=session.seed(index, purpose),
        masks=None if masks is None else session.masks_by_path(masks),
        penalty=penalty,
        teacher=session.teacher,
        distillation=spec.prune.distillation,
    )
    with fixed_point(session.model, session.groups.plan, spec.prune.fixed_point):
        fit(session.model, session.data.x_train, session.data.y_train, how)


def _train(spec: TrialSpec, cosine: bool) -> TrainSpec:
    """Return the training settings; released epochs anneal, so that a step ends settled."""
    schedule = spec.prune.learning_rate_schedule or spec.train.learning_rate_schedule
    chosen = "cosine" if cosine else schedule
    return spec.train.model_copy(update={"learning_rate_schedule": chosen})


def _warm_up(session: Session) -> None:
    """Let the regularizer gather the weights in few groups before anything is pruned."""
    epochs = session.spec.prune.warmup_epochs
    if epochs and session.penalty(None) is not None:
        _fine_tune(session, 0, epochs, None, session.penalty(None), _UNMASKED)


def _regrow(session: Session, index: int, state: State) -> None:
    """Train without masks, so that pruned groups may come back before the next selection."""
    epochs = session.spec.prune.regrow_epochs
    if epochs:
        _fine_tune(session, index, epochs, None, session.penalty(state.prices), _UNMASKED)


class _Weights:
    """A copy of a model's state, to go back to."""

    def __init__(self, model: nn.Module) -> None:
        self._state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def restore(self, model: nn.Module) -> None:
        model.load_state_dict(self._state)
