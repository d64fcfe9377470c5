"""The page of MLflow that shows a sweep: its trials as a table, the objectives as columns.

MLflow keeps the arrangement of its list of runs in each browser, and takes one from a link: the key
of a tag of the experiment (``mlflow.sharedViewState.KEY``, web page of MLflow 3). So every sweep's
arrangement is such a tag, and a browser that has never been there shows the table at once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rfprune.spec import SweepSpec
from rfprune.spec.sweep import FLAGS
from rfprune.tracking.client import connect, faults_as_sentences
from rfprune.tracking.config import TrackingConfig

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["ON_FRONT", "remember_view", "view_path"]

#: Tag of a trial's run: whether a point of it is on the front.
ON_FRONT = "on_front"
_SHARED = "mlflow.sharedViewState."
#: More columns than a wide screen has room for.
_MOST_PARAMS = 6


def remember_view(
    client: MlflowClient, experiment: str, sweep_id: str, spec: SweepSpec, paths: list[str]
) -> None:
    """Write how the trials of a sweep are shown, as a tag of the experiment.

    Args:
        client: of MLflow.
        experiment: its id.
        sweep_id: what names the sweep in MLflow.
        spec: the sweep.
        paths: searched values as runs have them.
    """
    client.set_experiment_tag(
        experiment, f"{_SHARED}{_key(sweep_id)}", json.dumps(_state(sweep_id, spec, paths))
    )


def _key(sweep_id: str) -> str:
    return f"rfprune-{sweep_id}"


def _state(sweep_id: str, spec: SweepSpec, paths: list[str]) -> dict[str, Any]:
    """Return what MLflow's page keeps of its list of runs."""
    conditions = [c.name for c in spec.conditions if c.name not in FLAGS]
    metrics = dict.fromkeys(
        [*spec.objectives, *conditions, spec.task.score_name.removeprefix("val_")]
    )
    columns = [f"metrics.`{name}`" for name in metrics]
    columns += [f"tags.`{ON_FRONT}`", *(f"params.`{path}`" for path in paths[:_MOST_PARAMS])]
    first, way = next(iter(spec.objectives.items()))
    return {
        "selectedColumns": columns,
        "columnOrder": columns,
        "orderByKey": f"metrics.`{first}`",
        "orderByAsc": way == "min",
        "searchFilter": _filter(sweep_id),
        "viewMaximized": False,
        "runsHiddenMode": "SHOW_ALL",
    }


def _filter(sweep_id: str) -> str:
    return f"tags.sweep_id = '{sweep_id}' and tags.kind = 'trial'"


def view_path(config: TrackingConfig, sweep_id: str | None = None) -> str:
    """Return the part of an address behind the server: the trials of a sweep, or a list of runs.

    Args:
        config: tracking settings.
        sweep_id: the sweep; the one that was begun last if None.

    Returns:
        ``/#/experiments/1/runs?...``; empty where there is no experiment yet.

    Raises:
        WorkError: MLflow cannot be reached.
    """
    with faults_as_sentences(config):
        client = connect(config)
        found = client.get_experiment_by_name(config.experiment)
        if found is None:
            return ""
        path = f"/#/experiments/{found.experiment_id}/runs?workflowType=machine_learning"
        if sweep_id is None:
            newest = client.search_runs(
                [found.experiment_id],
                "tags.kind = 'sweep'",
                max_results=1,
                order_by=["attributes.start_time DESC"],
            )
            sweep_id = newest[0].data.tags.get("sweep_id") if newest else None
        if sweep_id is None or f"{_SHARED}{_key(sweep_id)}" not in found.tags:
            return path
        return f"{path}&viewStateShareKey={quote(_key(sweep_id))}"
