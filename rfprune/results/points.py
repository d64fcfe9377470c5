"""What a sweep has found so far, read from its run folders alone.

Every accepted step of every trial is a candidate, also of trials that are unfinished or failed.
Knows nothing of the study, of networks or of MLflow: a copied folder gives the same candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import ValidationError

from rfprune.core.arrays import FloatArray
from rfprune.core.files import read_json
from rfprune.core.quantities import Direction, Quantity
from rfprune.errors import RunsError, UnknownNameError
from rfprune.results.folders import SweepFolder, TrialFolder
from rfprune.results.records import StepRecord, TrialResult
from rfprune.spec import Condition, SweepSpec, TargetFacts, TrialSpec
from rfprune.spec.networks import SEARCHED
from rfprune.spec.yaml_files import get_path

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
]

Scalar = bool | int | float | str | None
TrialState = Literal["complete", "stopped", "failed", "running"]


@dataclass(frozen=True)
class Candidate:
    """One accepted pruning step: a network that can be exported.

    Attributes:
        trial: number of its trial.
        step: number of its pruning step; 0 is the dense network.
        params: the searched values of its trial by dotted path, None where not set.
        metrics: every quantity by its name, None where unknown.
        feasible: whether the constraints of the sweep hold.
        errors: standard errors on the validation rows, by quantity.
        constant: whether it gave all validation rows one and the same answer.
        spread: standard deviation over the seeds, by quantity, where there were several.
        repeats: seeds that `metrics` are the means of.
        capacity: what its part has of each resource that limits what fits.
        part: name of the part or device, as the trial has it.
    """

    trial: int
    step: int
    params: Mapping[str, Scalar]
    metrics: Mapping[str, float | None]
    feasible: bool
    errors: Mapping[str, float] = field(default_factory=dict)
    constant: bool = False
    spread: Mapping[str, float] = field(default_factory=dict)
    repeats: int = 1
    capacity: Mapping[str, float] = field(default_factory=dict)
    part: str = ""

    @property
    def dense(self) -> bool:
        """Whether nothing was pruned of it."""
        return self.step == 0

    @property
    def fits(self) -> bool | None:
        """Whether it fits its part; None where nothing limits it."""
        value = self.metrics.get("fits")
        return None if value is None else value > 0

    def between(self, name: str) -> tuple[float, float] | None:
        """Return the ends of the 90 % interval of an estimated quantity; None if it has none."""
        low, high = (self.metrics.get(f"{name}.{end}") for end in ("low", "high"))
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True)
class TrialView:
    """One trial as its folder shows it.

    Attributes:
        number: of the trial.
        state: complete, stopped early, failed, or running (which may mean cut off).
        params: the searched values by dotted path.
        candidates: its accepted steps.
        finished_ns: when its result was written, ns since 1970; None while there is none.
        directions: of metrics that are functions of the user's.
        reference: metrics in floats of the dense network, before anything was pruned or rounded.
        rows: how many rows it was measured on, by part: ``val`` and ``test``.
    """

    number: int
    state: TrialState
    params: Mapping[str, Scalar]
    candidates: tuple[Candidate, ...]
    finished_ns: int | None
    directions: Mapping[str, Direction] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepView:
    """A sweep as its folder shows it.

    Attributes:
        folder: where it was read from.
        name: of the sweep.
        objectives: ``"max"`` or ``"min"`` by quantity.
        constraints: conditions that a feasible candidate meets.
        reference_point: of the hypervolume, None if none was fixed.
        quantities: what its trials measure, by name.
        score: the quantity that decides, of the task.
        target: what its networks run on.
        trials: by number.
        damaged: trials whose folder cannot be read, with the reason.
    """

    folder: SweepFolder
    name: str
    objectives: Mapping[str, str]
    constraints: tuple[Condition, ...]
    reference_point: Mapping[str, float] | None
    quantities: Mapping[str, Quantity]
    score: str
    target: TargetFacts
    trials: tuple[TrialView, ...]
    damaged: Mapping[int, str] = field(default_factory=dict)

    def selecting(self, name: str) -> str:
        """Return the quantity that decides for `name`: for a test metric, its validation metric."""
        return f"val_{name}" if f"val_{name}" in self.quantities else name

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates by trial and step."""
        return tuple(candidate for trial in self.trials for candidate in trial.candidates)

    @property
    def capacity(self) -> Mapping[str, float]:
        """What the part has of each resource; nothing where parts differ, or nothing limits."""
        found = [candidate.capacity for candidate in self.candidates]
        # A part may be searched: then no single line stands for all.
        return found[0] if found and all(each == found[0] for each in found) else {}

    @property
    def part(self) -> str:
        """Name of the part or device that every network runs on; empty where they differ."""
        found = {candidate.part for candidate in self.candidates}
        return found.pop() if len(found) == 1 else ""

    @property
    def rows(self) -> Mapping[str, int]:
        """How many rows the scores are of, by part, as far as the trials say so."""
        return next((trial.rows for trial in self.trials if trial.rows), {})

    @property
    def finished(self) -> tuple[TrialView, ...]:
        """The finished trials in the order in which they ended."""
        ended = [trial for trial in self.trials if trial.finished_ns is not None]
        # By the time of the file, which survives where the study does not.
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
            # One broken folder must not hide the front of all others.
            damaged[trial.number] = str(error)
    # The point of the first start stays, even where the sweep file names none: hypervolumes are
    # comparable only against one and the same point.
    reference = folder.facts().get("reference_point", spec.reference_point)
    missing = [name for name in spec.objectives if reference and name not in reference]
    if missing:
        raise RunsError(
            f"{folder.path / 'sweep.json'}: reference_point has no value for the objective "
            f"'{missing[0]}'. Needed: {', '.join(spec.objectives)}."
        )
    return SweepView(
        folder=folder,
        name=spec.name,
        objectives=dict(spec.objectives),
        constraints=tuple(spec.conditions),
        reference_point=reference,
        quantities=_quantities(spec, trials),
        score=spec.task.score_name,
        target=spec.target,
        trials=_with_equal_columns(trials),
        damaged=damaged,
    )


def read_single(folder: TrialFolder) -> SweepView:
    """Return a trial without a sweep as a sweep of one, whose objectives include its budgets.

    Raises:
        RunsError: a file in the folder is damaged, or the folder holds no trial.
    """
    folder.refuse_links_out()
    spec = folder.spec()
    result, steps = _records(folder)
    place = _place(raw_spec(folder), spec.target)
    candidates = tuple(_candidate(folder.number, record, {}, (), place) for record in steps)
    state: TrialState = result.state if result else "running"
    trial = TrialView(folder.number, state, {}, candidates, None, **_known(folder, result))
    quantities, score = _quantities(spec, [trial]), spec.task.score_name
    return SweepView(
        folder=SweepFolder(folder.home),
        name=folder.home.name,
        objectives={
            score: quantities[score].direction,
            **dict.fromkeys(spec.prune.budget, "min"),
        },
        constraints=(),
        reference_point=None,
        quantities=quantities,
        score=score,
        target=spec.target,
        trials=(trial,),
    )


def read_trial(folder: TrialFolder, spec: SweepSpec) -> TrialView:
    """Return one trial of the sweep `spec`.

    Raises:
        RunsError: a file in the folder is damaged, or the folder is of another sweep.
    """
    folder.refuse_links_out()
    result, steps = _records(folder)
    trial = raw_spec(folder)
    label = _refuse_foreign(folder, trial, spec)
    params = searched_values(trial, spec.search)
    if label is not None:
        params[SEARCHED] = label
    constraints = spec.conditions
    place = _place(trial, spec.target)
    candidates = tuple(
        _candidate(folder.number, record, params, constraints, place) for record in steps
    )
    finished_ns = (folder.path / "result.json").stat().st_mtime_ns if result else None
    state: TrialState = result.state if result else "running"
    known = _known(folder, result)
    return TrialView(folder.number, state, params, candidates, finished_ns, **known)


def _refuse_foreign(folder: TrialFolder, trial: Mapping[str, Any], spec: SweepSpec) -> str | None:
    """Return which of several networks a trial has; None if the sweep has one.

    Raises:
        RunsError: somebody has copied in a folder with another network or other data, whose numbers
            would not be comparable.
    """
    label = spec.label_of(trial.get(SEARCHED))
    if spec.models and trial and label is None:
        raise RunsError(
            f"{folder.path}: is a trial of another sweep (its network is none of "
            f"{', '.join(spec.models)})."
        )
    own = {
        "model.name": spec.model.name,
        "data.name": spec.data.name,
        "data.file": spec.data.file,
        "data.function": spec.data.function,
    }
    for path, value in own.items():
        found = get_path(dict(trial), path)
        decided = path in spec.search or (label is not None and path == "model.name")
        if trial and not decided and found != value:
            raise RunsError(
                f"{folder.path}: is a trial of another sweep (its {path} is {found!r}, this "
                f"sweep's is {value!r})."
            )
    return label


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
        # A layer's name may hold dots itself.
        for layer, settings in (get_path(dict(trial), before) or {}).items():
            value = get_path(settings, after)
            if value is not None:
                values[f"{before}.{layer}.{after}"] = value
    return values


def losses(
    points: Sequence[Mapping[str, float | None]], objectives: Mapping[str, str]
) -> FloatArray:
    """Return the objectives as values to minimise, (N points, M objectives), NaN if unknown.

    Args:
        points: every quantity of a point by its name.
        objectives: ``"max"`` or ``"min"`` by quantity.
    """
    signs = {name: -1.0 if way == "max" else 1.0 for name, way in objectives.items()}
    rows = [
        # NaN and not infinity: an unknown value must not count as a bad one either.
        [np.nan if (v := point.get(name)) is None else sign * v for name, sign in signs.items()]
        for point in points
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(points), len(signs))


def _quantities(spec: TrialSpec, trials: Sequence[TrialView]) -> dict[str, Quantity]:
    """Return what is measured; the user's own functions are not imported to look at a sweep."""
    known = spec.quantities()
    own = {name: way for trial in trials for name, way in trial.directions.items()}
    if isinstance(spec, SweepSpec):
        # Before the first result only the objectives say which way a user's metric is better.
        own |= {name: way for name, way in spec.objectives.items() if name not in known}
    if not spec.target.in_floats:
        own |= {f"float_{name}": way for name, way in own.items() if name.startswith("val_")}
    added = {name: Quantity(name, way, name, "metric") for name, way in own.items()}
    return {**added, **known}


def _candidate(
    trial: int,
    record: StepRecord,
    params: dict[str, Scalar],
    constraints: Sequence[Condition],
    place: _Place,
) -> Candidate:
    metrics, capacity = record.metrics(), place.capacity
    if capacity and metrics.get("fits") is None:
        # Version 0.1 did not note it.
        used = [(metrics.get(name), most) for name, most in capacity.items()]
        metrics["fits"] = float(all(value is None or value <= most for value, most in used))
    known = {**record.facts(), **metrics, "dense": float(record.step == 0)}
    feasible = all(c.holds(known.get(c.name)) for c in constraints)
    return Candidate(
        trial,
        record.step,
        params,
        metrics,
        feasible,
        errors=record.errors,
        constant=record.constant,
        spread=record.spread,
        repeats=record.repeats,
        capacity=capacity,
        part=place.name,
    )


class _Place(NamedTuple):
    """What the networks of a trial run on: its name, and what it has of each resource."""

    name: str
    capacity: Mapping[str, float]


def _place(trial: Mapping[str, Any], target: TargetFacts) -> _Place:
    """Return what a trial runs on; without a capacity where the part is not known here."""
    section = trial.get(target.section)
    if not isinstance(section, dict):
        return _Place("", {})
    name = str(section.get("part") or section.get("device") or "")
    try:
        return _Place(name, target.capacity(section))
    except (UnknownNameError, KeyError):
        return _Place(name, {})


def _known(folder: TrialFolder, result: TrialResult | None) -> dict[str, Any]:
    """Return what is known of a trial beside its steps, before it has ended as well."""
    found = result or folder.begun()
    if found is None:
        return {}
    return {"directions": found.directions, "reference": found.dense, "rows": found.rows}


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
        values = read_json(path)
    except RunsError as error:
        raise _damaged(folder, error) from error
    if not isinstance(values, dict):
        raise RunsError(f"{path}: the run folder is damaged (the file does not hold a mapping).")
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
