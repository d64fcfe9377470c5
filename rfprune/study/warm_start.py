"""What a new sweep can learn from earlier ones: their trials, told to its study before the first.

A trial of another sweep says something here if it trained the same network on the same data for the
same task in the same way, and its values lie in the new space. Part, clock, backend and seed may
differ: they shift costs and scores, and hardly change which points are good. Earlier trials guide
the sampler; they have no folder here, are in no front, and count for nothing that is wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rfprune.errors import InputError, RfpruneError, RunsError, SpecError
from rfprune.results import SweepFolder, TrialFolder, find_sweep
from rfprune.results.points import raw_spec
from rfprune.spec import SweepSpec
from rfprune.spec.networks import SEARCHED
from rfprune.spec.yaml_files import changes, get_path
from rfprune.study.parameters import Scalar
from rfprune.study.rebuild import point_of
from rfprune.study.representative import Metrics
from rfprune.study.space import Space, merge

__all__ = ["EarlierTrial", "WarmStart", "read_warm_start"]

#: What may differ between an earlier trial and one here that has the same values.
_MAY_DIFFER = (
    *("hardware.part", "hardware.clock_ns", "hardware.backend", "hardware.io_type"),
    *("edge.device", "estimator", "seed", "repeats", "prune.budget", "train.device"),
)


class EarlierTrial(NamedTuple):
    """A trial of another sweep that says something here.

    Attributes:
        origin: sweep and number, for people: ``digits/7``.
        values: its point in the new space.
        steps: every measured quantity of its accepted steps.
    """

    origin: str
    values: dict[str, Scalar]
    steps: Sequence[Metrics]


@dataclass(frozen=True)
class WarmStart:
    """What was found in the earlier sweeps.

    Attributes:
        trials: in the order of the sweeps, and there by number.
        notes: what was taken, and what was not and why; one sentence for each sweep.
    """

    trials: tuple[EarlierTrial, ...] = ()
    notes: tuple[str, ...] = ()


def read_warm_start(spec: SweepSpec, space: Space, runs: Path, base_dir: Path) -> WarmStart:
    """Return the trials of the earlier sweeps that ``warm_start`` names, as far as they fit.

    Args:
        spec: the new sweep.
        space: `spec` expanded.
        runs: folder in which names of sweeps are looked for first.
        base_dir: folder that paths of sweeps are relative to.

    Raises:
        SpecError: there is no such sweep, it is this one, or its trials lack an objective.
    """
    trials: list[EarlierTrial] = []
    notes: list[str] = []
    for name in spec.warm_start:
        source = f"{spec.name}: warm_start"
        folder = _folder(name, runs, base_dir, source)
        if folder.path.resolve() == (runs / spec.name).resolve():
            raise SpecError(f"{source}: '{name}' is this sweep itself. Allowed: earlier sweeps.")
        _check_objectives(spec, folder, name, source)
        taken, left_out = _read(spec, space, folder)
        trials += taken
        notes.append(_told(name, len(taken), left_out))
    return WarmStart(tuple(trials), tuple(notes))


def _folder(name: str, runs: Path, base_dir: Path, source: str) -> SweepFolder:
    for place in (Path(name), base_dir / name):
        if (place / "sweep.json").is_file():
            return SweepFolder(place)
    try:
        return find_sweep(runs, name)
    except RunsError as error:
        raise SpecError(f"{source}: {error}") from None


def _check_objectives(spec: SweepSpec, folder: SweepFolder, name: str, source: str) -> None:
    """Refuse a sweep whose trials do not measure what is searched for here."""
    try:
        measured = folder.spec().quantities()
    except InputError as error:
        raise SpecError(f"{source}: {error}") from None
    own = {*measured, *folder.spec().objectives}
    absent = next((objective for objective in spec.objectives if objective not in own), None)
    if absent is not None:
        raise SpecError(
            f"{source}: the trials of '{name}' do not measure '{absent}', an objective here. "
            f"Allowed: sweeps whose trials measure {', '.join(spec.objectives)}."
        )


def _read(
    spec: SweepSpec, space: Space, folder: SweepFolder
) -> tuple[list[EarlierTrial], Counter[str]]:
    """Return the trials of one sweep that fit, and how many do not, by reason."""
    taken: list[EarlierTrial] = []
    left_out: Counter[str] = Counter()
    for trial in folder.trials():
        try:
            result = trial.result()
            if result is None or result.state != "complete":
                raise RunsError("did not run to their end")
            values = _values(trial, spec, space)
            steps = [step.facts() for step in trial.steps() if step.accepted]
            if not steps:
                raise RunsError("have no accepted step")
            taken.append(EarlierTrial(f"{folder.path.name}/{trial.number}", values, steps))
        except RfpruneError as error:
            left_out[str(error)] += 1
    return taken, left_out


def _values(trial: TrialFolder, spec: SweepSpec, space: Space) -> dict[str, Scalar]:
    """Return a trial's point in the new space.

    Raises:
        RunsError: it has none there, or differs in something that decides what it is worth.
    """
    theirs = raw_spec(trial)
    if space.networks and space.value_in(theirs, SEARCHED) is None:
        raise RunsError("have a network that is not among those here")
    try:
        values = point_of(theirs, space, trial)
    except RunsError:
        raise RunsError("have no value for something that is searched here") from None
    for parameter in space.parameters:
        known = parameter.path in values and space.active(parameter, values)
        if known and not parameter.contains(values[parameter.path]):
            raise RunsError(f"lie outside of search.{parameter.path}")
    ours = space.written(values)
    keys = [key for key in ours if key in theirs]
    found = changes(
        _comparable({key: theirs[key] for key in keys}),
        _comparable({key: ours[key] for key in keys}),
    )
    if found:
        raise RunsError(f"differ in {found[0].replace(' -> ', ' there, ')} here")
    return values


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial without what may differ, and without layers that set nothing of their own."""
    kept = merge(values, {})
    for path in _MAY_DIFFER:
        *parents, last = path.split(".")
        section = get_path(kept, ".".join(parents)) if parents else kept
        if isinstance(section, dict):
            section.pop(last, None)
    return {key: _without_nothing(value) for key, value in kept.items()}


def _without_nothing(value: Any) -> Any:
    """Return nested mappings without keys that are not set."""
    if not isinstance(value, dict):
        return value
    inner = {key: _without_nothing(part) for key, part in value.items()}
    return {key: part for key, part in inner.items() if part is not None and part != {}}


def _told(name: str, n_taken: int, left_out: Counter[str]) -> str:
    """Return what was taken of a sweep, and what was not and why, in one sentence."""
    more = "; ".join(f"{count} {why}" for why, count in left_out.most_common(3))
    rest = left_out.total()
    reasons = f"; {rest} left out: {more}" if rest else ""
    return f"warm start: {n_taken} trials of '{name}' are told to the study{reasons}."
