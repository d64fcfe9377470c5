"""The page of MLflow that shows a sweep: its trials as a table, and as charts.

The table has the objectives as columns. The first chart are parallel coordinates of what was
searched and of the objectives, coloured by the first of them; MLflow's own choice would be whatever
metric comes first in the alphabet, such as one of test rows. Charts of the first objective over
each other one follow.

Several sweeps are shown on MLflow's page that compares runs: those on their fronts.

MLflow keeps the arrangement of its list of runs in each browser, and takes one from a link: the key
of a tag of the experiment (``mlflow.sharedViewState.KEY``, web page of MLflow 3). So every sweep's
arrangement is such a tag, and a browser that has never been there shows the table at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from rfprune.spec import SweepSpec
from rfprune.spec.sweep import FLAGS
from rfprune.tracking.client import connect, faults_as_sentences
from rfprune.tracking.config import TrackingConfig

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

__all__ = ["ON_FRONT", "remember_view", "view_path"]

#: Tag of a trial's run: whether a point of it is on the front.
ON_FRONT = "on_front"
_SHARED = "mlflow.sharedViewState."
_WORKFLOW = "workflowType=machine_learning"
#: More columns than a wide screen has room for.
_MOST_PARAMS = 6
_MOST_RUNS = 100
#: Axes of parallel coordinates that can be told apart in a chart of half the page.
_MOST_AXES = 8
_SECTION = {
    "uuid": "rfprune",
    "name": "Objectives",
    "display": True,
    "isReordered": True,
    "columns": 2,
    "cardHeight": 400,
}


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
    charts = _charts(list(spec.objectives), paths)
    return {
        "selectedColumns": columns,
        "columnOrder": columns,
        "orderByKey": f"metrics.`{first}`",
        "orderByAsc": way == "min",
        "searchFilter": _filter(sweep_id),
        "viewMaximized": False,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [_SECTION],
    }


def _charts(objectives: list[str], paths: list[str]) -> list[dict[str, Any]]:
    """Return the charts of a sweep, as MLflow's page keeps them."""
    searched = paths[: max(1, _MOST_AXES - len(objectives))]
    # MLflow draws params before metrics, and colours lines by the last axis: the first objective.
    metrics_axes = objectives[::-1]
    axes = {"selectedParams": searched, "selectedMetrics": metrics_axes, "showAllRuns": True}
    charts: list[dict[str, Any]] = [{"type": "PARALLEL", **axes}]
    for other in objectives[1:]:
        ends = {"xaxis": other, "yaxis": objectives[0]}
        metrics = {end: {"key": name, "type": "METRIC"} for end, name in ends.items()}
        charts.append({"type": "SCATTER", **metrics})
    return [
        {
            "uuid": f"rfprune-{number}",
            "metricSectionId": _SECTION["uuid"],
            "deleted": False,
            "isGenerated": False,
            "runsCountToCompare": _MOST_RUNS,
            **chart,
        }
        for number, chart in enumerate(charts)
    ]


def _filter(sweep_id: str) -> str:
    return f"tags.sweep_id = '{sweep_id}' and tags.kind = 'trial'"


def view_path(config: TrackingConfig, *sweep_ids: str) -> str:
    """Return the part of an address behind the server: the trials of a sweep, or a list of runs.

    Args:
        config: tracking settings.
        sweep_ids: the sweep, or several that are compared; none: the one that was begun last.

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
        experiment = found.experiment_id
        if len(sweep_ids) > 1:
            return _comparison(client, experiment, sweep_ids)
        if not sweep_ids:
            newest = _search(client, experiment, "tags.kind = 'sweep'", most=1)
            sweep_ids = tuple(run.data.tags.get("sweep_id", "") for run in newest)
        path = f"/#/experiments/{experiment}/runs?{_WORKFLOW}"
        keys = [key for key in map(_key, sweep_ids) if f"{_SHARED}{key}" in found.tags]
        return f"{path}&viewStateShareKey={quote(keys[0])}" if keys else path


def _comparison(client: MlflowClient, experiment: str, sweep_ids: Sequence[str]) -> str:
    """Return the page that compares the trials on the fronts of several sweeps."""
    runs: list[str] = []
    for sweep_id in sweep_ids:
        condition = f"{_filter(sweep_id)} and tags.{ON_FRONT} = 'yes'"
        runs += [run.info.run_id for run in _search(client, experiment, condition, _MOST_RUNS)]
    asked = {"runs": json.dumps(runs), "experiments": json.dumps([experiment])}
    return f"/#/compare-runs?{urlencode(asked, quote_via=quote)}&{_WORKFLOW}"


def _search(client: MlflowClient, experiment: str, condition: str, most: int) -> list[Run]:
    """Return the newest runs that meet a condition."""
    order = ["attributes.start_time DESC"]
    return list(client.search_runs([experiment], condition, max_results=most, order_by=order))
