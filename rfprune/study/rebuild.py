"""Makes a study again from the run folders, where its journal or its database is lost.

The folders hold every point, every step and every end. They are told to a new study as if their
trials had just ended, in the order of their results. What the folders do not hold is the state of a
sampler; samplers go on from what they see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rfprune.errors import RfpruneError, RunsError
from rfprune.results import SweepFolder, TrialFolder, TrialResult
from rfprune.results.points import raw_spec
from rfprune.spec import SweepSpec
from rfprune.study.parameters import Scalar
from rfprune.study.record import Ended, Record
from rfprune.study.sampler import choose_sampler, first_points
from rfprune.study.space import Space
from rfprune.study.study import free_name, lock, open_study
from rfprune.study.trials import RETRIED

__all__ = ["Rebuilt", "point_of", "rebuild_locked", "rebuild_study"]

#: Reasons that stand before the colon in the error of a failed trial's result.
_REASONS = (*RETRIED, "missing", "nan")


@dataclass(frozen=True)
class Rebuilt:
    """What came of it.

    Attributes:
        n_trials: how many trials the study has from the folders.
        aside: where the earlier journal is now, None if there was none.
        left_out: why trials are not in it, by number.
    """

    n_trials: int
    aside: Path | None
    left_out: Mapping[int, str] = field(default_factory=dict)


def rebuild_study(spec: SweepSpec, folder: SweepFolder, space: Space) -> Rebuilt:
    """Make the study of a sweep again from its run folders; an earlier journal is set aside.

    Args:
        spec: the sweep, as it was started.
        folder: of the sweep.
        space: `spec` expanded.

    Raises:
        RunsError: there are no folders, another driver is at work, or the database holds trials of
            this sweep.
    """
    # A driver that is at work would write to a journal that is being replaced.
    with lock(folder):
        return rebuild_locked(spec, folder, space)


def rebuild_locked(spec: SweepSpec, folder: SweepFolder, space: Space) -> Rebuilt:
    """Do what `rebuild_study` does; call with the lock held."""
    if next(folder.trials(), None) is None:
        raise RunsError(f"{folder.path}: holds no trials that a study could be made of.")
    facts = folder.facts() if (folder.path / "sweep.json").exists() else {}
    trials, left_out = _readable(folder, space)
    aside = None
    if spec.storage is None and folder.study_path.exists():
        aside = free_name(folder.study_path, "damaged")
        folder.study_path.rename(aside)
    study = open_study(spec, folder, space.layers, str(facts.get("sweep_id", "")), rebuild=True)
    try:
        # Queued first and drawn afterwards, so that each draw meets exactly one of these points.
        for trial, values in trials:
            point = space.encode(values, str(trial.path))
            attempt = 0 if (result := trial.result()) is None else result.attempt
            known = {"queued": point, "folder": trial.number, "attempt": attempt}
            study.enqueue_trial(point, user_attrs=known)
        record = Record(spec, folder, space, study, facts.get("reference_point"))
        for number, _ in trials:
            record.replay(_end_of(number))
        # What had not ended is left as a driver's death leaves it, to be resumed.
        record.orphan_live()
        record.queue_unknown(first_points(spec, space, choose_sampler(spec, space)))
    finally:
        study.close()
    return Rebuilt(len(trials), aside, left_out)


def _readable(
    folder: SweepFolder, space: Space
) -> tuple[list[tuple[TrialFolder, dict[str, Scalar]]], dict[int, str]]:
    """Return the trials with their points, by the time of their results, and why others are not."""
    found: list[tuple[tuple[bool, int], TrialFolder, dict[str, Scalar]]] = []
    left_out = {}
    for trial in folder.trials():
        try:
            values = point_of(raw_spec(trial), space, trial)
            space.encode(values, str(trial.path))
            ended = trial.result() is not None
            when = (trial.path / "result.json").stat().st_mtime_ns if ended else 0
            trial.steps()
        except (RfpruneError, OSError) as error:
            left_out[trial.number] = str(error)
        else:
            found.append(((not ended, when), trial, values))
    # Ended ones first, as they ended; samplers learn from them in that order.
    found.sort(key=lambda entry: (entry[0], entry[1].number))
    return [(trial, values) for _, trial, values in found], left_out


def point_of(spec: Mapping[str, Any], space: Space, trial: TrialFolder) -> dict[str, Scalar]:
    """Return the values of a trial at the searched paths.

    Raises:
        RunsError: it has no spec, or lacks one of them.
    """
    values: dict[str, Scalar] = {}
    for parameter in space.parameters:
        if space.active(parameter, values):
            value = space.value_in(spec, parameter.path)
            if value is None:
                raise RunsError(f"{trial.path / 'spec.json'}: has no value for {parameter.path}.")
            values[parameter.path] = value
    return values


def _end_of(trial: TrialFolder) -> Ended | None:
    """Return how a trial ended, None if it has not."""
    result = trial.result()
    if result is None:
        return None
    if result.state == "complete":
        steps = [step.facts() for step in trial.steps() if step.accepted]
        return Ended(steps=steps, stopped=result.stopped, seconds=result.seconds)
    if result.state == "stopped":
        return Ended(result.stopped, result.error or "")
    return _failure(result)


def _failure(result: TrialResult) -> Ended:
    reason, _, error = (result.error or "").partition(": ")
    return Ended(reason, error) if reason in _REASONS else Ended("error", result.error or "")
