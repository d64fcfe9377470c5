"""A sweep over several networks: each alone, and their search spaces joined into one.

A searched path may exist in one network only (the reuse factor of a layer that others lack), or
take other values in each (valid reuse factors follow from a layer's size). So every network is
expanded as a sweep of its own; where joined, a parameter is drawn only with the networks that have
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rfprune.core.registry import nearest
from rfprune.errors import SpecError
from rfprune.hardware.reuse import LayerSizes
from rfprune.spec import SweepSpec
from rfprune.spec.hardware import layer_of
from rfprune.spec.networks import SEARCHED
from rfprune.spec.search import Choices, Entry
from rfprune.study.parameters import Listed, Parameter, Scalar
from rfprune.study.space import Space, trial_values

__all__ = ["alone", "each_alone", "joined", "searched_labels"]

_WITH_LAYERS = ("hardware", "prune")


def searched_labels(spec: SweepSpec) -> tuple[str, ...]:
    """Return the labels of the networks that are tried; none if the sweep has one network."""
    entry = spec.search.get(SEARCHED)
    return tuple(map(str, entry.choices)) if isinstance(entry, Choices) else ()


def alone(spec: SweepSpec, label: str) -> SweepSpec:
    """Return the sweep of one of its networks, whose search may name layers of others."""
    return spec.model_copy(update={"model": spec.models[label], "models": {}})


def each_alone(
    spec: SweepSpec, layers: Mapping[str, LayerSizes]
) -> Iterator[tuple[str, SweepSpec, LayerSizes]]:
    """Yield label, sweep and layers of every network, its search without what only others have.

    Args:
        spec: of several networks.
        layers: of each, by label.

    Raises:
        SpecError: a condition on a network that is not there.
    """
    labels = searched_labels(spec)
    for path, entry in spec.search.items():
        for label in _wanted(entry) or ():
            if label not in labels:
                raise SpecError(
                    f"{spec.name}: search.{path}.when: model is never {label!r}."
                    f"{nearest(str(label), labels)} Possible: {', '.join(labels)}."
                )
    for label in labels:
        foreign = {name for other in labels for name in _names(layers[other])}
        foreign -= _names(layers[label])
        search = dict(_own_entries(spec.search, label, foreign))
        start = [
            {path: value for path, value in point.items() if path != SEARCHED}
            for point in spec.start
            if point.get(SEARCHED, labels[0]) == label
        ]
        own: dict[str, Any] = {
            "name": f"{spec.name} with model {label}",
            "search": search,
            "start": start,
        }
        for section in _WITH_LAYERS:
            found = getattr(spec, section)
            kept = {name: each for name, each in found.layers.items() if name not in foreign}
            if len(kept) < len(found.layers):
                own[section] = found.model_copy(update={"layers": kept})
        yield label, alone(spec, label).model_copy(update=own), layers[label]


def _names(layers: LayerSizes) -> set[str]:
    """Return what a file may call the layers: each, and the one that several weights belong to."""
    return {*layers, *filter(None, map(layer_of, layers))}


def _wanted(entry: Entry) -> list[Scalar] | None:
    """Return the networks that an entry names in its conditions; None if it names none."""
    wanted = entry.when.get(SEARCHED)
    return wanted if wanted is None or isinstance(wanted, list) else [wanted]


def _own_entries(
    search: Mapping[str, Entry], label: str, foreign: set[str]
) -> Iterator[tuple[str, Entry]]:
    for path, entry in search.items():
        wanted = _wanted(entry)
        paths = (path, *entry.when)
        if path == SEARCHED or (wanted is not None and label not in wanted):
            continue
        if any(_layer(each) in foreign for each in paths):
            continue
        when = {key: value for key, value in entry.when.items() if key != SEARCHED}
        yield path, entry.model_copy(update={"when": when})


def _layer(path: str) -> str:
    """Return the layer that a path names; nothing if it names none."""
    names = path.split(".")
    return names[2] if len(names) > 3 and names[1] == "layers" else ""


def joined(spec: SweepSpec, spaces: Mapping[str, Space]) -> Space:
    """Return one space of the spaces of several networks; its parameters are in no order.

    Args:
        spec: of the sweep.
        spaces: of each network, by label.
    """
    by_path: dict[str, list[tuple[Parameter, list[str]]]] = {}
    for label, space in spaces.items():
        for parameter in space.parameters:
            groups = by_path.setdefault(parameter.path, [])
            same = next((labels for known, labels in groups if known == parameter), None)
            if same is None:
                groups.append((parameter, [label]))
            else:
                same.append(label)
    parameters: list[Parameter] = [Listed(SEARCHED, tuple(spaces))]
    for groups in by_path.values():
        for parameter, labels in groups:
            when = dict(parameter.when)
            if len(labels) < len(spaces):
                when = {SEARCHED: tuple(labels), **when}
            of = ", ".join(labels) if len(groups) > 1 else ""
            parameters.append(replace(parameter, when=when, of=of))
    starts = [{SEARCHED: name, **start} for name, space in spaces.items() for start in space.starts]
    layers = {f"{n}: {layer}": size for n, s in spaces.items() for layer, size in s.layers.items()}
    networks = {label: space.base for label, space in spaces.items()}
    return Space(tuple(parameters), trial_values(spec), tuple(starts), layers, networks)
