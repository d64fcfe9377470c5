"""What names a sweep and its trials in MLflow, remembered beside the run folders.

So that reports can name runs without asking MLflow, and a sweep keeps its name when its folder is
moved. Where the file is lost, the sweep counts as a new one in MLflow; the run folders are enough
to write it again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from rfprune.errors import RunsError
from rfprune.runs import SweepFolder
from rfprune.runs.files import write_json

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
    # A damaged file is no more than a lost one: it only says what the tags in MLflow say too.
    try:
        values = json.loads((folder.path / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
