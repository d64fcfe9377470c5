"""The ids of a sweep and its trials in MLflow, kept beside the run folders.

With them reports can name runs without asking MLflow, and a sweep keeps its id when its folder is
moved. If the file is lost, the sweep becomes a new one in MLflow; the run folders are enough to
write it again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from rfprune.core.files import read_json, write_json
from rfprune.errors import RunsError
from rfprune.results import SweepFolder

__all__ = ["remember_run_ids", "run_ids", "sweep_id"]

_FILE = "mlflow.json"


def sweep_id(folder: SweepFolder) -> str:
    """Return what names the sweep in MLflow: ``sweep_id`` of ``sweep.json``, or one made here."""
    fixed = folder.facts().get("sweep_id") or _read(folder).get("sweep_id")
    if not fixed:
        fixed = f"{folder.path.name}-{uuid.uuid4().hex[:12]}"
        _write(folder, {**_read(folder), "sweep_id": fixed})
    return str(fixed)


def remember_run_ids(folder: SweepFolder, tracking_uri: str, runs: Mapping[int, str]) -> None:
    """Write the run of each trial beside the run folders."""
    known = {str(number): run for number, run in sorted(runs.items())}
    content = {**_read(folder), "tracking_uri": tracking_uri, "runs": known}
    if content != _read(folder):
        _write(folder, content)


def run_ids(folder: SweepFolder) -> dict[int, str]:
    """Return the MLflow run of each trial, as far as it was ever written there."""
    runs = _read(folder).get("runs")
    if not isinstance(runs, dict):
        return {}
    return {int(number): str(run) for number, run in runs.items() if str(number).isdigit()}


def _write(folder: SweepFolder, content: dict[str, Any]) -> None:
    path = folder.path / _FILE
    try:
        write_json(path, content)
    except OSError as error:
        raise RunsError(f"{path}: cannot be written ({error}).") from error


def _read(folder: SweepFolder) -> dict[str, Any]:
    # A damaged file is treated as a lost one: the tags in MLflow hold the same facts.
    try:
        values = read_json(folder.path / _FILE)
    except RunsError:
        return {}
    return values if isinstance(values, dict) else {}
