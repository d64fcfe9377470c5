"""From the search section of a sweep file to a space that fits the network, or a sentence why not.

Checks everything that can be known before the first trial: that each path exists and takes the
values, that layers exist, and that no point holds a reuse factor or strategy that hls4ml would
silently replace. The network arrives as the size of each layer, ``{name: (n_in, n_out, largest)}``
(`rfprune.hardware.reuse.LayerSize`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from rfprune.core.registry import nearest
from rfprune.errors import ReuseFactorError, SpecError
from rfprune.hardware.reuse import (
    LARGEST_PARTITION,
    LayerSize,
    LayerSizes,
    check_reuse_factor,
    partitioned,
    resolve_strategy,
    valid_reuse_factors,
)
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.hardware import layer_of
from rfprune.spec.search import Choices, Entry, Range, ValidReuseFactors
from rfprune.spec.yaml_files import get_path, parse_spec, path_type
from rfprune.study.networks import each_alone, joined
from rfprune.study.parameters import Listed, Numbers, Parameter, Scalar
from rfprune.study.space import (
    Space,
    assignments,
    merge,
    named_in_conditions,
    trial_values,
)

__all__ = ["expand"]

Layers = Mapping[str, LayerSize]

_SECTIONS = ("hardware.layers", "prune.layers")
_GLOBAL_REUSE = "hardware.reuse_factor"
#: Keys of ``hardware.layers`` that the weights of a recurrent layer cannot have of their own.
_SHARED = ("strategy", "output_precision")


class _NoEffectError(SpecError):
    """A searched path decides nothing."""


def expand(spec: SweepSpec, layers: LayerSizes | Mapping[str, LayerSizes]) -> Space:
    """Return the search space of `spec` on a network with these `layers`.

    Args:
        spec: the sweep file.
        layers: size of every layer that holds weights, by name, in network order; none for an edge
            device, which has no reuse factors. Of several networks that by their labels.

    Raises:
        SpecError: a path or layer that does not exist, a value that its field refuses, a condition
            that never holds, or strategy resource_unrolled at reuse factor 1.
        ReuseFactorError: a reuse factor that hls4ml would silently round.
    """
    if not spec.models:
        return _of_one(spec, cast(LayerSizes, layers))
    spaces: dict[str, Space] = {}
    faults: list[_NoEffectError] = []
    for label, own, sizes in each_alone(spec, cast(Mapping[str, LayerSizes], layers)):
        try:
            spaces[label] = _of_one(own, sizes)
        except _NoEffectError as fault:
            # It may have an effect in another network.
            faults.append(fault)
            search = {path: e for path, e in own.search.items() if path != _GLOBAL_REUSE}
            spaces[label] = _of_one(own.model_copy(update={"search": search}), sizes)
    if len(faults) == len(spaces):
        raise faults[0]
    space = joined(spec, spaces)
    return replace(space, parameters=tuple(_parents_first(list(space.parameters), spec.name)))


def _of_one(spec: SweepSpec, layers: LayerSizes) -> Space:
    """Return the search space of a sweep over one network."""
    base = trial_values(spec)
    sizes = {name: LayerSize(*size) for name, size in layers.items()}
    builder = _Builder(spec, sizes, base)
    parameters = [builder.parameter(path, entry) for path, entry in builder.entries().items()]
    # A point is drawn path by path: the parents' values must be there first.
    ordered = _parents_first(_conditions_met(parameters, base, spec.name), spec.name)
    space = Space(tuple(ordered), base)
    for parameter in ordered:
        # A trial is built at every value that stands for others: what its file refuses is refused
        # here.
        for value in parameter.samples():
            source = f"{spec.name}: search.{parameter.path} = {value!r}"
            # One value at a time: values that break a rule only together are refused when drawn.
            parse_spec(TrialSpec, merge(base, {parameter.path: value}), source)
    for name, size in sizes.items():
        _check_layer(space, name, size)
    return replace(space, starts=tuple(_starts(spec, space, sizes)), layers=sizes)


@dataclass(frozen=True)
class _Builder:
    spec: SweepSpec
    layers: Layers
    base: Mapping[str, Any]

    def entries(self) -> dict[str, Entry]:
        """Return the entries with every ``*`` written out; a layer's own entry wins."""
        # Decided before anything is written out: the order of the file must not matter.
        explicit = {path for path in self.spec.search if "*" not in path}
        found: dict[str, Entry] = {}
        for path, entry in self.spec.search.items():
            source = f"{self.spec.name}: search.{path}"
            path_type(TrialSpec, path, f"{self.spec.name}: search")
            for concrete, layer in _write_out(path, self.layers, source):
                if concrete == path or concrete not in explicit:
                    when = self._same_layer(entry, layer, f"{source}.when")
                    found[concrete] = entry.model_copy(update={"when": when})
        return found

    def _same_layer(self, entry: Entry, layer: str, source: str) -> dict[str, Any]:
        """Return the entry's conditions, in which ``*`` stands for the entry's own layer."""
        when = {}
        for key, value in entry.when.items():
            path_type(TrialSpec, key, source)
            if "*" in key and not layer:
                raise SpecError(
                    f"{source}: '{key}': '*' is allowed only where the searched path names a layer."
                )
            concrete = _of_layer(key, layer)
            when[next(_write_out(concrete, self.layers, source))[0]] = value
        return when

    def parameter(self, path: str, entry: Entry) -> Parameter:
        """Return the parameter that `entry` stands for."""
        source = f"{self.spec.name}: search.{path}"
        when = {
            key: tuple(value) if isinstance(value, list) else (value,)
            for key, value in entry.when.items()
        }
        if isinstance(entry, ValidReuseFactors):
            valid = self._valid(path, entry, source)
            built = self._built(path, valid)
            left_out = tuple(factor for factor in valid if factor not in built)
            return Listed(path, built, ordered=True, when=when, left_out=left_out)
        parameter = _plain(path, entry, when, source)
        if _is_reuse_factor(path):
            self._check_reuse_factors(path, parameter, source)
        return parameter

    def _valid(self, path: str, entry: ValidReuseFactors, source: str) -> tuple[int, ...]:
        """Return the reuse factors between the entry's ends that all its layers keep."""
        if not _is_reuse_factor(path):
            raise SpecError(
                f"{source}: 'valid: true' is for reuse factors. Allowed: hardware.reuse_factor "
                "and hardware.layers.*.reuse_factor; elsewhere low and high, or choices."
            )
        sizes = self._layers_of(path)
        common = set.intersection(*(set(_valid_for(size)) for size in sizes.values()))
        chosen = sorted(
            rf for rf in common if rf >= entry.low and (entry.high is None or rf <= entry.high)
        )
        # At 1 strategy auto builds one weight of a recurrent layer in latency, and would build the
        # other in resource_unrolled: both have one strategy, so that the trial would be refused.
        if any(layer_of(name) and "latency" not in self._strategies(name) for name in sizes):
            chosen = [rf for rf in chosen if rf > 1] or chosen
        if not chosen:
            end = "up" if entry.high is None else f"to {entry.high}"
            # The nearest to the end that was asked for, so that the sentence offers a way out.
            near = min(common, key=lambda rf: (abs(rf - (entry.high or entry.low)), rf))
            names = ", ".join(f"{name} ({n}x{m})" for name, (n, m, _) in sizes.items())
            raise SpecError(
                f"{source}: no reuse factor from {entry.low} {end} is valid for {names}; the "
                f"nearest is {near}. Valid: {' '.join(map(str, sorted(common)))}."
            )
        return tuple(chosen)

    def _built(self, path: str, factors: tuple[int, ...]) -> tuple[int, ...]:
        """Return the reuse factors at which the vendor's tool does not stop at some layer.

        All of them where it stops at every one: then the layer is the fault, and `check` names it.
        """
        layers = self._layers_of(path)

        def stops(factor: int) -> bool:
            return any(
                all(
                    partitioned(size.n_in * size.n_out, factor, strategy) > LARGEST_PARTITION
                    for strategy in self._strategies(name)
                )
                for name, size in layers.items()
            )

        return tuple(factor for factor in factors if not stops(factor)) or factors

    def _strategies(self, layer: str) -> set[str]:
        """Return the strategies that a layer can have in this sweep."""
        entries = self.entries()
        for path in _deciding(layer, "strategy"):
            entry, fixed = entries.get(path), get_path(dict(self.base), path)
            if isinstance(entry, Choices):
                return {*map(str, entry.choices), *([] if fixed is None else [str(fixed)])}
            if fixed is not None:
                return {str(fixed)}
        return {"auto"}

    def _check_reuse_factors(self, path: str, parameter: Parameter, source: str) -> None:
        values = parameter.values if isinstance(parameter, Listed) else _whole_values(parameter)
        low, *_, high = (*parameter.samples(), parameter.samples()[-1])
        sizes = self._layers_of(path)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"{source}: {value!r} is not a reuse factor. Allowed: 1, 2, 3, ...")
            for name, size in sizes.items():
                try:
                    _check(name, size, value)
                except ReuseFactorError as error:
                    raise ReuseFactorError(
                        f"{source}: {error} Write {{valid: true, low: {low}, high: {high}}} to "
                        "search the valid ones only."
                    ) from None

    def _layers_of(self, path: str) -> dict[str, LayerSize]:
        """Return the layers whose reuse factor `path` may decide."""
        if path != _GLOBAL_REUSE:
            named = path.split(".")[2]
            return {n: size for n, size in self.layers.items() if named in (n, layer_of(n))}
        # A layer whose own factor is searched only sometimes falls back to the global one.
        always = {concrete for concrete, entry in self.entries().items() if not entry.when}
        rest = {}
        for name, size in self.layers.items():
            *own, _ = _deciding(name, "reuse_factor")
            if all(path not in always and get_path(dict(self.base), path) is None for path in own):
                rest[name] = size
        if not rest:
            raise _NoEffectError(
                f"{self.spec.name}: search.{path}: has no effect, because every layer has its own "
                "reuse factor. Leave it out."
            )
        return rest


def _write_out(path: str, layers: Layers, source: str) -> Iterator[tuple[str, str]]:
    """Yield the paths that `path` stands for, each with its layer (empty if it names none)."""
    names = path.split(".")
    section = ".".join(names[:2])
    if "*" in path and (section not in _SECTIONS or names[2] != "*" or path.count("*") > 1):
        allowed = " and ".join(f"{known}.*" for known in _SECTIONS)
        raise SpecError(f"{source}: '*' stands for every layer. Allowed only in {allowed}.")
    if section not in _SECTIONS or len(names) < 3:
        yield path, ""
    elif names[2] == "*":
        written = {_of_layer(path, layer): layer for layer in layers}
        for concrete in written:
            yield concrete, concrete.split(".")[2]
    else:
        _check_named(section, names[2], names[3:], layers, source)
        yield path, names[2]


def _of_layer(path: str, layer: str) -> str:
    """Return a path with a layer in the place of ``*``; of a weight, its layer if they share it."""
    shared = path.startswith("hardware.") and path.rpartition(".")[2] in _SHARED
    return path.replace("*", (layer_of(layer) or layer) if shared else layer)


def _check_named(section: str, name: str, keys: list[str], layers: Layers, source: str) -> None:
    """Refuse a layer that is not there, and one weight for what its layer has as a whole."""
    hardware = section == "hardware.layers"
    whole = [layer_of(layer) or layer for layer in layers] if hardware else []
    known = list(dict.fromkeys([*whole, *layers]))
    if name not in known:
        raise SpecError(
            f"{source}: the network has no layer '{name}'.{nearest(name, known)} "
            f"Layers: {', '.join(known)}."
        )
    if hardware and layer_of(name) and keys and keys[0] in _SHARED:
        raise SpecError(
            f"{source}: the weights of a recurrent layer share their {keys[0]}. Allowed: "
            f"hardware.layers.{layer_of(name)}.{keys[0]}."
        )


def _deciding(layer: str, key: str) -> list[str]:
    """Return the paths that decide a key of a layer, the first that is set before the others.

    One of several weights of a layer, ``gru-weight_hh_l0``, has what is set for the layer.
    """
    whole = layer_of(layer)
    names = [layer, whole] if whole else [layer]
    return [*(f"hardware.layers.{name}.{key}" for name in names), f"hardware.{key}"]


def _is_reuse_factor(path: str) -> bool:
    return path == _GLOBAL_REUSE or (
        path.startswith("hardware.layers.") and path.endswith(".reuse_factor")
    )


def _plain(
    path: str, entry: Range | Choices, when: dict[str, tuple[Scalar, ...]], source: str
) -> Parameter:
    if isinstance(entry, Range):
        high = Numbers.last_on_grid(entry.low, entry.high, entry.step)
        return Numbers(path, entry.low, high, entry.step, entry.log, when)
    # Equal choices would be one point with two names in the study.
    twice = [value for i, value in enumerate(entry.choices) if value in entry.choices[:i]]
    if twice:
        raise SpecError(f"{source}: the choice {twice[0]!r} appears twice; leave one out.")
    numbers = [value for value in entry.choices if not isinstance(value, bool | str)]
    if len(numbers) < len(entry.choices):
        return Listed(path, tuple(entry.choices), when=when)
    # Sorted, so that a sampler sees neighbouring numbers as neighbours.
    return Listed(path, tuple(sorted(numbers)), ordered=True, when=when)


def _whole_values(numbers: Numbers) -> Iterator[Scalar]:
    """Yield every value, or one value that shows that they are not whole."""
    if isinstance(numbers.low, int) and isinstance(numbers.high, int):
        yield from range(numbers.low, numbers.high + 1, int(numbers.step or 1))
    else:
        yield float(numbers.samples()[-2 if len(numbers.samples()) > 1 else 0])


def _conditions_met(
    parameters: list[Parameter], base: Mapping[str, Any], name: str
) -> list[Parameter]:
    """Return the parameters without conditions that always hold; refuse those that never do."""
    by_path = {parameter.path: parameter for parameter in parameters}
    kept = []
    for parameter in parameters:
        when = {}
        for path, allowed in parameter.when.items():
            # A condition may name a key that is not searched; then the file's value decides, once.
            fixed = get_path(dict(base), path)
            parent = by_path.get(path)
            for value in allowed:
                possible = parent is not None and parent.contains(value)
                if not possible and value != fixed:
                    takes = parent.text() if parent else repr(fixed)
                    raise SpecError(
                        f"{name}: search.{parameter.path}.when: {path} is never {value!r}. "
                        f"Possible: {takes}."
                    )
            if parent is not None:
                when[path] = allowed
        kept.append(replace(parameter, when=when))
    return kept


def _parents_first(parameters: list[Parameter], name: str) -> list[Parameter]:
    ordered: list[Parameter] = []
    waiting = list(parameters)
    while waiting:
        # One at a time, so that the file's order stays wherever conditions allow it.
        later = {parameter.path for parameter in waiting}
        ready = [p for p in waiting if later.isdisjoint(p.when)]
        if not ready:
            circle = ", ".join(parameter.path for parameter in waiting)
            raise SpecError(f"{name}: search: the conditions of {circle} depend on each other.")
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered


def _valid_for(size: LayerSize) -> list[int]:
    return valid_reuse_factors(size.n_in, size.n_out, largest=size.largest)


def _check(subject: str, size: LayerSize, reuse_factor: int, strategy: str = "auto") -> None:
    check_reuse_factor(subject, size.n_in, size.n_out, reuse_factor, strategy, size.largest)


def _check_layer(space: Space, name: str, size: LayerSize) -> None:
    """Refuse points at which hls4ml would not build layer `name` as requested."""
    reuse, strategy = _deciding(name, "reuse_factor"), _deciding(name, "strategy")
    wanted = {*reuse, *strategy}
    # Everything that decides whether one of these keys is searched belongs to the check.
    for parameter in reversed(space.parameters):
        # Parents come first in the space, so that in reverse a parent's own parents are met later.
        if parameter.path in wanted:
            wanted.update(parameter.when)
    parameters = [parameter for parameter in space.parameters if parameter.path in wanted]
    named = dict(named_in_conditions(parameters))
    for parameter in parameters:
        if parameter.path in reuse and isinstance(parameter, Listed):
            named[parameter.path] = list(parameter.values)
        elif parameter.path in reuse:
            named[parameter.path] = [1]
        elif parameter.path in strategy:
            named[parameter.path] = list(parameter.samples())
    # Thousands of points share few pairs of strategy and factor.
    checked: set[tuple[Scalar, Scalar]] = set()
    for values, _ in assignments(space, parameters, named):
        key, factor = _effective(space, values, reuse)
        pair = (_effective(space, values, strategy)[1], factor)
        if pair not in checked:
            checked.add(pair)
            subject = key if key == reuse[0] else f"{key}: {name}"
            _check(subject, size, int(pair[1]), str(pair[0]))
            if pair == ("resource_unrolled", 1):
                resolve_strategy(name, "resource_unrolled", 1, _valid_for(size))


def _effective(space: Space, values: Mapping[str, Scalar], paths: list[str]) -> tuple[str, Scalar]:
    """Return path and value that hold: the layer's own, else those for all layers."""
    for path in paths[:-1]:
        # Null in the file means: as for all layers.
        own: Scalar | None = values.get(path, get_path(dict(space.base), path))
        if own is not None:
            return path, own
    return paths[-1], values.get(paths[-1], get_path(dict(space.base), paths[-1]))


def _starts(spec: SweepSpec, space: Space, layers: Layers) -> Iterator[dict[str, Scalar]]:
    """Yield the starting points with every ``*`` written out, checked against the space."""
    for number, point in enumerate(spec.start):
        source = f"{spec.name}: start[{number}]"
        explicit = {path for path in point if "*" not in path}
        values: dict[str, Scalar] = {}
        for path, value in point.items():
            for concrete, _ in _write_out(path, layers, f"{source}.{path}"):
                if concrete == path or concrete not in explicit:
                    values[concrete] = value
        space.encode(values, source)
        parse_spec(TrialSpec, merge(space.base, values), source)
        _check_active(space, values, source)
        yield values


def _check_active(space: Space, values: Mapping[str, Scalar], source: str) -> None:
    """Refuse a value of a path that is not searched at this point."""
    searched = {parameter.path for parameter in space.parameters}
    for parameter in space.parameters:
        open_parents = [p for p in parameter.when if p in searched and p not in values]
        if parameter.path in values and not open_parents and not space.active(parameter, values):
            given = ", ".join(f"{path} = {values.get(path)!r}" for path in parameter.when)
            raise SpecError(f"{source}: {parameter.path} is not searched where {given}.")
