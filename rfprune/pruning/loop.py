"""The iterative loop: score, select, mask, fine-tune, accept or not; then tighten the budget.

Follows arXiv 2308.05170 as implemented in hls4ml's ``dsp_aware_pruning``, with its defects left
out: masks are built for the reuse factors that hls4ml really uses, every accepted step is kept, and
choices are checked against the budget before they are applied. `steps` is a generator: the caller
decides what to do with each step, and may stop at any. What is pruned, groups of an FPGA or kernels
for an edge device, is the business of the session.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.methods import Choice
from rfprune.pruning.prunable import Masks, Values
from rfprune.pruning.schedule import Schedule, first, following
from rfprune.pruning.session import Evaluation, Purpose, Session
from rfprune.training import Fit
from rfprune.training.penalty import Penalty

__all__ = ["State", "Step", "dense_step", "steps"]


@dataclass(frozen=True)
class State:
    """Where the loop stands after a step; with the weights it is all that a resumption needs.

    Attributes:
        schedule: budgets done and to come.
        failed: rejected steps in a row.
        masks: masks of the last step, None before the first.
        prices: (R,) prices of the last step, None before the first or without any.
        values: what a method that chooses values has chosen, None without one.
    """

    schedule: Schedule
    failed: int = 0
    masks: Masks | None = None
    prices: FloatArray | None = None
    values: Values | None = None


@dataclass(frozen=True)
class Step:
    """One step of the loop. The session's model holds its weights until the next one is asked for.

    Attributes:
        index: 0 for the dense network.
        progress: of the budget, 0 = dense, 1 = final.
        accepted: whether the tolerance holds.
        measured: of the network on its target; its score on validation rows decides.
        masks: by layer name, 0 and 1 in the shape of torch's weights; of kernels (kernels,).
        choice: the method's choice, None for the dense network.
        state: where the loop stands after this step.
    """

    index: int
    progress: float
    accepted: bool
    measured: Evaluation
    masks: Masks
    choice: Choice | None
    state: State

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric by its name: ``val_M`` on validation rows, ``M`` on test rows."""
        return self.measured.metrics

    @property
    def budgets_met(self) -> bool:
        """Whether this step reached the final budgets."""
        return self.accepted and self.progress >= 1.0


def dense_step(session: Session) -> Step:
    """Return step 0: the dense network on its hardware, always accepted."""
    prune = session.spec.prune
    state = State(first(prune.schedule, prune.steps))
    return Step(0, 0.0, True, session.measured(), {}, None, state)


def steps(session: Session, state: State) -> Iterator[Step]:
    """Yield the steps after `state` until the budgets are met or the tolerance is broken.

    The model must hold the weights that belong to `state`. Between two steps, and before the first,
    the model is fine-tuned in place. Example::

        from pathlib import Path

        from rfprune.pruning import dense_step
        from rfprune.results import TrialFolder
        from rfprune.trial import prepare
        from rfprune.trial.dense import dense_network

        spec = TrialFolder(rfprune.open("trial").best().folder).spec()
        prepared = prepare(spec, Path.cwd())
        data, stored = prepared.data, Path("runs/dense")
        dense = dense_network(spec, data, prepared.task, stored, Path.cwd())
        session = prepared.session(dense, data)
        for step in rfprune.steps(session, dense_step(session).state):
            print(step.index, step.accepted, step.budgets_met, step.metrics["val_accuracy"])

    Args:
        session: a dense network on its hardware, with its data and its method.
        state: where the loop stands, as of `dense_step` or of an earlier step.

    Raises:
        BudgetError: the floors alone hold more than a budget.
        WorkError: a step could not be trained, built or measured.
    """
    if not session.method.prunes:
        return
    prune = session.spec.prune
    warms = prune.warmup_epochs and not session.method.chooses_values
    if state.schedule.step == 0 and warms and session.penalty(None) is not None:
        # Let the regularizer gather the weights in few groups before anything is pruned.
        pressed = session.penalty(None)
        _fine_tune(session, 0, prune.warmup_epochs, None, pressed, Purpose.UNMASKED)
    # After the warm-up: what is rejected goes back to the gathered weights.
    accepted = session.snapshot()
    while (progress := state.schedule.progress()) is not None:
        index = state.schedule.step + 1
        if index > 1 and prune.regrow_epochs and not session.method.chooses_values:
            # Without masks, so that pruned groups may come back before the next selection.
            # Prices of the last choice: what is scarce is pressed harder.
            pressed = session.penalty(state.prices)
            _fine_tune(session, index, prune.regrow_epochs, None, pressed, Purpose.UNMASKED)
        step = _one_step(session, index, progress, state)
        state = step.state
        if step.accepted:
            # Before the yield: the caller may stop here and never come back.
            accepted = session.snapshot()
        yield step
        if step.budgets_met or state.failed > prune.patience:
            return
        if not step.accepted:
            # What was rejected is tried again nearer to what was accepted, from its weights.
            session.restore(accepted)


def _one_step(session: Session, index: int, progress: float, state: State) -> Step:
    choice, masks = _chosen_and_trained(session, index, progress, state)
    measured = session.measured()
    score = measured.metrics[session.task.spec.score_name]
    # By validation rows alone; test rows are only written down.
    accepted = session.task.accepts(score, session.accepted_from)
    after = State(
        schedule=following(state.schedule, progress, accepted),
        failed=0 if accepted else state.failed + 1,
        masks=masks,
        prices=choice.prices,
        values=session.prunable.values(),
    )
    return Step(index, progress, accepted, measured, masks, choice, after)


def _chosen_and_trained(
    session: Session, index: int, progress: float, state: State
) -> tuple[Choice, Masks]:
    """Choose what stays and train it; or both at once, where the method does that."""
    prune = session.spec.prune
    if session.method.chooses_values:
        # A ladder's rung starts from the last one that was accepted, not from one that was
        # rejected.
        reached = state.schedule.good
        before = session.budget(reached) if reached > 0 else None
        trained = session.prunable.level(session, index, session.budget(progress), before)
        keep = session.prunable.kept(trained.masks)
        gap = float(np.median(trained.gaps)) if trained.gaps else None
        return Choice(keep, trained.prices, gap, trained.gaps), trained.masks
    choice = session.select(index, progress)
    masks = session.prunable.masks(choice.keep)
    # In the last epochs the regularizer lets go, which undoes its bias, and the step anneals.
    # At least one epoch stays under the regularizer.
    released = min(prune.regularizer.release_epochs, prune.epochs_per_step - 1)
    pressed = session.penalty(choice.prices)
    _fine_tune(session, index, prune.epochs_per_step - released, masks, pressed)
    if released:
        _fine_tune(session, index, released, masks, None, Purpose.RELEASE)
    return choice, session.repair(masks, progress)


def _fine_tune(
    session: Session,
    index: int,
    epochs: int,
    masks: Masks | None,
    penalty: Penalty | None,
    purpose: Purpose = Purpose.MASKED,
) -> None:
    """Train in place; a new optimizer each time, so that no momentum pulls pruned weights back."""
    spec, prune = session.spec, session.spec.prune
    releases = purpose is Purpose.RELEASE
    usual = prune.learning_rate_schedule or spec.train.learning_rate_schedule
    rate = prune.learning_rate or spec.train.learning_rate
    # Released epochs always anneal, so that a step ends settled.
    schedule = {"learning_rate_schedule": "cosine" if releases else usual}
    how = Fit(
        epochs=epochs,
        learning_rate=rate * (prune.regularizer.release_rate if releases else 1.0),
        train=spec.train.model_copy(update=schedule),
        seed=session.seed(index, purpose),
        penalty=penalty,
        teacher=session.teacher,
        distillation=prune.distillation,
    )
    session.fit(how, masks)
