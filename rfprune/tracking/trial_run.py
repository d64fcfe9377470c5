"""What one trial's folder says, in the form in which MLflow keeps a run.

Knows the columns that every run of a sweep has; knows nothing of clients and servers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rfprune.core.digests import key_of
from rfprune.core.files import read_json
from rfprune.results import StepRecord, SweepFolder, TrialFolder, TrialResult
from rfprune.results.points import TrialView, raw_spec, read_trial
from rfprune.spec import SweepSpec
from rfprune.spec.sweep import FLAGS

__all__ = ["STATUS", "MetricValue", "RunRecord", "columns_of", "table_tag", "trial_record"]

#: MLflow's run status by the state of a trial.
STATUS = {
    "complete": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
    "running": "RUNNING",
}
_TABLE = "estimate_by_layer.json"
#: Only the end of a longer log is kept: a projection has to stay cheap.
_LOG_BYTES = 256 * 1024
_TAG_CHARACTERS = 500


@dataclass(frozen=True)
class MetricValue:
    """One value of one quantity; `value` is NaN where unknown, `time_ms` since 1970."""

    name: str
    value: float
    step: int
    time_ms: int


@dataclass(frozen=True)
class RunRecord:
    """A run as MLflow keeps it.

    Attributes:
        name: ``trial-0007``.
        status: FINISHED, FAILED or RUNNING.
        mark: changes whenever the folder has something new to tell.
        start_ms: start of the trial, ms since 1970.
        end_ms: its end; None while it runs.
        last_ms: the end, or when something was last heard of it.
        params: the sweep's name, the trial's number, its seed, the searched values.
        tags: state, provenance.
        metrics: every column at every accepted step.
        files: content by name, or the file to copy.
    """

    name: str
    status: str
    mark: str
    start_ms: int
    end_ms: int | None
    last_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: tuple[MetricValue, ...]
    files: dict[str, str | Path] = field(repr=False)


def columns_of(spec: SweepSpec) -> tuple[str, ...]:
    """Return the metrics that every trial of the sweep has, whatever its estimator knows.

    The parallel coordinates of MLflow leave out runs that lack a column.
    """
    asked = [*spec.objectives, *(condition.name for condition in spec.conditions)]
    aliases = sorted(spec.task.measured, key=lambda alias: alias != spec.task.decides)
    metrics = [name for alias in aliases for name in (alias, f"val_{alias}")]
    columns = [*metrics, *spec.target.shown, "feasible", "dense", "seconds"]
    return tuple(dict.fromkeys([*columns, *(name for name in asked if name not in FLAGS)]))


def table_tag(path: str) -> dict[str, str]:
    """Return the tag by which MLflow shows a JSON file as a table (mlflow/utils/mlflow_tags.py)."""
    return {"mlflow.loggedArtifacts": json.dumps([{"path": path, "type": "table"}])}


def trial_record(sweep: SweepFolder, number: int, spec: SweepSpec) -> RunRecord:
    """Return trial `number` of the sweep as a run.

    Raises:
        RunsError: a file in the trial's folder is damaged.
    """
    folder = sweep.trial(number)
    view = read_trial(folder, spec)
    result = folder.result()
    steps = folder.steps()
    raw = raw_spec(folder)
    files = _files(folder, steps)
    table = table_tag(_TABLE) if _TABLE in files else {}
    start_ms, end_ms = _times(folder, view, result, steps)
    # As `TrialSpec.key`, but also for a trial that an earlier version wrote.
    key = key_of(raw) if raw else "none"
    attempt = result.attempt if result else 0
    # Beside runs of another sweep, MLflow shows params and no tags: the name stands among them.
    values = {"sweep": spec.name, "trial": number, "seed": raw.get("seed"), **view.params}
    return RunRecord(
        name=f"trial-{number:04d}",
        status=STATUS[view.state],
        mark=f"{view.state}/{attempt}/{len(steps)}/{key}",
        start_ms=start_ms,
        end_ms=end_ms,
        last_ms=_last_ms(folder) if end_ms is None else end_ms,
        params={name: "none" if value is None else str(value) for name, value in values.items()},
        tags=_tags(number, key, view, result) | table,
        metrics=_metrics(steps, view, columns_of(spec), start_ms),
        files=files,
    )


def _times(
    folder: TrialFolder, view: TrialView, result: TrialResult | None, steps: Sequence[StepRecord]
) -> tuple[int, int | None]:
    """Return start and end in ms; taken from the folder, so that a second projection is equal."""
    if result is None or view.finished_ns is None:
        path = folder.path / "spec.json"
        return int((path if path.exists() else folder.path).stat().st_mtime * 1000), None
    seconds = result.seconds or sum(step.seconds for step in steps)
    end_ms = view.finished_ns // 1_000_000
    return end_ms - int(seconds * 1000), end_ms


def _last_ms(folder: TrialFolder) -> int:
    times = (path.stat().st_mtime_ns for path in (folder.path, *folder.files()))
    return max(times) // 1_000_000


def _tags(number: int, key: str, view: TrialView, result: TrialResult | None) -> dict[str, str]:
    tags = {
        "kind": "trial",
        "on_front": "no",
        "trial_number": str(number),
        "state": view.state,
        "config_hash": key,
    }
    if result is not None:
        tags["attempt"] = str(result.attempt)
        tags["stopped"] = result.stopped
        tags["budgets_met"] = str(result.budgets_met).lower()
        tags["final_step"] = "none" if result.final_step is None else str(result.final_step)
        if result.error:
            tags["error"] = result.error[:_TAG_CHARACTERS]
        if result.provenance is not None:
            made = result.provenance
            tags |= {"rfprune": made.rfprune, "python": made.python, "machine": made.machine}
            tags |= {"git_commit": made.git_commit or "", "data_sha256": made.data_sha256 or ""}
            tags |= {f"version.{name}": version for name, version in made.packages.items()}
    return {name: value for name, value in tags.items() if value}


def _metrics(
    steps: Sequence[StepRecord], view: TrialView, columns: Sequence[str], start_ms: int
) -> tuple[MetricValue, ...]:
    """Return every column at every accepted step; at step 0, unknown, if there is none.

    MLflow shows the value of the last step as the run's. A rejected step must not become that, so
    rejected steps are only in ``steps.jsonl``.
    """
    ends, elapsed = {}, 0.0
    for record in steps:
        elapsed += record.seconds
        ends[record.step] = start_ms + int(elapsed * 1000)
    values = []
    for candidate in view.candidates:
        flags = {"feasible": float(candidate.feasible), "dense": float(candidate.dense)}
        known = {**candidate.metrics, **flags}
        for name in columns:
            value = known.get(name)
            number = math.nan if value is None else float(value)
            values.append(MetricValue(name, number, candidate.step, ends[candidate.step]))
    return tuple(values) or tuple(MetricValue(name, math.nan, 0, start_ms) for name in columns)


def _files(folder: TrialFolder, steps: Sequence[StepRecord]) -> dict[str, str | Path]:
    names = ("spec.json", "steps.jsonl", "result.json")
    files: dict[str, str | Path] = {
        name: folder.path / name for name in names if (folder.path / name).exists()
    }
    log = folder.path / "log.txt"
    if log.exists():
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_BYTES))
            files["log.txt"] = file.read().decode("utf-8", errors="replace")
    table = _layer_table(folder, steps)
    if table:
        files[_TABLE] = json.dumps(table)
    return files


def _layer_table(folder: TrialFolder, steps: Sequence[StepRecord]) -> dict[str, Any]:
    """Return the estimates of all accepted steps by layer, as pandas' ``split`` layout."""
    rows: list[dict[str, Any]] = []
    for record in steps:
        path = folder.estimate(record.step)
        if not record.accepted or not path.exists():
            continue
        for layer in read_json(path).get("layers", []):
            name = layer.get("name")
            groups = {"groups": record.groups.get(name), "live_groups": record.live.get(name)}
            rows.append({"step": record.step, **layer, **groups})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = [[row.get(name) for name in columns] for row in rows]
    return {"columns": columns, "data": data} if rows else {}
