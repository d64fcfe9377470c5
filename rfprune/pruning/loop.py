"""The iterative loop: score, select, mask, fine-tune, accept or not; then tighten the budget.

Follows arXiv 2308.05170 as implemented in hls4ml's ``dsp_aware_pruning``, with its defects left
out: masks are built for the reuse factors that hls4ml really uses, every accepted step is kept, and
choices are checked against the budget before they are applied. `steps` is a generator: the caller
decides what to do with each step, and may stop at any. What is pruned, groups of an FPGA or kernels
for an edge device, is the business of a `Subject`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rfprune.arrays import FloatArray
from rfprune.methods import Choice
from rfprune.pruning.schedule import Schedule, first, following
from rfprune.pruning.subject import Masks, Purpose, Subject
from rfprune.spec import TrainSpec, TrialSpec
from rfprune.training import Fit, Penalty

__all__ = ["State", "Step", "dense_step", "steps"]


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
    prices: FloatArray | None = None


@dataclass(frozen=True)
class Step:
    """One step of the loop. The subject's model holds its weights until the next one is asked for.

    Attributes:
        index: 0 for the dense network.
        progress: of the budget, 0 = dense, 1 = final.
        accepted: whether the accuracy tolerance holds.
        val_accuracy: decides.
        accuracy: test accuracy, reported only.
        masks: of weights or kernels, by layer name.
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


def dense_step(subject: Subject) -> Step:
    """Return step 0: the dense network on its hardware, always accepted."""
    prune = subject.spec.prune
    state = State(first(prune.schedule, prune.steps))
    return Step(0, 0.0, True, subject.val_accuracy(), subject.accuracy(), {}, None, state)


def steps(subject: Subject, state: State) -> Iterator[Step]:
    """Yield the steps after `state` until the budgets are met or the tolerance is broken.

    The model must hold the weights that belong to `state`. Between two steps, and before the first,
    the model is fine-tuned in place.
    """
    if not subject.method.prunes:
        return
    if state.schedule.step == 0:
        _warm_up(subject)
    accepted = subject.snapshot()
    while (progress := state.schedule.progress()) is not None:
        index = state.schedule.step + 1
        if index > 1:
            _regrow(subject, index, state)
        step = _one_step(subject, index, progress, state)
        state = step.state
        if step.accepted:
            accepted = subject.snapshot()
        yield step
        if step.budgets_met or state.failed > subject.spec.prune.patience:
            return
        if not step.accepted:
            subject.restore(accepted)


def _one_step(subject: Subject, index: int, progress: float, state: State) -> Step:
    choice = subject.select(index, progress)
    masks = subject.masks(choice)
    _masked(subject, index, masks, choice.prices)
    val_accuracy = subject.val_accuracy()
    accepted = val_accuracy >= subject.accepted_from
    after = State(
        schedule=following(state.schedule, progress, accepted),
        failed=0 if accepted else state.failed + 1,
        masks=masks,
        prices=choice.prices,
    )
    return Step(index, progress, accepted, val_accuracy, subject.accuracy(), masks, choice, after)


def _masked(subject: Subject, index: int, masks: Masks, prices: FloatArray | None) -> None:
    """Fine-tune under masks; in the last epochs the regularizer lets go and the step anneals."""
    prune = subject.spec.prune
    released = min(prune.regularizer.release_epochs, prune.epochs_per_step - 1)
    _fine_tune(subject, index, prune.epochs_per_step - released, masks, subject.penalty(prices))
    if released:
        _fine_tune(subject, index, released, masks, None, Purpose.RELEASE)


def _fine_tune(
    subject: Subject,
    index: int,
    epochs: int,
    masks: Masks | None,
    penalty: Penalty | None,
    purpose: Purpose = Purpose.MASKED,
) -> None:
    """Train in place; a new optimizer each time, so that no momentum pulls pruned weights back."""
    spec = subject.spec
    releases = purpose is Purpose.RELEASE
    rate = spec.prune.learning_rate or spec.train.learning_rate
    how = Fit(
        epochs=epochs,
        learning_rate=rate * (spec.prune.regularizer.release_rate if releases else 1.0),
        train=_train(spec, cosine=releases),
        seed=subject.seed(index, purpose),
        penalty=penalty,
        teacher=subject.teacher,
        distillation=spec.prune.distillation,
    )
    subject.fit(how, masks)


def _train(spec: TrialSpec, cosine: bool) -> TrainSpec:
    """Return the training settings; released epochs anneal, so that a step ends settled."""
    schedule = spec.prune.learning_rate_schedule or spec.train.learning_rate_schedule
    chosen = "cosine" if cosine else schedule
    return spec.train.model_copy(update={"learning_rate_schedule": chosen})


def _warm_up(subject: Subject) -> None:
    """Let the regularizer gather the weights in few groups before anything is pruned."""
    epochs = subject.spec.prune.warmup_epochs
    if epochs and subject.penalty(None) is not None:
        _fine_tune(subject, 0, epochs, None, subject.penalty(None), Purpose.UNMASKED)


def _regrow(subject: Subject, index: int, state: State) -> None:
    """Train without masks, so that pruned groups may come back before the next selection."""
    epochs = subject.spec.prune.regrow_epochs
    if epochs:
        _fine_tune(subject, index, epochs, None, subject.penalty(state.prices), Purpose.UNMASKED)
