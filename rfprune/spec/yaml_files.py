"""Reading files: YAML in, a strict spec out; each fault is a sentence that names file and key."""

from __future__ import annotations

import os
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Discriminator, ValidationError
from pydantic_core import ErrorDetails

from rfprune.core.registry import nearest
from rfprune.errors import RfpruneError, SpecError

__all__ = [
    "apply_override",
    "changes",
    "get_path",
    "parse_spec",
    "parse_yaml",
    "path_type",
    "read_yaml",
    "set_path",
]

S = TypeVar("S", bound=BaseModel)


_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
#: What a file may hold; other tags make objects that no key takes.
_KINDS = tuple(_TAG + k for k in ("null", "bool", "int", "float", "str", "seq", "map", "merge"))
#: Far above any real file. Aliases and merge keys let a few lines stand for gigabytes, so what they
#: stand for is counted before it is made.
_MOST_BYTES, _MOST_VALUES, _DEEPEST, _MOST_DIGITS = 4 << 20, 200_000, 60, 400


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and reads ``1e-5`` as a number, as YAML 1.2 does.

    Dates are text: no key takes one, and a date that does not exist is an error of Python's.
    """

    def get_single_node(self) -> yaml.Node | None:
        """Return the tree of the document, once it is known to be of a reasonable size."""
        node = super().get_single_node()
        if node is not None:
            _count(node, {}, [])
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        # PyYAML lets the last of equal keys win, which hides a slip in a long file.
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be one word or number", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != f"{_TAG}timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1, which PyYAML reads, wants a dot in a float: 1e-5 would be text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _count(node: yaml.Node, known: dict[int, tuple[int, int]], above: list[int]) -> tuple[int, int]:
    """Return how many values a node stands for, aliases written out, and how deep they are nested.

    Raises:
        yaml.MarkedYAMLError: too many, too deep, a node within itself, or one that no key takes.
    """
    if id(node) in above:
        raise _refused("the anchor is used within itself", node)
    if id(node) in known:
        return known[id(node)]
    if node.tag not in _KINDS:
        raise _refused(f"the tag '{node.tag.replace(_TAG, '!!')}' is not allowed", node)
    total, depth = 1, 1
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(node)
    else:
        pairs = isinstance(node, yaml.MappingNode)
        inner = [part for pair in node.value for part in pair] if pairs else node.value
        for part in inner:
            n, below = _count(part, known, [*above, id(node)])
            total, depth = total + n, max(depth, below + 1)
    if total > _MOST_VALUES:
        raise _refused(f"more than {_MOST_VALUES} values, aliases counted in full", node)
    if depth > _DEEPEST:
        raise _refused(f"nested too deeply (more than {_DEEPEST} levels)", node)
    known[id(node)] = total, depth
    return total, depth


def _check_scalar(node: yaml.ScalarNode) -> None:
    if any("\ud800" <= character <= "\udfff" for character in node.value):
        raise _refused("half of a surrogate pair, which is not a character", node)
    if node.tag in (f"{_TAG}int", f"{_TAG}float") and len(node.value) > _MOST_DIGITS:
        raise _refused(f"a number of {len(node.value)} digits", node)


def _refused(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        SpecError: no such file, unreadable, YAML syntax (with line and column), not a mapping.
    """
    if path.is_dir():
        raise SpecError(f"{path}: is a folder. Allowed: a YAML file.")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SpecError(
                f"{path}: is {path.stat().st_size / 1e6:.0f} MB. Allowed: at most "
                f"{_MOST_BYTES >> 20} MiB."
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else Path()
        near = nearest(path.name, os.listdir(folder))
        raise SpecError(f"{path}: no such file.{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error}).") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Return the mapping in YAML `text`; `source` names it in messages.

    Raises:
        SpecError: YAML syntax (with line and column), or not a mapping.
    """
    try:
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SpecError(f"{source}{where}: YAML syntax: {error.problem}.") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"{source}: YAML syntax: {reason}.") from error
    except RecursionError:
        raise SpecError(f"{source}: YAML syntax: nested too deeply.") from None
    except (ValueError, TypeError, OverflowError) as error:
        # What PyYAML itself does not expect within a value, e.g. `!!int x`.
        raise SpecError(f"{source}: YAML syntax: {str(error).splitlines()[0]}.") from None
    if value is None:
        raise SpecError(f"{source}: is empty. Allowed: a mapping of keys.")
    if not isinstance(value, dict):
        kinds: dict[type, str] = {list: "a list", str: "text"}
        shown = kinds.get(type(value), "a single value")
        raise SpecError(f"{source}: holds {shown}. Allowed: a mapping of keys.")
    return value


def parse_spec(model: type[S], values: dict[str, Any], source: str) -> S:
    """Return `values` as a checked `model`.

    Raises:
        SpecError: the first fault, with file, dotted key, value, what is allowed, nearest choice.
    """
    try:
        return model.model_validate(values)
    except RfpruneError as error:
        raise SpecError(f"{source}: {error}") from error
    except ValidationError as error:
        faults = error.errors()
        # An unknown key is often a missing one misspelt, so it is the one to report.
        first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
        more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
        raise SpecError(f"{source}: {_sentence(model, first)}{more}") from None


def _sentence(model: type[BaseModel], fault: ErrorDetails) -> str:
    unknown = fault["type"] == "extra_forbidden"
    loc = [str(part) for part in fault["loc"]]
    names = _key(model, loc[:-1] if unknown or fault["type"] == "missing" else loc)
    if unknown:
        allowed = _fields_at(model, names)
        listed = f" Allowed: {', '.join(allowed)}." if allowed else ""
        key = ".".join([*names, loc[-1]])
        return f"unknown key '{key}'.{nearest(loc[-1], allowed)}{listed}"
    if fault["type"] == "missing":
        return f"the key '{'.'.join([*names, loc[-1]])}' is missing."
    text, shown = _in_words(fault).rstrip("."), fault["input"]
    # Our own messages often name the value; pydantic's never do.
    own_words = fault["type"] == "value_error"
    told = isinstance(shown, dict) or (
        own_words and (isinstance(shown, list) or str(shown) in text)
    )
    prefix = f"{'.'.join(names)}: " if names else ""
    value = repr(shown)
    value = value if len(value) <= 80 else f"{value[:77]}..."
    return f"{prefix}{text}." if told else f"{prefix}{text} (value: {value})."


def _key(model: type[BaseModel], loc: list[str]) -> list[str]:
    """Return the keys of a file in pydantic's path, which also names the branches of unions."""
    kind: Any = model
    names: list[str] = []
    is_branch = False
    for part in loc:
        inner = None if is_branch else _member(kind, part)
        # pydantic puts the tag of a union's branch between two keys of the file.
        marks = getattr(inner, "__metadata__", ())
        is_branch = not is_branch and any(isinstance(mark, Discriminator) for mark in marks)
        if inner is not None:
            names.append(part)
            kind = inner
    return names


#: pydantic's fault types in the words of a file; what is not here says it well enough itself.
_WORDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping of keys",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "model_attributes_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "string_type": "must be text",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
}


def _in_words(fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(context["expected"])) or [context["expected"]]
        return f"must be one of {', '.join(allowed)}.{nearest(str(fault['input']), allowed)}"
    if fault["loc"][-1:] == ("int",):
        # The first of two branches, a whole number or any other.
        return _WORDS["float_type"]
    if fault["type"] in _WORDS:
        return _WORDS[fault["type"]].format(**context)
    message = fault["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _fields_at(model: type[BaseModel], names: list[str]) -> list[str]:
    kind: Any = model
    for name in names:
        kind = _member(kind, name)
    models = [m for m in _alternatives(kind) if isinstance(m, type) and issubclass(m, BaseModel)]
    return sorted({field for m in models for field in m.model_fields})


def _alternatives(kind: Any) -> list[Any]:
    """Return the types that `kind` may be, without None, annotations and aliases."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return [a for arg in typing.get_args(kind) for a in _alternatives(arg)]
    return [] if kind is type(None) else [kind]


def _member(kind: Any, name: str) -> Any:
    """Return the type of member `name` of a model or mapping type, or None if there is none."""
    for option in _alternatives(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            if name in option.model_fields:
                return option.model_fields[name].annotation
        elif typing.get_origin(option) is dict:
            return typing.get_args(option)[1]
        elif typing.get_origin(option) in (list, tuple) and name.isdigit():
            return typing.get_args(option)[0]
        elif option in (dict, Any):
            return Any
    return None


def path_type(model: type[BaseModel], path: str, source: str) -> Any:
    """Return the type of the value at dotted `path` in `model`.

    Raises:
        SpecError: the path leads nowhere; names the nearest key at the point where it leaves.
    """
    kind: Any = model
    names = path.split(".")
    for depth, name in enumerate(names):
        inner = _member(kind, name)
        if inner is None:
            allowed = _fields_at(model, names[:depth])
            listed = f" Allowed here: {', '.join(allowed)}." if allowed else ""
            raise SpecError(
                f"{source}: the path '{path}' does not exist: no '{name}' in "
                f"'{'.'.join(names[:depth]) or 'the file'}'.{nearest(name, allowed)}{listed}"
            )
        kind = inner
    return kind


def get_path(values: dict[str, Any], path: str) -> Any:
    """Return the value at dotted `path` of nested mappings, or None where it is not set."""
    here: Any = values
    for name in path.split("."):
        if not isinstance(here, dict) or name not in here:
            return None
        here = here[name]
    return here


def set_path(values: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at dotted `path` of nested mappings in place, making mappings on the way."""
    *parents, last = path.split(".")
    here = values
    for name in parents:
        inner = here.get(name)
        if not isinstance(inner, dict):
            inner = {}
            here[name] = inner
        here = inner
    here[last] = value


def apply_override(values: dict[str, Any], text: str, model: type[BaseModel]) -> None:
    """Apply one ``--set KEY=VALUE`` (VALUE is YAML) to the mapping of a file, in place.

    Raises:
        SpecError: no ``=``, a key that does not exist, or a value that is not YAML.
    """
    source = f"--set {text}"
    path, sign, raw = text.partition("=")
    if not sign or not path:
        raise SpecError(f"{source}: is not KEY=VALUE. Example: --set train.epochs=5")
    path = path.strip()
    in_search = path.startswith("search.")
    if not in_search:
        path_type(model, path, source)
    try:
        value = yaml.load(raw, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, OverflowError):
        raise SpecError(f"{source}: the value '{raw}' is not valid YAML.") from None
    if in_search:
        _set_search(values, path.removeprefix("search."), value)
    else:
        set_path(values, path, value)


def _set_search(values: dict[str, Any], path: str, value: Any) -> None:
    """Set an entry of the search space, whose key is a dotted path itself, or a key of one."""
    if not isinstance(values.get("search"), dict):
        values["search"] = {}
    entries = values["search"]
    entry, _, key = path.rpartition(".")
    if path not in entries and isinstance(entries.get(entry), dict):
        entries[entry] = {**entries[entry], key: value}
    else:
        entries[path] = value


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return ``key: old -> new`` for every dotted key in which two mappings differ."""
    before, after = _flat(old), _flat(new)
    return [
        f"{key}: {before.get(key, 'not set')} -> {after.get(key, 'not set')}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {path: value}
    items: dict[str, Any] = {}
    for key, inner in value.items():
        items.update(_flat(inner, f"{path}.{key}" if path else str(key)))
    return items
