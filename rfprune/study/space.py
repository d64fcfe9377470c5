"""The search space of one sweep: every searched path with its values, parents before children.

A space knows which values belong together; how it is made from a sweep file and checked against the
network is in `rfprune.study.expand`. The seed of a sweep is the seed of all its trials (unless
``seed`` is searched itself), so trials that differ only in pruning share one dense training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from rfprune.core.registry import nearest
from rfprune.errors import SpecError
from rfprune.hardware.reuse import LARGEST_PARTITION, LayerSizes
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.networks import SEARCHED
from rfprune.spec.yaml_files import get_path, parse_spec, set_path
from rfprune.study.parameters import Listed, Parameter, Scalar

if TYPE_CHECKING:
    from optuna.trial import FixedTrial, Trial

__all__ = ["ParameterRow", "Space", "assignments", "merge", "named_in_conditions", "trial_values"]

Values = dict[str, Scalar]


class ParameterRow(NamedTuple):
    """One line of the table that ``rfprune check`` prints.

    Attributes:
        path: dotted path in the trial file.
        kind: range, log range, choices, or reuse factors.
        values: what may be drawn.
        n_values: how many there are, None for a continuum.
        when: the condition under which it is searched; empty if always.
    """

    path: str
    kind: str
    values: str
    n_values: int | None
    when: str


def trial_values(spec: SweepSpec) -> dict[str, Any]:
    """Return the part of a sweep file that is a trial file, as plain JSON values."""
    whole = spec.canonical()
    return {name: whole[name] for name in TrialSpec.model_fields if name in whole}


def merge(base: Mapping[str, Any], values: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return a copy of the nested mapping `base` with `values` set at their dotted paths."""
    merged: dict[str, Any] = _copied(base)
    for path, value in values.items():
        set_path(merged, path, value)
    return merged


def _copied(value: Any) -> Any:
    """Return a copy of plain JSON values; `copy.deepcopy`, which takes any, is slower by far."""
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Space:
    """The searched paths of one sweep, and the trial they start from.

    Attributes:
        parameters: parents before the children whose ``when`` names them.
        base: the trial file's values, which hold wherever nothing is searched.
        starts: points that are tried first, by path.
        layers: of the network that it was checked against, ``{name: (n_in, n_out, largest)}``.
        networks: with several of them, what `base` is for each, by label; the searched path
            ``model`` then has a label as its value, and a trial file the network's section.
    """

    parameters: tuple[Parameter, ...]
    base: Mapping[str, Any]
    starts: tuple[Values, ...] = ()
    layers: LayerSizes = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def conditional(self) -> bool:
        """Whether some path is searched only while another has a certain value."""
        return any(parameter.when for parameter in self.parameters)

    def active(self, parameter: Parameter, values: Mapping[str, Scalar]) -> bool:
        """Return whether `parameter` is searched, given the `values` of its parents."""
        return all(
            values.get(path, get_path(dict(self.base), path)) in allowed
            for path, allowed in parameter.when.items()
        )

    def point(
        self, value: Callable[[Parameter], Scalar], given: Mapping[str, Scalar] | None = None
    ) -> Values:
        """Return a point: a value for every path that is searched there.

        Args:
            value: asked for each of these paths that is not given.
            given: values of some paths.
        """
        given = given or {}
        values: Values = dict(given)
        # Parents come first, so that what decides about a path has its value.
        for parameter in self.parameters:
            if parameter.path not in given and self.active(parameter, values):
                values[parameter.path] = value(parameter)
        return values

    def suggest(self, trial: Trial | FixedTrial) -> Values:
        """Draw one point."""
        return self.point(lambda parameter: parameter.suggest(trial))

    def middle(self) -> Values:
        """Return the point with every path in the middle of its values."""
        return self.point(lambda parameter: parameter.middle())

    def resolve(self, spec: SweepSpec, values: Mapping[str, Scalar]) -> TrialSpec:
        """Return the trial at point `values` of `spec`, of which this is the space.

        Sections that the point does not touch are taken over as they are, checked when the sweep
        file was read. A touched section is checked whole, and so are the rules between sections:
        trial and refusal are those of a file in which the values are written out.

        Raises:
            SpecError: the values together break a rule of the trial file.
        """
        base, values = self._at(values)
        touched = {path.partition(".")[0] for path in values}
        # A network of several may leave settings of layers out that only others have.
        touched |= {name for name in self.base if base[name] != self.base[name]}
        changed = merge({name: base[name] for name in touched if name in base}, values)
        # A sweep draws thousands of points; sections that none of them touches are checked once.
        kept = {name: getattr(spec, name) for name in self.base if name not in touched}
        return parse_spec(TrialSpec, {**kept, **changed}, spec.name)

    def written(self, values: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return the trial file at a point, as plain values."""
        return merge(*self._at(values))

    def _at(self, values: Mapping[str, Scalar]) -> tuple[Mapping[str, Any], Mapping[str, Scalar]]:
        """Return what a point starts from, and what it changes there."""
        if not self.networks or SEARCHED not in values:
            return self.base, values
        rest = {path: value for path, value in values.items() if path != SEARCHED}
        return self.networks[str(values[SEARCHED])], rest

    def value_in(self, trial: Mapping[str, Any], path: str) -> Scalar | None:
        """Return the value of a trial file at a searched path, None where it has none here."""
        value: Scalar | None = get_path(dict(trial), path)
        if not self.networks or path != SEARCHED:
            return value
        return next((name for name, own in self.networks.items() if own[SEARCHED] == value), None)

    def encode(self, values: Mapping[str, Scalar], source: str) -> Values:
        """Return what the study holds for a point, which may leave paths open.

        Raises:
            SpecError: a path that is not searched, or a value that cannot be drawn.
        """
        # In reverse: where no network decides, the first parameter of a path stands for it.
        by_path = {parameter.path: parameter for parameter in reversed(self.parameters)}
        by_path |= {p.path: p for p in self.parameters if p.of and self.active(p, values)}
        encoded: Values = {}
        for path, value in values.items():
            parameter = by_path.get(path)
            if parameter is None:
                raise SpecError(
                    f"{source}: '{path}' is not searched.{nearest(path, by_path)} "
                    f"Searched: {', '.join(dict.fromkeys(p.path for p in self.parameters))}."
                )
            if not parameter.contains(value):
                raise SpecError(
                    f"{source}: {path} = {value!r} cannot be drawn. Allowed: {parameter.text()}."
                )
            encoded[parameter.name] = parameter.encode(value)
        return encoded

    def size(self) -> int | None:
        """Return how many points the space has; None if it is a continuum."""
        if any(parameter.count is None for parameter in self.parameters):
            return None
        named = named_in_conditions(self.parameters)
        size = 1
        # What no condition connects is independent, so the sizes of the groups multiply. Within a
        # group only the values that conditions name are told apart.
        for part in self._components():
            parents = [p for p in part if p.path in named]
            leaves = [p for p in part if p.path not in named]
            size *= sum(
                weight * math.prod(p.count or 1 for p in leaves if self.active(p, values))
                for values, weight in assignments(self, parents, named)
            )
        return size

    def points(self) -> Iterator[Values]:
        """Yield every point of a finite space."""
        named: dict[str, list[Scalar]] = {}
        for parameter in self.parameters:
            named.setdefault(parameter.path, []).extend(parameter.every())
        named = {path: list(dict.fromkeys(values)) for path, values in named.items()}
        return (values for values, _ in assignments(self, self.parameters, named))

    def describe(self) -> list[ParameterRow]:
        """Return one row per searched path."""
        return [
            ParameterRow(
                p.path,
                p.kind,
                p.text(),
                p.count,
                " and ".join(f"{path} = {' or '.join(map(str, v))}" for path, v in p.when.items()),
            )
            for p in self.parameters
        ]

    def notes(self) -> list[str]:
        """Return a sentence per path of which values are left out."""
        return [
            f"search.{parameter.path}: without {', '.join(map(str, parameter.left_out))}, at which "
            f"Vivado HLS stops (more than {LARGEST_PARTITION:,} unrolled or partitioned elements); "
            "name them as choices to search them anyway."
            for parameter in self.parameters
            if isinstance(parameter, Listed) and parameter.left_out
        ]

    def _components(self) -> list[list[Parameter]]:
        """Return the parameters in groups that no ``when`` connects."""
        parts: list[list[Parameter]] = []
        for parameter in self.parameters:
            # A new parameter may join groups that had nothing to do with each other.
            tied = [p for p in parts if any(other.path in parameter.when for other in p)]
            joined = [other for part in tied for other in part]
            parts = [part for part in parts if part not in tied]
            parts.append([*joined, parameter])
        order = {parameter.name: i for i, parameter in enumerate(self.parameters)}
        return [sorted(part, key=lambda p: order[p.name]) for part in parts]


def named_in_conditions(parameters: Sequence[Parameter]) -> dict[str, list[Scalar]]:
    """Return the values that some ``when`` names, by path."""
    named: dict[str, dict[Scalar, None]] = {}
    for parameter in parameters:
        for path, allowed in parameter.when.items():
            named.setdefault(path, {}).update(dict.fromkeys(allowed))
    return {path: list(values) for path, values in named.items()}


def assignments(
    space: Space, parameters: Sequence[Parameter], named: Mapping[str, Collection[Scalar]]
) -> Iterator[tuple[Values, int]]:
    """Yield the points of `parameters` that differ in what `named` tells apart, with their numbers.

    All values of a path that are not named count as one class, of which one member stands for all.

    Args:
        space: where the parameters belong.
        parameters: some of its parameters, parents first and none of them missing.
        named: the values to be told apart, by path.
    """
    classes = {p.name: list(_classes(p, named.get(p.path, ()))) for p in parameters}

    def walk(depth: int, values: Values, weight: int) -> Iterator[tuple[Values, int]]:
        if depth == len(parameters):
            yield values, weight
        elif not space.active(parameters[depth], values):
            yield from walk(depth + 1, values, weight)
        else:
            path = parameters[depth].path
            for value, count in classes[parameters[depth].name]:
                yield from walk(depth + 1, {**values, path: value}, weight * count)

    return walk(0, {}, 1)


def _classes(parameter: Parameter, named: Collection[Scalar]) -> Iterator[tuple[Scalar, int]]:
    inside = [value for value in named if parameter.contains(value)]
    # Each value that some condition names is a class of its own; all others are alike.
    for value in inside:
        yield value, 1
    rest = None if parameter.count is None else parameter.count - len(inside)
    if rest == 0:
        return
    other = next((value for value in parameter.every() if value not in inside), None)
    if other is not None:
        yield other, rest or 1
