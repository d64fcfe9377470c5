"""How trials of a study end and begin again: failures, early ends, orphans, retries, counts.

Knows the study alone, and derives everything from it, so that a crash between any two writes loses
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, TrialState

    from rfprune.search.storage import OwnedStudy

__all__ = [
    "DOMINATED",
    "EARLY",
    "RETRIED",
    "UNREACHABLE",
    "Counts",
    "count_trials",
    "fail",
    "queue_retries",
    "release_orphans",
    "stop_early",
    "to_be_retried",
]

#: Reasons of failures that say nothing about the point itself; such a trial is tried again.
RETRIED = ("orphan", "died", "memory", "disk")

#: Reasons of early ends: others are ahead at the same step; no pruning can reach a budget.
DOMINATED, UNREACHABLE = "dominated", "budget unreachable"
EARLY = (DOMINATED, UNREACHABLE)


@dataclass(frozen=True)
class Counts:
    """How many trials of a study are in which state.

    Attributes:
        complete: finished with finite objectives, infeasible ones among them.
        failed: ended without a result and not to be tried again.
        infeasible: complete, but against a constraint.
        running: told by nobody yet.
        waiting: queued, retries among them.
        duplicate: drawn a second time and not run.
        dominated: ended early because others were ahead.
        unreachable: not begun because no pruning can reach a budget.
        cut_off: left behind by a driver that ended; the next one goes on with them.
    """

    complete: int = 0
    failed: int = 0
    infeasible: int = 0
    running: int = 0
    waiting: int = 0
    duplicate: int = 0
    dominated: int = 0
    unreachable: int = 0
    cut_off: int = 0

    @property
    def done(self) -> int:
        """Trials that count against those wanted: complete ones and dominated ones."""
        return self.complete + self.dominated


def fail(study: OwnedStudy, number: int, reason: str, error: str = "") -> None:
    """Tell the study that running trial `number` failed, why, and in what words."""
    from optuna.trial import TrialState

    _end(study, number, TrialState.FAIL, reason, error)


def stop_early(
    study: OwnedStudy,
    number: int,
    reason: str,
    error: str,
    steps: Mapping[int, Mapping[str, float | None]],
) -> None:
    """Tell the study that running trial `number` ended early: pruned, in Optuna's word.

    Args:
        study: with the trial in it.
        number: of the trial.
        reason: one of `EARLY`.
        error: its case, in words.
        steps: the objectives at each accepted step. They are no intermediate values of Optuna's,
            which are one number each; so no sampler takes them for the values of the trial.
    """
    from optuna.trial import TrialState

    study.write_trial_attr(number, "steps", {str(step): dict(m) for step, m in steps.items()})
    _end(study, number, TrialState.PRUNED, reason, error)


def _end(study: OwnedStudy, number: int, state: TrialState, reason: str, error: str) -> None:
    # The reason first: a crash between the two leaves a running trial, which is swept again.
    study.write_trial_attr(number, "reason", reason)
    if error:
        study.write_trial_attr(number, "error", error)
    study.tell(number, state=state)


def release_orphans(study: OwnedStudy) -> int:
    """Tell FAIL for every trial whose driver is gone; return how many there were."""
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        fail(study, trial.number, "orphan")
    return len(running)


def queue_retries(study: Study, retries: int) -> int:
    """Queue what is to be tried again and is not queued yet; return how many there were.

    Derived from the trials alone, so that a crash between telling a failure and queueing its retry
    loses nothing. An orphan keeps its count of attempts: its driver went, not the trial.
    """
    trials = study.get_trials(deepcopy=False)
    followed = {trial.user_attrs.get("retry_of") for trial in trials}
    queued = 0
    for trial in trials:
        if trial.number in followed or not to_be_retried(trial, retries):
            continue
        attrs = trial.user_attrs
        attempt = attrs.get("attempt", 0) + (attrs["reason"] != "orphan")
        fixed = trial.system_attrs.get("fixed_params", {})
        study.enqueue_trial(
            {**fixed, **trial.params},
            user_attrs={
                "retry_of": trial.number,
                "attempt": attempt,
                "folder": attrs.get("folder", trial.number),
            },
        )
        queued += 1
    return queued


def to_be_retried(trial: FrozenTrial, retries: int) -> bool:
    """Return whether a failed trial says nothing about its point and has an attempt left."""
    reason = trial.user_attrs.get("reason")
    if trial.state.name != "FAIL" or reason not in RETRIED:
        return False
    return reason == "orphan" or int(trial.user_attrs.get("attempt", 0)) < retries


def count_trials(study: Study) -> Counts:
    """Return how many trials are in which state; retried failures are not counted as failed."""
    trials = study.get_trials(deepcopy=False)
    followed = {trial.user_attrs.get("retry_of") for trial in trials}
    found = dict.fromkeys(("COMPLETE", "FAIL", "RUNNING", "WAITING", "CUT OFF"), 0)
    infeasible = 0
    reasons = dict.fromkeys(("duplicate", *EARLY), 0)
    for trial in trials:
        reason = trial.user_attrs.get("reason")
        if trial.state.is_finished() and reason in reasons:
            reasons[reason] += 1
        elif trial.number not in followed:
            state = "CUT OFF" if reason == "orphan" else trial.state.name
            found[state] = found.get(state, 0) + 1
            infeasible += trial.state.name == "COMPLETE" and any(
                excess > 0 for excess in trial.constraints.values()
            )
    return Counts(
        complete=found["COMPLETE"],
        failed=found["FAIL"],
        infeasible=infeasible,
        running=found["RUNNING"],
        waiting=found["WAITING"],
        duplicate=reasons["duplicate"],
        dominated=reasons[DOMINATED],
        unreachable=reasons[UNREACHABLE],
        cut_off=found["CUT OFF"],
    )
