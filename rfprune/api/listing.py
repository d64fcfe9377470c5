"""What can be named in a file, and the schemas of the file formats."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from rfprune.core.registry import nearest, resolve
from rfprune.errors import UnknownNameError

__all__ = ["NAMED", "SCHEMAS", "names", "schema"]

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
#: What `names` lists, in the order of a sweep file.
NAMED = (
    *("models", "layers", "datasets", "tasks", "metrics", "parts", "devices", "methods"),
    *("estimators", "sweeps", "profiles"),
)
#: What `schema` describes, by the class of the format.
SCHEMAS = {
    "sweep": "rfprune.spec:SweepSpec",
    "trial": "rfprune.spec:TrialSpec",
    "design": "rfprune.fpga.estimators.design:Design",
}


def names(kind: str) -> dict[str, str]:
    """Return what can be named in a file, with one line of text each; as ``rfprune list`` does.

    Example::

        "xc7z020" in rfprune.names("parts")

    Args:
        kind: one of `NAMED`: models, layers, datasets, tasks, metrics, parts, devices, methods,
            estimators, sweeps, profiles.

    Raises:
        UnknownNameError: there is no such list.
    """
    if kind not in NAMED:
        raise UnknownNameError(
            f"unknown list '{kind}'.{nearest(kind, NAMED)} Known: {', '.join(NAMED)}."
        )
    if kind in _REGISTRIES:
        table = resolve(_REGISTRIES[kind])
        return {name: table[name].summary for name in table}
    return dict((_OWN[kind] if kind in _OWN else resolve(_FUNCTIONS[kind]))())


def schema(kind: str = "sweep") -> dict[str, Any]:
    """Return the JSON schema of a file format, for completion and checks in editors.

    Example::

        sorted(rfprune.schema("trial")["properties"])

    Args:
        kind: one of `SCHEMAS`: sweep, trial, design.

    Raises:
        UnknownNameError: no such format.
    """
    if kind not in SCHEMAS:
        raise UnknownNameError(
            f"unknown file format '{kind}'.{nearest(kind, SCHEMAS)} Known: {', '.join(SCHEMAS)}."
        )
    found = resolve(SCHEMAS[kind]).model_json_schema()
    if kind == "sweep":
        # A sweep without a name has that of its file.
        found["required"].remove("name")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


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
