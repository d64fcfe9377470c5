"""``rfprune list``: what can be named in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from rfprune.cli.common import JsonOption
from rfprune.errors import UnknownNameError
from rfprune.registry import nearest

__all__ = ["list_names"]

Rows = Iterable[tuple[str, str]]


def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="One of models, datasets, parts, methods, estimators, devices, profiles, sweeps.",
            show_default=False,
            autocompletion=lambda: list(_KINDS),
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """List what can be named in a file.

    Example: rfprune list parts
    """
    from rfprune.cli.common import print_json, stdout

    if kind not in _KINDS:
        raise UnknownNameError(
            f"unknown list '{kind}'.{nearest(kind, _KINDS)} Known: {', '.join(_KINDS)}."
        )
    rows = list(_KINDS[kind]())
    if as_json:
        print_json(dict(rows))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, summary in rows:
        stdout().print(f"{name:{width}}  {summary}", markup=False, soft_wrap=True)


def _models() -> Rows:
    from rfprune.models.table import MODELS

    return ((name, MODELS[name].summary) for name in MODELS)


def _datasets() -> Rows:
    from rfprune.data.table import DATASETS

    return ((name, DATASETS[name].summary) for name in DATASETS)


def _methods() -> Rows:
    from rfprune.methods import METHODS

    return ((name, METHODS[name].summary) for name in METHODS)


def _estimators() -> Rows:
    from rfprune.estimate import ESTIMATORS

    return ((name, ESTIMATORS[name].summary) for name in ESTIMATORS)


def _parts() -> Rows:
    from rfprune.hardware.parts import PARTS

    for name in PARTS:
        part = PARTS[name]
        boards = f" ({', '.join(part.boards)})" if part.boards else ""
        counts = f"{part.bram18} bram18, {part.lut} lut, {part.ff} ff"
        doubt = "" if part.confirmed else "; counts not confirmed"
        yield name, f"{part.dsp} {part.dsp_type}, {counts}{boards}{doubt}"


def _devices() -> Rows:
    from rfprune.monitor import list_devices

    return list_devices()


def _profiles() -> Rows:
    from rfprune.launch import list_profiles

    return list_profiles()


def _sweeps() -> Rows:
    from rfprune.shipped import shipped

    for path in sorted(shipped("sweeps").glob("*.yml")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        yield path.stem, first.lstrip("# ")


_KINDS: dict[str, Callable[[], Rows]] = {
    "models": _models,
    "datasets": _datasets,
    "parts": _parts,
    "methods": _methods,
    "estimators": _estimators,
    "devices": _devices,
    "profiles": _profiles,
    "sweeps": _sweeps,
}
