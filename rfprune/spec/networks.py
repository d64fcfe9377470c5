"""Several networks in one sweep: from what a file says to one section ``model`` for each label.

A file names them in ``model: {choices: [...]}``, or lists values of an argument that are lists
themselves, such as widths, among what is searched (``model.args.hidden``). Either way the sweep
holds the networks by their labels, and ``search.model`` says which of them are tried. So everything
behind the file knows one kind of searched architecture: a label.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, GetJsonSchemaHandler, field_validator
from pydantic_core import CoreSchema

from rfprune.errors import SpecError
from rfprune.models.spec import ModelSpec
from rfprune.spec.yaml_files import parse_spec

__all__ = ["MOST_NETWORKS", "SEARCHED", "NamedModel", "OneOrSeveral", "several_networks"]

#: Key of the search under which a network is chosen.
SEARCHED = "model"
#: Each is built and checked before the first trial.
MOST_NETWORKS = 64
_ARGUMENT = "model.args."
#: A label, None where it is still to be made, and the section.
_Network = tuple[str | None, dict[str, Any]]
_NO_LABEL = re.compile(r"[^A-Za-z0-9_=+-]+")


class NamedModel(ModelSpec):
    """One of several networks."""

    label: str | None = Field(
        None, description="how tables and conditions call it; made of name and arguments if not set"
    )

    @field_validator("label")
    @classmethod
    def _a_word(cls, label: str | None) -> str | None:
        if label is not None and (not label or _NO_LABEL.search(label)):
            raise ValueError(f"'{label}' is not a label. Allowed: letters, digits and _ = + -")
        return label


class OneOrSeveral:
    """Mark of the key ``model`` of a sweep, whose schema also allows ``choices``."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the schema of one network, or of a list or mapping of several."""
        named = handler(NamedModel.__pydantic_core_schema__)
        choice = {"anyOf": [{"type": "string"}, named]}
        several = {
            "type": "object",
            "title": "ModelChoices",
            "description": "networks, of which each trial trains one",
            "additionalProperties": False,
            "required": ["choices"],
            "properties": {
                "choices": {
                    "anyOf": [
                        {"type": "array", "minItems": 1, "items": choice},
                        {"type": "object", "minProperties": 1, "additionalProperties": choice},
                    ]
                }
            },
        }
        return {"anyOf": [handler(schema), several]}


def several_networks(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a sweep file with its networks by label, where it names several.

    Raises:
        SpecError: a choice is not a network, lacks a label of its own, or appears twice.
    """
    model, search = values.get("model"), values.get("search")
    several = isinstance(model, Mapping) and "choices" in model
    search = search if isinstance(search, dict) else {}
    listed = {path: found for path in search if (found := _choices(search, path))}
    if not several and not any(isinstance(v, list) for found in listed.values() for v in found):
        return values
    if "models" in values or SEARCHED in search:
        raise SpecError("search.model: the networks are searched already; leave out search.model")
    for path in search:
        if path.startswith(_ARGUMENT) and path not in listed:
            raise SpecError(
                f"search.{path}: needs choices where there are several networks, each of which "
                "decides what its layers can have"
            )
    given: list[_Network]
    if isinstance(model, Mapping) and several:
        given = list(_given(model))
    else:
        given = [(None, _section(model, "model"))]
    networks = _labelled(list(_with_arguments(given, listed)))
    rest = {path: entry for path, entry in search.items() if path not in listed}
    first = next(iter(networks.values()))
    if len(networks) == 1:
        return {**values, "model": first, "search": rest}
    searched = {SEARCHED: {"choices": list(networks)}, **rest}
    return {**values, "model": first, "models": networks, "search": searched}


def _choices(search: Mapping[str, Any], path: str) -> list[Any]:
    """Return the listed values of an argument of the network; none for anything else."""
    entry = search[path]
    choices = entry.get("choices") if isinstance(entry, Mapping) else None
    if not path.startswith(_ARGUMENT) or not isinstance(choices, list):
        return []
    if any(isinstance(value, list) for value in choices) and entry.keys() != {"choices"}:
        raise SpecError(f"search.{path}: lists are chosen without further keys. Allowed: choices")
    return choices


def _given(model: Mapping[str, Any]) -> Iterator[_Network]:
    """Yield label, where there is one, and section of each choice."""
    others = [key for key in model if key != "choices"]
    if others:
        raise SpecError(
            f"model: give either choices or {others[0]}; what all choices share is written into "
            "each of them"
        )
    choices = model["choices"]
    if not isinstance(choices, list | Mapping) or not choices:
        raise SpecError(
            f"model.choices: must be a list of networks, or a mapping of labels to networks (value:"
            f" {choices!r})"
        )
    named = choices.items() if isinstance(choices, Mapping) else ((None, each) for each in choices)
    for number, (label, choice) in enumerate(named):
        place = f"model.choices.{number if label is None else label}"
        section = _section(choice, place)
        own = section.pop("label", None)
        yield (own if label is None else _checked(str(label), place)), section


def _checked(label: str, place: str) -> str:
    parse_spec(NamedModel, {"name": "mlp", "label": label}, place)
    return label


def _section(choice: Any, place: str) -> dict[str, Any]:
    """Return a choice as the plain values of a section ``model``."""
    values = {"name": choice} if isinstance(choice, str) else choice
    if not isinstance(values, Mapping):
        raise SpecError(f"{place}: must be a name or a mapping of keys (value: {choice!r})")
    try:
        network = parse_spec(NamedModel, dict(values), place)
    except SpecError as error:
        raise SpecError(str(error).removesuffix(".")) from None
    return network.model_dump(mode="json", exclude_unset=True)


def _with_arguments(given: list[_Network], listed: Mapping[str, list[Any]]) -> Iterator[_Network]:
    """Yield every network with every combination of the searched arguments."""
    names = [path.removeprefix(_ARGUMENT) for path in listed]
    total = len(given)
    for values in listed.values():
        total *= len(values)
    if total > MOST_NETWORKS:
        raise SpecError(f"model: {total} networks. Allowed: at most {MOST_NETWORKS} in one sweep")
    for label, section in given:
        for combined in itertools.product(*listed.values()):
            chosen = dict(zip(names, combined, strict=True))
            own = label and "-".join([label, *map(_word, combined)])
            yield own, {**section, "args": {**section.get("args", {}), **chosen}}


def _labelled(networks: list[_Network]) -> dict[str, dict[str, Any]]:
    """Return the networks by their labels."""
    for number, (_, section) in enumerate(networks):
        if any(section == other for _, other in networks[:number]):
            raise SpecError(f"model.choices: the network {section} is there twice; leave one out")
    arguments = [section.get("args", {}) for _, section in networks]
    keys = list(dict.fromkeys(key for args in arguments for key in args))
    differ = [key for key in keys if any(a.get(key) != arguments[0].get(key) for a in arguments)]
    base = [label or _short(section["name"]) for label, section in networks]
    many = Counter(base)
    found: dict[str, dict[str, Any]] = {}
    for (own, section), name in zip(networks, base, strict=True):
        args = section.get("args", {})
        more = [_word(args[key]) for key in differ if key in args] if own is None else []
        label = "-".join([name, *more]) if many[name] > 1 else name
        if label in found and own is not None:
            raise SpecError(f"model.choices: the label '{label}' is there twice; change one")
        number = 2
        while label in found:
            label, number = f"{label.removesuffix(f'-{number - 1}')}-{number}", number + 1
        found[label] = section
    return found


def _short(name: str) -> str:
    """Return the last part of a name: of a module's function, of a file without its ending."""
    last = name.rpartition(":")[2].rpartition("/")[2].removesuffix(".pt").removesuffix(".pth")
    return _word(last) or "network"


def _word(value: Any) -> str:
    text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
    return _NO_LABEL.sub("-", text).strip("-")
