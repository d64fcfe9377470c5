"""What a sweep has found so far, read from its run folders alone.

Every accepted step of every trial is a candidate, also of trials that are unfinished or failed.
Knows nothing of the study, of networks or of MLflow: a copied folder gives the same candidates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from rfprune.arrays import FloatArray
from rfprune.errors import RunsError
from rfprune.runs import StepRecord, SweepFolder, TrialFolder, TrialResult
from rfprune.spec import Condition, SweepSpec
from rfprune.spec.files import get_path

__all__ = [
    "Candidate",
    "SweepView",
    "TrialState",
    "TrialView",
    "losses",
    "raw_spec",
    "read_single",
    "read_sweep",
    "read_trial",
    "searched_values",
    "selecting",
]

Scalar = bool | int | float | str | None
TrialState = Literal["complete", "stopped", "failed", "running"]


def selecting(name: str) -> str:
    """Return the quantity that decides for `name`: validation accuracy stands in for the test's."""
    return "val_accuracy" if name == "accuracy" else name


@dataclass(frozen=True)
class Candidate:
    """One accepted pruning step: a network that can be exported.

    Attributes:
        trial: number of its trial.
        step: number of its pruning step; 0 is the dense network.
        params: the searched values of its trial by dotted path, None where not set.
        metrics: every quantity by its name, None where unknown.
        feasible: whether the constraints of the sweep hold.
    """

    trial: int
    step: int
    params: Mapping[str, Scalar]
    metrics: Mapping[str, float | None]
    feasible: bool


@dataclass(frozen=True)
class TrialView:
    """One trial as its folder shows it.

    Attributes:
        number: of the trial.
        state: complete, stopped early, failed, or running (which may mean cut off).
        params: the searched values by dotted path.
        candidates: its accepted steps.
        finished_ns: when its result was written, ns since 1970; None while there is none.
    """

    number: int
    state: TrialState
    params: Mapping[str, Scalar]
    candidates: tuple[Candidate, ...]
    finished_ns: int | None


@dataclass(frozen=True)
class SweepView:
    """A sweep as its folder shows it.

    Attributes:
        folder: where it was read from.
        name: of the sweep.
        objectives: ``"max"`` or ``"min"`` by quantity.
        constraints: conditions that a feasible candidate meets.
        reference_point: of the hypervolume, None if none was fixed.
        trials: by number.
        damaged: trials whose folder cannot be read, with the reason.
    """

    folder: SweepFolder
    name: str
    objectives: Mapping[str, str]
    constraints: tuple[Condition, ...]
    reference_point: Mapping[str, float] | None
    trials: tuple[TrialView, ...]
    damaged: Mapping[int, str] = field(default_factory=dict)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates by trial and step."""
        return tuple(candidate for trial in self.trials for candidate in trial.candidates)

    @property
    def finished(self) -> tuple[TrialView, ...]:
        """The finished trials in the order in which they ended."""
        ended = [trial for trial in self.trials if trial.finished_ns is not None]
        return tuple(sorted(ended, key=lambda trial: (trial.finished_ns, trial.number)))


def read_sweep(folder: SweepFolder) -> SweepView:
    """Return what `folder` shows; a trial that cannot be read is named in `damaged`.

    Raises:
        RunsError: ``sweep.json`` is absent, unreadable, or fixes a reference point that does not
            cover the objectives.
        SpecError: the sweep in it breaks the schema.
    """
    spec = folder.spec()
    trials: list[TrialView] = []
    damaged: dict[int, str] = {}
    for trial in folder.trials():
        try:
            trials.append(read_trial(trial, spec))
        except RunsError as error:
            damaged[trial.number] = str(error)
    reference = folder.facts().get("reference_point", spec.reference_point)
    _check_reference(folder, reference, spec.objectives)
    return SweepView(
        folder=folder,
        name=spec.name,
        objectives=dict(spec.objectives),
        constraints=tuple(spec.conditions),
        reference_point=reference,
        trials=_with_equal_columns(trials),
        damaged=damaged,
    )


def read_single(folder: TrialFolder) -> SweepView:
    """Return a trial without a sweep as a sweep of one; its budgets' resources are to be small.

    Raises:
        RunsError: a file in the folder is damaged, or the folder holds no trial.
    """
    spec = folder.spec()
    result, steps = _records(folder)
    candidates = tuple(_candidate(folder.number, record, {}, ()) for record in steps)
    state: TrialState = result.state if result else "running"
    return SweepView(
        folder=SweepFolder(folder.home),
        name=folder.home.name,
        objectives={"val_accuracy": "max", **dict.fromkeys(spec.prune.budget, "min")},
        constraints=(),
        reference_point=None,
        trials=(TrialView(folder.number, state, {}, candidates, None),),
    )


def read_trial(folder: TrialFolder, spec: SweepSpec) -> TrialView:
    """Return one trial of the sweep `spec`.

    Raises:
        RunsError: a file in the folder is damaged, or the folder is of another sweep.
    """
    result, steps = _records(folder)
    trial = raw_spec(folder)
    _check_ours(folder, trial, spec)
    params = searched_values(trial, spec.search)
    constraints = spec.conditions
    candidates = tuple(_candidate(folder.number, record, params, constraints) for record in steps)
    finished_ns = (folder.path / "result.json").stat().st_mtime_ns if result else None
    state: TrialState = result.state if result else "running"
    return TrialView(folder.number, state, params, candidates, finished_ns)


def _check_ours(folder: TrialFolder, trial: dict[str, Any], spec: SweepSpec) -> None:
    """Refuse a folder with another network or other data, which somebody has copied here."""
    own = {"model.name": spec.model.name, "data.name": spec.data.name, "data.file": spec.data.file}
    for path, value in own.items():
        found = get_path(trial, path)
        if trial and path not in spec.search and found != value:
            raise RunsError(
                f"{folder.path}: is a trial of another sweep ({path} is {found!r} there, and here "
                f"{value!r})."
            )


def searched_values(trial: Mapping[str, Any], search: Iterable[str]) -> dict[str, Scalar]:
    """Return the values that a trial has at the searched paths; ``*`` stands for every layer.

    Args:
        trial: the resolved trial as plain JSON values.
        search: dotted paths, e.g. ``hardware.layers.*.reuse_factor``.
    """
    values: dict[str, Scalar] = {}
    for path in search:
        before, star, after = path.partition(".*.")
        if not star:
            values[path] = get_path(dict(trial), path)
            continue
        for layer in get_path(dict(trial), before) or {}:
            value = get_path(dict(trial), f"{before}.{layer}.{after}")
            if value is not None:
                values[f"{before}.{layer}.{after}"] = value
    return values


def losses(candidates: Sequence[Candidate], objectives: Mapping[str, str]) -> FloatArray:
    """Return the objectives as values to minimise, (N candidates, M objectives), NaN if unknown."""
    signs = {name: -1.0 if way == "max" else 1.0 for name, way in objectives.items()}
    rows = [
        [np.nan if (v := c.metrics.get(name)) is None else sign * v for name, sign in signs.items()]
        for c in candidates
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(candidates), len(signs))


def _candidate(
    trial: int, record: StepRecord, params: dict[str, Scalar], constraints: Sequence[Condition]
) -> Candidate:
    metrics = record.metrics()
    feasible = all(c.holds(metrics.get(selecting(c.name))) for c in constraints)
    return Candidate(trial, record.step, params, metrics, feasible)


def _records(folder: TrialFolder) -> tuple[TrialResult | None, list[StepRecord]]:
    """Return the result, if there is one, and the accepted steps."""
    try:
        return folder.result(), [record for record in folder.steps() if record.accepted]
    except (ValidationError, ValueError) as error:
        raise _damaged(folder, error) from error


def raw_spec(folder: TrialFolder) -> dict[str, Any]:
    """Return the resolved trial as plain JSON values; empty before it is written.

    Read without the schema: a thousand trials are listed in a second, and trials of an earlier
    version stay readable.

    Raises:
        RunsError: the file is damaged.
    """
    path = folder.path / "spec.json"
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error
    if not isinstance(values, dict):
        raise RunsError(f"{path}: the run folder is damaged (the file holds no mapping).")
    return values


def _damaged(folder: TrialFolder, error: Exception) -> RunsError:
    reason = str(error).splitlines()[0]
    return RunsError(f"{folder.path}: the run folder is damaged ({reason}).")


def _with_equal_columns(trials: list[TrialView]) -> tuple[TrialView, ...]:
    """Give every candidate the same params, None where its trial does not have one."""
    paths = {path: None for trial in trials for path in trial.params}
    widened = []
    for trial in trials:
        params = {**paths, **trial.params}
        candidates = tuple(replace(c, params=params) for c in trial.candidates)
        widened.append(replace(trial, params=params, candidates=candidates))
    return tuple(widened)


def _check_reference(
    folder: SweepFolder, reference: Mapping[str, float] | None, objectives: Mapping[str, str]
) -> None:
    missing = [name for name in objectives if reference is not None and name not in reference]
    if missing:
        raise RunsError(
            f"{folder.path / 'sweep.json'}: reference_point has no value for the objective "
            f"'{missing[0]}'. Needed: {', '.join(objectives)}."
        )
