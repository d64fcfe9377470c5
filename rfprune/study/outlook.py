"""What can be known of a sweep before its first trial: layers, dense costs, reach of the budgets.

The corners of the space are the points with every searched value at its first, and at its last.
They also fix the reference point of the hypervolume, once and for all, before anything is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from rfprune.core.addresses import refuse_password
from rfprune.core.registry import importable
from rfprune.data import Dataset, load
from rfprune.data.overview import Overview, overview
from rfprune.errors import BudgetError, InputError, SpecError, UnknownNameError
from rfprune.hardware.reuse import LayerSize, LayerSizes
from rfprune.methods import METHODS, find_method
from rfprune.spec import TARGETS, SweepSpec, TrialSpec
from rfprune.spec.networks import SEARCHED
from rfprune.spec.search import Choices
from rfprune.study.expand import expand
from rfprune.study.networks import alone, searched_labels
from rfprune.study.own_samplers import is_own
from rfprune.study.parameters import Parameter, Scalar
from rfprune.study.record import check_constraints
from rfprune.study.sampler import choose_sampler, make_sampler
from rfprune.study.space import ParameterRow, Space
from rfprune.tasks import Task, make_task
from rfprune.trial import Prepared, prepare, target_of
from rfprune.trial.dense import new_model
from rfprune.trial.target import NUMBER_ROWS, LayerTable, Target, ToolRow

__all__ = ["CostRow", "NetworkTables", "Outlook", "outlook"]

#: The reference point lies this much beyond the worst corner, so that corner points count too.
_MARGIN = 1.1
#: Rows on which the C++ of the untrained network is compared with torch.
_REHEARSED_ROWS = 8


@dataclass(frozen=True)
class CostRow:
    """What the dense network costs at the corners of the space.

    Attributes:
        name: of the quantity.
        low: at the cheapest corner.
        high: at the most expensive corner.
        share: of the part, at the most expensive corner; None where the target has no limit.
        least: what the floors leave at the cheapest corner, for resources of the groups.
    """

    name: str
    low: float | None
    high: float | None
    share: float | None
    least: float | None


class NetworkTables(NamedTuple):
    """What ``rfprune check`` shows of a network.

    Attributes:
        layers: what can be pruned.
        numbers: how its numbers go with its types; None without types.
    """

    layers: LayerTable
    numbers: LayerTable | None


@dataclass(frozen=True)
class Outlook:
    """Everything that ``rfprune check`` shows.

    Example::

        found = rfprune.check("digits", rehearse=False)
        [(row.path, row.values) for row in found.parameters]
        found.space_size is None  # a continuum
        found.as_json()["notes"]

    Attributes:
        sweep: its name.
        part: name of the FPGA or device.
        task: name of the task.
        layers: what can be pruned, as a table.
        numbers: how the network's numbers go with its types, as a table; None without types.
        networks: `layers` and `numbers` of each of several networks, by label; outside of it they
            are the first one's.
        space: the search space.
        sampler: which one, and why.
        early_stop: when trials end early, in words.
        costs: of the dense network, the cheapest and the most expensive (counts, cycles, mJ).
        reference_point: of the hypervolume, by objective.
        notes: what the user should know, one sentence each.
        tools: optional ones.
        data: the rows: how many, their features and targets, what was left out.
    """

    sweep: str
    part: str
    task: str
    layers: LayerTable
    numbers: LayerTable | None
    networks: dict[str, NetworkTables]
    space: Space
    sampler: str
    early_stop: str
    costs: list[CostRow]
    reference_point: dict[str, float]
    notes: list[str]
    tools: list[ToolRow]
    data: Overview

    @property
    def parameters(self) -> list[ParameterRow]:
        """The searched paths."""
        return self.space.describe()

    @property
    def space_size(self) -> int | None:
        """How many points the space has; None for a continuum."""
        return self.space.size()

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        names = ("sweep", "part", "task", "sampler", "early_stop", "reference_point", "notes")
        return {
            **{name: getattr(self, name) for name in names},
            self.layers.key: self.layers.rows,
            **({self.numbers.key: self.numbers.rows} if self.numbers else {}),
            **self._models_as_json(),
            "space": [row._asdict() for row in self.parameters],
            "space_size": self.space_size,
            "costs": [asdict(row) for row in self.costs],
            "tools": [asdict(row) for row in self.tools],
            "data": self.data.as_json(),
        }

    def _models_as_json(self) -> dict[str, Any]:
        """Return the tables of several networks by label; nothing for a single one."""
        tables = self.networks.items()
        layers = {label: table.layers.rows for label, table in tables}
        numbers = {label: t.numbers for label, t in tables if t.numbers is not None}
        kinds = {f"model_{table.key}" for table in numbers.values()}
        return {
            **({"models": layers} if layers else {}),
            **{kind: {label: t.rows for label, t in numbers.items()} for kind in kinds},
        }


@dataclass(frozen=True)
class _Corner:
    """One corner of the space: the dense network there, and what is wrong with its budgets."""

    prepared: Prepared
    quantities: Mapping[str, float | None]
    fault: BudgetError | None
    numbers: LayerTable | None
    narrow: list[str]

    def notes(self) -> list[str]:
        fault = [str(self.fault)] if self.fault else []
        return [*self.prepared.notes(), *fault, *self.narrow]


def outlook(spec: SweepSpec, base_dir: Path, rehearse: bool = False) -> Outlook:
    """Check a sweep and return what it can reach.

    Args:
        spec: the sweep.
        base_dir: folder that relative paths in it refer to.
        rehearse: also build the untrained network, which can take seconds.

    Raises:
        InputError: data, network, target, space or budgets are wrong; nothing is written.
    """
    check_constraints(spec)
    refuse_password(spec.storage, f"{spec.name}: storage")
    task = make_task(spec.task, base_dir)
    _check_directions(spec, task)
    target = target_of(spec)
    target.check(spec, base_dir)
    _check_searched(spec, target, base_dir)
    data = load(spec.data, base_dir, task)
    sizes = _sizes(spec, target, data, base_dir)
    space = expand(spec, sizes)
    choice = choose_sampler(spec, space)
    if is_own(choice.name):
        # Made once, so that what it lacks is said now; the others lack nothing and load Optuna.
        make_sampler(choice.name, spec.sampler, 0, space, base_dir)
    corners = [_corner(trial, data, base_dir) for trial in _corner_trials(spec, space)]
    if all(corner.fault for corner in corners):
        raise BudgetError(f"{spec.name}: {corners[-1].fault}")
    # The first corner of each network.
    ahead = corners[::2]
    first = ahead[0].prepared
    rehearsed = []
    for prepared in [corner.prepared for corner in ahead] if rehearse else ():
        untrained = new_model(prepared.spec, data, base_dir)
        rehearsed += prepared.deployment.rehearse(untrained, data.x_train[:_REHEARSED_ROWS])
    notes = [note for corner in corners for note in corner.notes()]
    notes += _narrow_between(spec, space, target, data, base_dir)
    notes += _together(spec, [corner.prepared for corner in corners])
    return Outlook(
        sweep=spec.name,
        part=first.deployment.device,
        task=spec.task.title,
        layers=first.deployment.layer_table(),
        numbers=ahead[0].numbers,
        networks={
            label: NetworkTables(corner.prepared.deployment.layer_table(), corner.numbers)
            for label, corner in zip(searched_labels(spec), ahead, strict=False)
        },
        space=space,
        sampler="{} ({})".format(*choice),
        early_stop=_early_stop(spec),
        costs=list(_costs(corners)),
        reference_point=spec.reference_point or _reference(spec, task, corners, data),
        notes=list(dict.fromkeys([*space.notes(), *notes, *rehearsed])),
        tools=target.tools(),
        data=overview(data),
    )


def _together(spec: SweepSpec, corners: Sequence[Prepared]) -> list[str]:
    """Say where trials that share what one would occupy gain nothing by it."""
    if spec.resources.together == 1:
        return []
    key = f"resources.together: {spec.resources.together}"
    reasons = [why for prepared in corners if (why := prepared.apart())]
    return [f"{key}: trainings are done one after the other where {why}." for why in reasons]


def _sizes(
    spec: SweepSpec, target: Target, data: Dataset, base_dir: Path
) -> LayerSizes | dict[str, LayerSizes]:
    """Return what decides the valid reuse factors, by layer; of several networks by label."""

    def of_one(one: SweepSpec) -> LayerSizes:
        model = new_model(one, data, base_dir)
        found = target.layer_sizes(one, model, data.input_shape, set(spec.search))
        return {name: LayerSize(*size) for name, size in found.items()}

    if not spec.models:
        return of_one(spec)
    sizes = {}
    for label in searched_labels(spec):
        try:
            sizes[label] = of_one(alone(spec, label))
        except InputError as error:
            raise type(error)(f"{spec.name}: model.choices.{label}: {error}") from None
    return sizes


def _check_directions(spec: SweepSpec, task: Task) -> None:
    """Refuse an objective on a function of the user's whose direction is another."""
    known = {quantity.name: quantity.direction for quantity in task.quantities}
    for name, direction in spec.objectives.items():
        if known.get(name, direction) != direction:
            raise SpecError(
                f"{spec.name}: objectives: '{name}' cannot be {direction}. Allowed: {name}: "
                f"{known[name]}."
            )


def _check_searched(spec: SweepSpec, target: Target, base_dir: Path) -> None:
    """Refuse paths of another target, and names that would fail only in the middle of the sweep.

    Before the space is expanded, which knows the layers of an FPGA alone and would say less.
    """
    for path in spec.search:
        for other in TARGETS.values():
            own = path.split(".")[0] == other.section or path in other.own_keys
            if own and other is not spec.target:
                raise SpecError(
                    f"{spec.name}: search.{path}: is for {other.title}, and the sweep is for "
                    f"{spec.target.title}."
                )
    values = {
        path: entry.choices for path, entry in spec.search.items() if isinstance(entry, Choices)
    }
    with importable(base_dir):
        for name in map(str, values.get("prune.method", [spec.prune.method])):
            try:
                METHODS.load(name) if ":" in name else METHODS[name]
            except UnknownNameError as error:
                raise UnknownNameError(f"prune.method: {error}") from None
            find_method(name).check_installed()
        try:
            target.check_searched(spec, {**dict.fromkeys(spec.search, ()), **values})
        except SpecError as error:
            raise type(error)(f"{spec.name}: {error}") from None


def _corner_trials(spec: SweepSpec, space: Space) -> Iterator[TrialSpec]:
    """Yield first and last corner, of each network in turn."""
    for chosen, pick in product(_networks(spec), (0, -1)):

        def corner(parameter: Parameter, pick: int = pick) -> Scalar:
            return parameter.samples()[pick]

        yield space.resolve(spec, space.point(corner, chosen))


def _networks(spec: SweepSpec) -> list[dict[str, Any]]:
    """Return what chooses each network of a sweep; of a single one nothing has to."""
    return [{SEARCHED: label} for label in searched_labels(spec)] or [{}]


def _corner(trial: TrialSpec, data: Dataset, base_dir: Path) -> _Corner:
    """Return a corner; an unreachable budget is a fault only if every corner has one."""
    fault = None
    try:
        prepared = prepare(trial, base_dir, data)
    except BudgetError as error:
        fault = error
        free = dict.fromkeys(trial.prune.budget, 1.0)
        prune = trial.prune.model_copy(update={"budget": free})
        prepared = prepare(trial.model_copy(update={"prune": prune}), base_dir, data)
    model, deployment = new_model(trial, data, base_dir), prepared.deployment
    rows, trained = data.x_train[:NUMBER_ROWS], trial.train.epochs == 0
    return _Corner(
        prepared,
        deployment.dense_quantities(model),
        fault,
        deployment.number_table(model, rows, trained),
        deployment.number_notes(model, rows, trained),
    )


def _narrow_between(
    spec: SweepSpec, space: Space, target: Target, data: Dataset, base_dir: Path
) -> list[str]:
    """Return which searched types are too narrow, also where no corner has them.

    The types of all paths are gone through side by side: each is looked at once, in a network whose
    other values are the first ones.
    """
    searched = [p for p in space.parameters if target.decides_types(p.path)]
    notes = []
    numbers = range(1, max((len(p.samples()) for p in searched), default=0))
    for chosen, number in product(_networks(spec), numbers):

        def value(parameter: Parameter, number: int = number) -> Scalar:
            samples = parameter.samples()
            return samples[min(number, len(samples) - 1) if parameter in searched else 0]

        trial = space.resolve(spec, space.point(value, chosen))
        model = new_model(trial, data, base_dir)
        with importable(base_dir):
            method = find_method(trial.prune.method)
        deployment = target.deploy(trial, method, model, data.input_shape, base_dir)
        rows, trained = data.x_train[:NUMBER_ROWS], trial.train.epochs == 0
        notes += deployment.number_notes(model, rows, trained)
    return notes


def _early_stop(spec: SweepSpec) -> str:
    """Return when trials end before their budgets are met, in words."""
    rule = spec.early_stop
    if rule is None:
        return "off"
    later = ", ".join(str(rule.first_step * rule.factor**k) for k in range(3))
    if rule.promote:
        return (
            f"every trial pauses at steps {later}, ...; the best 1 in {rule.factor} by "
            "non-domination rank are promoted, and continue from their checkpoints"
        )
    return (
        f"at steps {later}, ... the best 1 in {rule.factor} by non-domination rank continue, and "
        f"so do those that no trial beats by {rule.margin:.0%} of every objective's range"
    )


def _costs(corners: Sequence[_Corner]) -> Iterator[CostRow]:
    deployment = corners[0].prepared.deployment
    for name in corners[0].quantities:
        values = [v for corner in corners if (v := corner.quantities[name]) is not None]
        if not values:
            yield CostRow(name, None, None, None, None)
            continue
        least = [corner.prepared.deployment.prunable.least.get(name) for corner in corners]
        # LUTs and flip-flops are held by more than the weights that are pruned.
        counted = [v for v in least if v is not None and deployment.prunable.counts_all_of(name)]
        share = deployment.share(name, max(values))
        yield CostRow(name, min(values), max(values), share, min(counted, default=None))


def _reference(
    spec: SweepSpec, task: Task, corners: Sequence[_Corner], data: Dataset
) -> dict[str, float]:
    """Return the worst value of each objective: a guess's, or just beyond the worst corner."""
    guessed = task.guess(data.y_train, data.y_val, data.n_outputs, data.w_val)
    guesses = {f"val_{alias}": value for alias, value in guessed.items()}
    reference: dict[str, float] = {}
    for name, direction in spec.objectives.items():
        if name in guesses:
            reference[name] = guesses[name]
        elif direction == "max":
            reference[name] = 0.0
        else:
            values = [v for c in corners if (v := c.quantities.get(name)) is not None]
            reference[name] = _MARGIN * max(values, default=1.0)
    return reference
