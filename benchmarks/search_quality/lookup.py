"""Real trials on a grid, kept in a table, so that a search over them costs no training.

``python -m benchmarks.search_quality --tabulate TASK`` runs what the table does not hold yet, one
trial after the other; stop it at any time. The searches of the tasks list all their values, so that
every point they draw is in the table.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rfprune.quantities import DIRECTIONS
from rfprune.runs import StepRecord, SweepFolder
from rfprune.search import Space, expand
from rfprune.search.parameters import Scalar
from rfprune.spec import SweepSpec
from rfprune.spec.files import parse_spec, read_yaml

__all__ = ["LAYERS", "N_CLASSES", "TASKS", "Lookup", "read_lookup", "read_task", "tabulate"]

HERE = Path(__file__).parent
TABLES = HERE.parents[1] / "docs" / "results" / "search_quality"
TASKS = ("digits", "jets")
#: Shape of each layer's weight matrix, (n_in, n_out).
LAYERS = {
    "digits": {"fc1": (64, 64), "fc2": (64, 32), "fc3": (32, 32), "output": (32, 10)},
    "jets": {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 32), "output": (32, 5)},
}
N_CLASSES = {"digits": 10, "jets": 5}
_MEASURED = ("val_accuracy", "dsp", "latency_cycles", "seconds")
_FACTS = ("step", "accepted")


@dataclass(frozen=True)
class Lookup:
    """The steps of every trial of the grid.

    Attributes:
        axes: the values of the grid by path.
        steps: by point of the grid, its steps in order.
    """

    axes: Mapping[str, tuple[Scalar, ...]]
    steps: Mapping[tuple[Scalar, ...], tuple[StepRecord, ...]]

    def at(self, values: Mapping[str, Scalar]) -> tuple[StepRecord, ...]:
        """Return the steps of the trial at a point."""
        return self.steps[tuple(values[path] for path in self.axes)]


def read_task(name: str) -> tuple[SweepSpec, Space]:
    """Return the sweep of a task and its space."""
    path = HERE / f"{name}.yml"
    spec = parse_spec(SweepSpec, read_yaml(path), path.name)
    return spec, expand(spec, LAYERS[name])


def axes_of(space: Space) -> dict[str, tuple[Scalar, ...]]:
    """Return the values of the grid by path; every path lists them."""
    return {parameter.path: tuple(parameter.every()) for parameter in space.parameters}


def read_lookup(name: str) -> Lookup:
    """Return a task's table.

    Raises:
        SystemExit: the table is not complete yet.
    """
    _, space = read_task(name)
    axes = axes_of(space)
    rows = _read_rows(name, axes)
    missing = [point for point in itertools.product(*axes.values()) if point not in rows]
    if missing:
        raise SystemExit(
            f"{_path(name)}: {len(missing)} of {len(rows) + len(missing)} trials are missing. "
            f"To run them: python -m benchmarks.search_quality --tabulate {name}"
        )
    return Lookup(axes, {point: tuple(steps) for point, steps in rows.items()})


def _path(name: str) -> Path:
    return TABLES / f"{name}.csv"


def _read_rows(
    name: str, axes: Mapping[str, tuple[Scalar, ...]]
) -> dict[tuple[Scalar, ...], list[StepRecord]]:
    rows: dict[tuple[Scalar, ...], list[StepRecord]] = {}
    if not _path(name).exists():
        return rows
    with _path(name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            point = tuple(type(axis[0])(row[path]) for path, axis in axes.items())
            rows.setdefault(point, []).append(_record(row))
    return rows


def _record(row: Mapping[str, str]) -> StepRecord:
    known: dict[str, float | None] = dict.fromkeys(DIRECTIONS)
    known.update({quantity: float(row[quantity]) for quantity in _MEASURED})
    # The table holds what the search looks at; the test accuracy is not among it.
    known |= {"accuracy": 0.0, "sparsity": 0.0}
    return StepRecord.model_validate({**known, **{fact: int(row[fact]) for fact in _FACTS}})


def tabulate(name: str, work: Path) -> Iterator[str]:
    """Run the trials of the grid that the table does not hold; yield a line for each.

    Args:
        name: of the task.
        work: scratch folder, kept between runs for the dense network.
    """
    from rfprune.trial import run_trial

    spec, space = read_task(name)
    axes = axes_of(space)
    done = _read_rows(name, axes)
    points = list(itertools.product(*axes.values()))
    folder = SweepFolder(work / name)
    for number, point in enumerate(points):
        if point in done:
            continue
        values = dict(zip(axes, point, strict=True))
        trial = folder.trial(number)
        trial.path.mkdir(parents=True, exist_ok=True)
        resolved = space.resolve(spec, values)
        run_trial(resolved, trial, dense_dir=folder.dense_dir, base_dir=HERE)
        _append(name, axes, point, trial.steps())
        yield f"{number + 1}/{len(points)}"


def _append(
    name: str,
    axes: Mapping[str, tuple[Scalar, ...]],
    point: tuple[Scalar, ...],
    steps: list[StepRecord],
) -> None:
    """Write all steps of a trial at once, so that a trial is there whole or not at all."""
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [] if path.exists() else [",".join([*axes, *_FACTS, *_MEASURED])]
    for step in steps:
        facts = [str(int(getattr(step, fact))) for fact in _FACTS]
        measured = [f"{getattr(step, quantity):.6g}" for quantity in _MEASURED]
        lines.append(",".join([*map(str, point), *facts, *measured]))
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
