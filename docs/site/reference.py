"""The reference pages of the site, made from what they describe: schema, commands, docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import rfprune
from rfprune.spec import SweepSpec

__all__ = [
    "Key",
    "command_reference",
    "descriptions",
    "keys",
    "members",
    "python_reference",
    "returned",
    "sweep_reference",
]

_SAID = yaml.safe_load((Path(__file__).parent / "keys.yml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Key:
    """One key of a sweep file.

    Attributes:
        path: dotted.
        meaning: what it says.
        kind: what is allowed.
        default: as a file would say it; empty if the key is needed.
        unit: of a number; empty if it has none.
        example: a line of YAML.
    """

    path: str
    meaning: str
    kind: str
    default: str
    unit: str
    example: str

    @property
    def section(self) -> str:
        """Its first part."""
        return self.path.partition(".")[0]


def keys() -> list[Key]:
    """Return every key of a sweep file, in the order of the schema."""
    return list(dict.fromkeys(_walk(SweepSpec, "", ())))


def _walk(model: type[BaseModel], path: str, above: tuple[type, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        here = f"{path}{name}"
        yield _key(here, name, field)
        for inner in _models(field.annotation):
            if inner not in above and inner is not model:
                yield from _walk(inner, f"{here}.", (*above, model))


def _models(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for part in typing.get_args(kind) for model in _models(part)]


def _key(path: str, name: str, field: FieldInfo) -> Key:
    default = field.get_default(call_default_factory=True)
    meaning = field.description or _SAID["meanings"].get(path, "")
    unit = _SAID["units"].get(path, "")
    shown = "" if default is PydanticUndefined else _plain(default)
    return Key(path, meaning, _words(field.annotation), shown, unit, _example(path, name, field))


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, str) and value:
        return value
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else "see below"


def _words(kind: Any) -> str:
    """Return a type in the words of a file."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return ", ".join(str(part) for part in parts)
    if origin is typing.Annotated:
        return _words(parts[0])
    if origin is dict:
        return f"mapping of {_words(parts[1])}"
    if origin in (list, tuple, set):
        inner = [_words(part) for part in parts if part is not Ellipsis]
        return f"list of {inner[0]}" if inner else "list"
    if parts:
        return " or ".join(dict.fromkeys(_words(part) for part in parts if part is not type(None)))
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    return names.get(kind, "any value")


def _example(path: str, name: str, field: FieldInfo) -> str:
    """Return a line of YAML with the key; what is written down goes before what can be guessed."""
    if path in _SAID["examples"]:
        return str(_SAID["examples"][path])
    default = field.get_default(call_default_factory=True)
    if default is not PydanticUndefined and default is not None:
        value = _first_key(default) if isinstance(default, BaseModel) else default
        value = json.loads(json.dumps(value, default=str))
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
        return f"{name}: {text}".split("\n")[0]
    return f"{name}: {_guess(field.annotation)}"


def _first_key(section: BaseModel) -> dict[str, Any]:
    first, *_ = section.model_dump(mode="json").items()
    return dict([first])


def _guess(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return str(parts[0])
    if origin in (dict,):
        return "{NAME: " + _guess(parts[1]) + "}"
    if origin in (list, tuple, set):
        return f"[{_guess(parts[0])}]"
    if parts:
        return _guess(next(part for part in parts if part is not type(None)))
    names = {int: "1", float: "0.5", bool: "true", str: "NAME"}
    return names.get(kind, "{}")


def sweep_reference() -> str:
    """Return the page of every key of a sweep file."""
    lines = [
        "# Sweep file, key by key",
        "A trial file (`rfprune prune`) has the same keys up to `repeats`. `--set KEY=VALUE` and "
        "the keywords of `rfprune.sweep` take them as well. This page is made from the schema "
        "(`rfprune schema sweep`); what follows from several keys is in "
        "[sweep files](../sweep_files.md).",
    ]
    section = None
    for key in keys():
        if key.section != section:
            section = key.section
            lines += [f"## {section}", ""]
            lines += ["| key | meaning | allowed | default | example |", "|---|---|---|---|---|"]
        default = f"`{key.default}`" if key.default else "needed"
        said = not key.unit or re.search(rf"\b{key.unit}\b", key.meaning)
        meaning = key.meaning if said else f"{key.meaning} ({key.unit})"
        # An asterisk of a pattern is one, and no emphasis.
        meaning = "".join(
            part if part.startswith("`") else part.replace("*", "\\*")
            for part in re.split(r"(`[^`]*`)", meaning)
        )
        cells = [f"`{key.path}`", meaning, key.kind, default, f"`{key.example}`"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return _joined(lines)


def _joined(lines: list[str]) -> str:
    """Join rows of tables with one line break, everything else with an empty line."""
    text = ""
    for line in lines:
        both = line.startswith("|") and text.rstrip("\n").split("\n")[-1].startswith("|")
        text += line + "\n" if both or line.startswith("|") else f"\n{line}\n\n"
    return re.sub(r"\n{3,}", "\n\n", text).lstrip()


def command_reference() -> str:
    """Return the page of every command: its help, arguments and options."""
    from typer.main import get_command

    from rfprune.cli.app import app

    ends = "Exit status: 0 done; 1 the work failed; 2 the input is wrong; 130 interrupted."
    lines = ["# Commands", ends]
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        lines.append(f"## rfprune {name}")
        help_text, _, example = (command.help or "").partition("Example: ")
        lines += [help_text.strip(), f"```\n{example.strip()}\n```"]
        lines += ["| argument | meaning | default |", "|---|---|---|"]
        for parameter in command.params:
            option = ", ".join([*parameter.opts, *parameter.secondary_opts])
            shown = parameter.default if getattr(parameter, "show_default", True) else None
            told = "" if shown in (None, False) or callable(shown) else f"`{shown}`"
            meaning = " ".join(str(getattr(parameter, "help", "") or "").split())
            row = [f"`{option}`", meaning, told]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return _joined(lines)


def python_reference() -> str:
    """Return the page of every public name of the package, from its docstrings."""
    lines = [
        "# Python, name by name",
        "A guide with examples that run is [rfprune in Python](../python.md). What is raised on "
        "purpose is a `rfprune.errors.RfpruneError`: an `InputError` (nothing was written) or a "
        "`WorkError`.",
    ]
    for name in rfprune.__all__:
        if not name.startswith("_"):
            lines += _entry(f"rfprune.{name}", getattr(rfprune, name))
    lines.append("## Forms of networks and data")
    lines.append(_markdown(inspect.getdoc(importlib.import_module("rfprune.api.sweeps")) or ""))
    lines += ["## What they return", "Objects that the functions above make."]
    for kind, makers in returned().items():
        lines += [f"## {kind.__name__}", f"Made by {', '.join(f'`{name}`' for name in makers)}."]
        lines += [_markdown(text) for text in descriptions(kind)]
        lines += _members(kind.__name__, kind)
    return _joined(lines)


def _entry(name: str, thing: Any) -> list[str]:
    described = inspect.isclass(thing) and issubclass(thing, BaseModel)
    signature = "(**keys)" if described else _signature(thing)
    lines = [f"## {name}", f"```python\n{name}{signature}\n```"]
    lines.append(_markdown(inspect.getdoc(thing) or ""))
    if described:
        lines.append("The keys are those of the [sweep file](sweep.md).")
    elif inspect.isclass(thing):
        lines += _members(name, thing)
    return lines


def _members(name: str, kind: type) -> list[str]:
    lines = []
    for inner, value in members(kind).items():
        shown = _kind_of(value) if isinstance(value, property) else _signature(value)
        lines += [f"### {name}.{inner}", f"```python\n{inner}{shown}\n```"]
        lines.append(_markdown(inspect.getdoc(value) or ""))
    return lines


def members(kind: type) -> dict[str, Any]:
    """Return the public methods and properties of a class that are written in this package."""
    found = {name: value for base in reversed(_own(kind)) for name, value in vars(base).items()}
    found = {name: getattr(v, "__func__", v) for name, v in found.items() if name[0] != "_"}
    return {n: v for n, v in found.items() if inspect.isfunction(v) or isinstance(v, property)}


def descriptions(kind: type) -> list[str]:
    """Return the docstrings of a class and of those that it is made from."""
    return [inspect.cleandoc(base.__doc__) for base in _own(kind) if base.__doc__]


def _own(kind: type) -> list[type]:
    bases = [base for base in kind.__mro__ if base.__module__.startswith("rfprune.")]
    return [base for base in bases if not base.__name__.startswith("_")]


def returned() -> dict[type, list[str]]:
    """Return the classes of what public functions make that are no public names, and by which."""
    named = {name: getattr(rfprune, name) for name in rfprune.__all__ if name[0] != "_"}
    makers = {f"rfprune.{name}": each for name, each in named.items()}
    for each in (rfprune.Sweep, rfprune.Point):
        made = members(each).items()
        makers |= {f"{each.__name__}.{name}": value for name, value in made}
    found: dict[type, list[str]] = {}
    for name, each in makers.items():
        for kind in _made_by(each) if inspect.isfunction(each) else ():
            if kind not in named.values():
                found.setdefault(kind, []).append(name)
    return found


def _made_by(function: Any) -> Iterator[type]:
    """Yield the classes of this package in what a function says that it returns."""
    module = inspect.getmodule(function)
    assert module is not None
    # Most are imported for the types alone, so that only the text knows where they are from.
    imported = {
        alias.asname or alias.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for word in re.findall(r"\w+", str(inspect.signature(function).return_annotation)):
        home = imported.get(word) or (module.__name__ if word in vars(module) else "")
        if home.startswith("rfprune"):
            kind = getattr(importlib.import_module(home), word)
            if inspect.isclass(kind):
                yield kind


def _kind_of(attribute: property) -> str:
    kind = inspect.signature(attribute.fget).return_annotation if attribute.fget else ""
    return f": {_unquoted(kind)}"


def _signature(thing: Any) -> str:
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    bare = [
        p.replace(
            annotation=_unquoted(p.annotation),
            # A function that stands for "say nothing" has no name to show.
            default=_Bare("...") if inspect.isfunction(p.default) else p.default,
        )
        for p in found.parameters.values()
    ]
    text = str(found.replace(parameters=bare, return_annotation=_unquoted(found.return_annotation)))
    if len(text) < 90:
        return text
    inside, arrow, result = text[1:].rpartition(") -> ")
    inside, result = (inside, result) if arrow else (text[1:-1], "None")
    parts = re.split(r", (?=\w+:|\*|/)", inside)
    return "(\n    " + ",\n    ".join(parts) + f",\n) -> {result}"


class _Bare(str):
    """A type as it was written, without quotation marks."""

    __repr__ = str.__str__


def _unquoted(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _markdown(text: str) -> str:
    """Return a docstring as Markdown: sections as lists, double backquotes as single ones."""
    parts = re.split(r"::\n\n((?: {4}.*\n|\n)+)", text + "\n")
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = f"```python\n{dedent(part).strip()}\n```\n\n"
        elif place + 1 < len(parts):
            # A block that has no words of its own before it begins without a colon.
            parts[place] = _prose(part) + ("\n\n" if part.endswith("\n") else ":\n\n")
        else:
            parts[place] = _prose(part)
    return "".join(parts)


def _prose(text: str) -> str:
    text = text.replace("``", "`")
    text = re.sub(r"^(Args|Attributes|Returns|Raises):$", r"**\1**\n", text, flags=re.MULTILINE)
    # Lines that continue a list's entry, and the indented words of what is returned.
    text = re.sub(r"\n {8,}(?=\S)", " ", text)
    text = re.sub(r"^ {4}(\w[\w, ]*): ", r"- `\1`: ", text, flags=re.MULTILINE)
    return re.sub(r"^ {4}(?=\S)", "", text, flags=re.MULTILINE)
