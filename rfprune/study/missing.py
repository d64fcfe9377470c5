"""Trials that the study holds as complete and whose run folders are gone or damaged.

The study remembers values, the folders hold the networks. Somebody may remove a folder, a disk may
lose one, and a sweep without it is not what the study says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rfprune.errors import RfpruneError
from rfprune.results import SweepFolder, TrialFolder
from rfprune.study.study import free_name

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["find_missing", "put_aside"]


def find_missing(trials: Iterable[FrozenTrial], folder: SweepFolder) -> dict[int, str]:
    """Return why the folder of a complete trial does not hold it, by the trial's number.

    Args:
        trials: of the study; of one that is tried again the last attempt counts.
        folder: of the sweep.
    """
    all_trials = list(trials)
    # What was queued again is the business of the attempt that follows.
    followed = {trial.user_attrs.get("retry_of") for trial in all_trials}
    found = {}
    for trial in all_trials:
        if trial.state.name != "COMPLETE" or trial.number in followed:
            continue
        number = trial.user_attrs.get("folder")
        if number is not None and (why := _fault(folder.trial(number), trial)):
            found[trial.number] = why
    return found


def _fault(folder: TrialFolder, trial: FrozenTrial) -> str:
    if not folder.path.is_dir():
        return f"{folder.path} is gone"
    try:
        if folder.result() is None:
            return f"{folder.path / 'result.json'} is gone"
        steps = {step.step: step for step in folder.steps()}
    except (RfpruneError, OSError) as error:
        return str(error).rstrip(".")
    # Studies of version 0.1 do not say which step stands for a trial.
    told = trial.user_attrs.get("step")
    if told is None or told in steps:
        return ""
    return f"{folder.path / 'steps.jsonl'} has no step {told}"


def put_aside(folder: TrialFolder) -> None:
    """Rename what is left of a trial's folder, so that the trial can be run again in its place."""
    if folder.path.exists():
        folder.path.rename(free_name(folder.path, "damaged"))
