"""``rfprune list``: what can be named in a file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from rfprune.cli.common import JsonOption
from rfprune.core.registry import nearest, resolve
from rfprune.errors import UnknownNameError

__all__ = ["list_names"]

#: Tables of the class `Registry`, by kind; each is imported only when it is asked for.
_REGISTRIES = {
    "models": "rfprune.models.named_models:MODELS",
    "datasets": "rfprune.data.sets.named:DATASETS",
    "methods": "rfprune.methods:METHODS",
    "estimators": "rfprune.fpga.estimators:ESTIMATORS",
}
#: Functions elsewhere that yield names and summaries, by kind.
_FUNCTIONS = {
    "devices": "rfprune.edge.monitor:list_devices",
    "layers": "rfprune.fpga.layers.taken:list_layers",
    "profiles": "rfprune.execution.launch:list_profiles",
}
#: In the order of a sweep file.
KINDS = (
    *("models", "layers", "datasets", "tasks", "metrics", "parts", "devices", "methods"),
    *("estimators", "sweeps", "profiles"),
)


def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help=f"One of {', '.join(KINDS)}.",
            show_default=False,
            autocompletion=lambda: list(KINDS),
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """List what can be named in a file.

    Example: rfprune list parts
    """
    from rfprune.cli.common import print_json, stdout

    if kind not in KINDS:
        raise UnknownNameError(
            f"unknown list '{kind}'.{nearest(kind, KINDS)} Known: {', '.join(KINDS)}."
        )
    if kind in _REGISTRIES:
        table = resolve(_REGISTRIES[kind])
        rows = {name: table[name].summary for name in table}
    else:
        rows = dict((_OWN[kind] if kind in _OWN else resolve(_FUNCTIONS[kind]))())
    if as_json:
        print_json(rows)
        return
    width = max(map(len, rows), default=0)
    for name, summary in rows.items():
        # One line per name, whatever the terminal's width, for grep and the like.
        stdout().print(f"{name:{width}}  {summary}", markup=False, soft_wrap=True)


def _parts() -> Iterator[tuple[str, str]]:
    from rfprune.hardware.parts import PARTS

    for name in PARTS:
        part = PARTS[name]
        boards = f" ({', '.join(part.boards)})" if part.boards else ""
        counts = f"{part.bram18} bram18, {part.lut} lut, {part.ff} ff"
        doubt = "" if part.confirmed else "; counts not confirmed"
        yield name, f"{part.dsp} {part.dsp_type}, {counts}{boards}{doubt}"


def _tasks() -> Iterator[tuple[str, str]]:
    from rfprune.tasks import TASKS

    for name, facts in TASKS.items():
        losses, metrics = ", ".join(facts.losses), ", ".join(facts.metrics)
        yield name, f"{facts.summary}; losses: {losses}; metrics: {metrics}"


def _metrics() -> Iterator[tuple[str, str]]:
    from rfprune.tasks import TASKS
    from rfprune.tasks.metrics import METRICS

    for name, row in METRICS.items():
        parameters = inspect.signature(row.function).parameters.values()
        # Only what a file may set; the others are the rows, which the task hands over.
        takes = [
            p.name if p.default is p.empty else f"{p.name} (default {p.default})"
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        ]
        arguments = f"; arguments: {', '.join(takes)}" if takes else ""
        tasks = ", ".join(task for task, facts in TASKS.items() if name in facts.metrics)
        yield name, f"{row.label} ({row.direction}){arguments}; tasks: {tasks}"


def _sweeps() -> Iterator[tuple[str, str]]:
    from rfprune.core.shipped import shipped

    for path in sorted(shipped("sweeps").glob("*.yml")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        yield path.stem, first.lstrip("# ")


_OWN: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "parts": _parts,
    "tasks": _tasks,
    "metrics": _metrics,
    "sweeps": _sweeps,
}
