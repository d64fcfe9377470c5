"""How trials of a study end and are retried: failures, early ends, orphans, retries, counts.

Knows the study alone, and derives everything from it, so that a crash between any two writes loses
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, TrialState

    from rfprune.study.optuna_private import OwnedStudy

__all__ = [
    "DOMINATED",
    "DUPLICATE",
    "EARLIER",
    "EARLY",
    "INVALID",
    "NOT_RUN",
    "PAUSED",
    "RETRIED",
    "TOO_LONG",
    "UNREACHABLE",
    "StudyCounts",
    "count_trials",
    "counts_of",
    "fail",
    "queue_again",
    "queue_promotion",
    "queue_retries",
    "release_orphans",
    "stop_early",
    "to_be_retried",
]

#: Reasons of failures that say nothing about the point itself; such a trial is retried.
RETRIED = ("orphan", "node", "disk", "died", "memory")

#: Those of them that say nothing about the trial either: they use up none of its attempts.
FREE = ("orphan", "node", "disk")

#: How often one trial may lose its node before it is given up: a trial that takes its node down
#: with it would otherwise go round for ever.
_MOST_LOST_NODES = 20

#: Reasons of early ends: others are ahead at the same step; the trial waits at a rung until it is
#: promoted; no pruning can reach a budget.
DOMINATED, PAUSED, UNREACHABLE = "dominated", "paused", "budget unreachable"
EARLY = (DOMINATED, PAUSED, UNREACHABLE)

#: Reasons for which a point that was drawn is not run: it leaves no folder and causes no event.
DUPLICATE, INVALID, TOO_LONG = "duplicate", "invalid", "too long"
NOT_RUN = (DUPLICATE, INVALID, TOO_LONG)


#: User attribute of a trial that another sweep ran: it guides the sampler but does not count here.
EARLIER = "earlier"


@dataclass(frozen=True)
class StudyCounts:
    """How many trials of a study are in which state.

    Attributes:
        complete: finished with finite objectives, including infeasible ones.
        failed: ended without a result, and will not be retried.
        infeasible: complete, but none of its accepted steps meets all constraints.
        running: not yet told to the study.
        waiting: queued, including retries.
        duplicate: drawn a second time and not run.
        invalid: drawn, but its values together break a rule of the trial file; not run.
        too_long: drawn, but would not have ended within ``stop.hours``; not run.
        dominated: ended early because others were ahead.
        paused: waiting at a rung, for being promoted.
        unreachable: not begun because no pruning can reach a budget.
        cut_off: left behind by a driver that ended; the next one resumes them.
        missing: complete in the study, but their run folders are gone or damaged.
    """

    complete: int = 0
    failed: int = 0
    infeasible: int = 0
    running: int = 0
    waiting: int = 0
    duplicate: int = 0
    invalid: int = 0
    too_long: int = 0
    dominated: int = 0
    paused: int = 0
    unreachable: int = 0
    cut_off: int = 0
    missing: int = 0

    @property
    def done(self) -> int:
        """Trials that count against those wanted: complete, dominated and paused ones."""
        return self.complete + self.dominated + self.paused

    @property
    def taken(self) -> int:
        """Trials that leave no room for further ones: those that are done, and missing ones."""
        return self.done + self.missing


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
        steps: the objectives at each accepted step. They are not Optuna's intermediate values,
            which are one number each; so no sampler takes them for the values of the trial.
    """
    from optuna.trial import TrialState

    study.write_trial_attr(number, "steps", {str(step): dict(m) for step, m in steps.items()})
    _end(study, number, TrialState.PRUNED, reason, error)


def _end(study: OwnedStudy, number: int, state: TrialState, reason: str, error: str) -> None:
    # The reason first: a crash between the two leaves a running trial, which is released later.
    study.write_trial_attr(number, "reason", reason)
    if error:
        study.write_trial_attr(number, "error", error)
    study.tell(number, state=state)


def release_orphans(study: OwnedStudy) -> int:
    """Tell FAIL for every trial whose driver is gone; return how many there were."""
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    # The lock is held, so that nobody can be running them.
    for trial in running:
        fail(study, trial.number, "orphan")
    return len(running)


def queue_retries(study: Study, retries: int) -> int:
    """Queue what is to be tried again and is not queued yet; return how many there were.

    Derived from the trials alone, so that a crash between telling a failure and queueing its retry
    loses nothing. What is not the trial's own doing (`FREE`) leaves its count of attempts.
    """
    trials = study.get_trials(deepcopy=False)
    followed = {trial.user_attrs.get("retry_of") for trial in trials}
    queued = 0
    # Derived from the study each time: a crash in the middle queues the rest at the next start.
    for trial in trials:
        if trial.number in followed or not to_be_retried(trial, retries):
            continue
        attrs = trial.user_attrs
        reason = attrs["reason"]
        # A driver that died between asking and drawing leaves no parameters; what was queued for
        # this trial is kept beside them, as Optuna keeps it where only Optuna may look.
        point = {**attrs.get("queued", {}), **trial.params}
        study.enqueue_trial(
            point,
            user_attrs={
                "queued": point,
                "retry_of": trial.number,
                "attempt": attrs.get("attempt", 0) + (reason not in FREE),
                "lost_nodes": attrs.get("lost_nodes", 0) + (reason == "node"),
                # Without a folder nothing has been written yet.
                **{key: attrs[key] for key in ("folder", "rung") if key in attrs},
            },
        )
        queued += 1
    return queued


def queue_again(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial that is complete in the study, because its run folder is gone."""
    point = {**trial.user_attrs.get("queued", {}), **trial.params}
    known = {"retry_of": trial.number, "folder": trial.user_attrs["folder"]}
    study.enqueue_trial(point, user_attrs={"queued": point, "attempt": 0, **known})


def queue_promotion(study: Study, trial: FrozenTrial, rung: int) -> None:
    """Queue a trial that has paused at the step `rung`, so that it continues from there."""
    attrs = trial.user_attrs
    point = {**attrs.get("queued", {}), **trial.params}
    known = {"retry_of": trial.number, "folder": attrs["folder"], "rung": rung}
    attempt = int(attrs.get("attempt", 0))
    study.enqueue_trial(point, user_attrs={"queued": point, "attempt": attempt, **known})


def to_be_retried(trial: FrozenTrial, retries: int) -> bool:
    """Return whether a failure was not the point's own fault and the point has an attempt left."""
    reason = trial.user_attrs.get("reason")
    if trial.state.name != "FAIL" or reason not in RETRIED:
        return False
    if reason in FREE:
        return reason != "node" or int(trial.user_attrs.get("lost_nodes", 0)) < _MOST_LOST_NODES
    return int(trial.user_attrs.get("attempt", 0)) < retries


def count_trials(study: Study, missing: Collection[int] = ()) -> StudyCounts:
    """Return how many trials of a study are in which state, now; `missing` as in `counts_of`."""
    return counts_of(study.get_trials(deepcopy=False), missing)


def counts_of(trials: Sequence[FrozenTrial], missing: Collection[int] = ()) -> StudyCounts:
    """Return how many of a study's trials are in which state; a failure that was retried is none.

    The one count of trials: events, display, ``--attach`` and the end of ``rfprune sweep`` show it.

    Args:
        trials: of the study.
        missing: numbers of complete ones whose run folders are gone or damaged.
    """
    followed = {trial.user_attrs.get("retry_of") for trial in trials}
    names = {"RUNNING": "running", "WAITING": "waiting", "COMPLETE": "complete", "FAIL": "failed"}
    # These end a trial in Optuna's state PRUNED or FAIL, and the reason says more than the state.
    reasons = {
        DUPLICATE: "duplicate",
        INVALID: "invalid",
        TOO_LONG: "too_long",
        DOMINATED: "dominated",
        PAUSED: "paused",
        UNREACHABLE: "unreachable",
        "orphan": "cut_off",
    }
    found: Counter[str] = Counter()
    for trial in trials:
        if trial.number in followed or EARLIER in trial.user_attrs:
            continue
        if trial.number in missing:
            found["missing"] += 1
            continue
        reason = trial.user_attrs.get("reason", "") if trial.state.is_finished() else ""
        found[reasons.get(reason) or names.get(trial.state.name, "failed")] += 1
        found["infeasible"] += trial.state.name == "COMPLETE" and any(
            excess > 0 for excess in trial.constraints.values()
        )
    return StudyCounts(**found)
