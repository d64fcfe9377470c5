"""A sweep in MLflow: one parent run, one child run per trial, made from run folders.

Idempotent: runs are found by their tags before they are created, and a run that says already what
the folder says is left alone. Only the driver writes, so one writer at a time is assumed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rfprune.errors import RfpruneError
from rfprune.front import (
    Front,
    front_csv,
    front_html,
    front_json,
    front_png,
    hypervolume_curve,
    read_front,
)
from rfprune.front.labels import summary
from rfprune.runs import SweepFolder
from rfprune.search import Importances, importance_png, importances
from rfprune.tracking.client import connect, experiment_id, faults_as_sentences, shown_uri
from rfprune.tracking.config import TrackingConfig
from rfprune.tracking.ids import remember_run_ids, sweep_id
from rfprune.tracking.record import MetricValue, RunRecord, table_tag, trial_record

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

__all__ = ["Projection", "project"]

_PARENT = "mlflow.parentRunId"
#: Tag that says what a run was made from; written with its metrics, so that a run cut off before
#: them does not look finished.
_MARK = "projected"
#: Most metrics and params that one call of MLflow's REST interface takes (log-batch).
_METRICS_PER_CALL, _PARAMS_PER_CALL = 1000, 100
_PAGE = 1000


_IMPORTANCES = "importance.json"


class _Known(NamedTuple):
    """A run that is in MLflow already."""

    run_id: str
    mark: str
    status: str


def project(
    folder: SweepFolder, config: TrackingConfig, *, trials: Iterable[int] | None = None
) -> dict[int, str]:
    """Bring the sweep's runs in MLflow up to date with its folder.

    Args:
        folder: the sweep.
        config: where to.
        trials: numbers of the trials to write; all if None.

    Returns:
        MLflow run id by trial number, of every trial that has a run.

    Raises:
        WorkError: MLflow cannot be reached or refuses.
        RunsError: the folder is no sweep, or cannot be read.
    """
    projection = Projection(folder, config)
    numbers = projection.trial_numbers() if trials is None else list(trials)
    for number in numbers:
        projection.write_trial(number)
    projection.write_front()
    return projection.run_ids


class Projection:
    """An open connection between one sweep folder and its runs in MLflow.

    Attributes:
        damaged: trials that could not be read, with the reason.
    """

    def __init__(self, folder: SweepFolder, config: TrackingConfig) -> None:
        """Find the sweep's runs; create the experiment and the parent run if there are none."""
        self.damaged: dict[int, str] = {}
        self._folder = folder
        self._config = config
        self._spec = folder.spec()
        self._sweep_id = sweep_id(folder)
        with faults_as_sentences(config):
            self._client: MlflowClient = connect(config)
            self._experiment = experiment_id(self._client, config)
            parent, self._children = self._find_runs()
            self._parent = parent or self._create_parent()

    @property
    def run_ids(self) -> dict[int, str]:
        """MLflow run id by trial number."""
        return {number: run.run_id for number, run in sorted(self._children.items())}

    def trial_numbers(self) -> list[int]:
        """Return the numbers of all trials that have begun."""
        return [trial.number for trial in self._folder.trials()]

    def finished_trials(self) -> list[int]:
        """Return the numbers of all trials that have ended."""
        return [t.number for t in self._folder.trials() if (t.path / "result.json").exists()]

    def write_trial(self, number: int) -> None:
        """Make the trial's run say what its folder says; a damaged folder is noted, not raised."""
        try:
            record = trial_record(self._folder, number, self._spec)
        except (RfpruneError, OSError, ValueError) as error:
            self.damaged[number] = str(error)
            return
        known = self._children.get(number)
        if known is not None and (known.mark, known.status) == (record.mark, record.status):
            return
        with faults_as_sentences(self._config):
            if known is not None:
                # Metrics of a run can only be added to, so a trial that went on gets a new run.
                self._client.delete_run(known.run_id)
            self._children[number] = self._create_child(number, record)

    def write_front(self) -> None:
        """Put the front and the hypervolume on the parent run, if they have changed."""
        remember_run_ids(self._folder, shown_uri(self._config.tracking_uri), self.run_ids)
        front = read_front(self._folder)
        content = json.dumps(front_json(front, self.run_ids), indent=1)
        mark = hashlib.sha256(content.encode()).hexdigest()[:16]
        status = "RUNNING" if front.counts.running else "FINISHED"
        if (self._parent.mark, self._parent.status) == (mark, status):
            return
        shares = importances(self._folder)
        with faults_as_sentences(self._config):
            self._log_hypervolume(front)
            self._log_importances(front, shares)
            files = self._front_files(front, content) | _importance_files(shares)
            self._log_files(self._parent.run_id, files)
            tags = {"mlflow.note.content": summary(front), _MARK: mark}
            tags |= table_tag(_IMPORTANCES) if shares else {}
            self._log(self._parent.run_id, tags=tags)
            if status == "FINISHED":
                self._client.set_terminated(self._parent.run_id, status)
            else:
                self._client.update_run(self._parent.run_id, status=status)
        self._parent = self._parent._replace(mark=mark, status=status)

    def _find_runs(self) -> tuple[_Known | None, dict[int, _Known]]:
        parents: list[_Known] = []
        children: dict[int, _Known] = {}
        for run in self._search():
            tags = run.data.tags
            known = _Known(run.info.run_id, tags.get(_MARK, ""), run.info.status)
            if tags.get("kind") == "sweep":
                parents.append(known)
            elif tags.get("trial_number", "").isdigit():
                children[int(tags["trial_number"])] = known
        return (parents[0] if parents else None), children

    def _search(self) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.sweep_id = '{self._sweep_id}'",
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _create_parent(self) -> _Known:
        spec = self._spec
        tags = {
            **self._config.tags,
            "sweep_id": self._sweep_id,
            "kind": "sweep",
            "objectives": ", ".join(f"{name} {way}" for name, way in spec.objectives.items()),
            "constraints": ", ".join(spec.constraints),
            "sampler": f"{spec.sampler.name}, seed {spec.sampler.seed}",
        }
        run = self._client.create_run(self._experiment, tags=tags, run_name=spec.name)
        self._log_files(run.info.run_id, {"sweep.json": self._folder.path / "sweep.json"})
        return _Known(run.info.run_id, "", run.info.status)

    def _create_child(self, number: int, record: RunRecord) -> _Known:
        tags = {
            **self._config.tags,
            **record.tags,
            "sweep_id": self._sweep_id,
            _PARENT: self._parent.run_id,
        }
        run = self._client.create_run(
            self._experiment, start_time=record.start_ms, tags=tags, run_name=record.name
        )
        run_id = run.info.run_id
        self._log_files(run_id, record.files)
        self._log(run_id, record.metrics, record.params, {_MARK: record.mark})
        if record.end_ms is not None:
            self._client.set_terminated(run_id, record.status, record.end_ms)
        return _Known(run_id, record.mark, record.status)

    def _logged(self, metric: str) -> set[int]:
        """Return the steps at which the parent has a metric."""
        history = self._client.get_metric_history(self._parent.run_id, metric)
        return {value.step for value in history}

    def _log_hypervolume(self, front: Front) -> None:
        """Add the points of the curve that the parent does not have yet."""
        logged = self._logged("hypervolume")
        ended = {trial.number: trial.finished_ns or 0 for trial in front.view.finished}
        points = [
            MetricValue("hypervolume", p.hypervolume, p.trials, ended[p.trial] // 1_000_000)
            for p in hypervolume_curve(front.view)
            if p.trials not in logged
        ]
        self._log(self._parent.run_id, points)

    def _log_importances(self, front: Front, shares: Importances) -> None:
        """Add the shares as they are after so many trials, if the parent does not have them yet."""
        trials, ended = len(front.view.finished), front.view.finished[-1:]
        time_ms = (ended[0].finished_ns or 0) // 1_000_000 if ended else 0
        values = [
            MetricValue(f"importance.{objective}.{path}", share, trials, time_ms)
            for objective, by_path in shares.items()
            for path, share in by_path.items()
        ]
        if values and trials not in self._logged(values[0].name):
            self._log(self._parent.run_id, values)

    def _front_files(self, front: Front, content: str) -> dict[str, str | bytes | Path]:
        return {
            "front.json": content + "\n",
            "front.csv": front_csv(front, self.run_ids),
            "front.html": front_html(front),
            "front.png": front_png(front),
            "sweep.json": self._folder.path / "sweep.json",
        }

    def _log(
        self,
        run_id: str,
        metrics: Sequence[MetricValue] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write metrics, params and tags in as few calls as MLflow takes, the tags last."""
        from mlflow.entities import Metric, Param, RunTag

        rows = [Metric(m.name, m.value, m.time_ms, m.step) for m in metrics]
        values = [Param(name, value) for name, value in (params or {}).items()]
        labels = [RunTag(name, value) for name, value in (tags or {}).items()]
        while len(rows) > _METRICS_PER_CALL or len(values) > _PARAMS_PER_CALL:
            first, rows = rows[:_METRICS_PER_CALL], rows[_METRICS_PER_CALL:]
            some, values = values[:_PARAMS_PER_CALL], values[_PARAMS_PER_CALL:]
            self._client.log_batch(run_id, first, some)
        if rows or values or labels:
            self._client.log_batch(run_id, rows, values, labels)

    def _log_files(self, run_id: str, files: Mapping[str, str | bytes | Path]) -> None:
        """Store files with one call, which is several times cheaper than one call for each."""
        with tempfile.TemporaryDirectory(prefix="rfprune-") as name:
            folder = Path(name)
            for file_name, content in files.items():
                if isinstance(content, Path):
                    shutil.copyfile(content, folder / file_name)
                else:
                    data = content.encode() if isinstance(content, str) else content
                    (folder / file_name).write_bytes(data)
            self._client.log_artifacts(run_id, name)


def _importance_files(shares: Importances) -> dict[str, str | bytes | Path]:
    """Return the shares as a table in pandas' ``split`` layout and as a picture."""
    if not shares:
        return {}
    paths = list(dict.fromkeys(path for by_path in shares.values() for path in by_path))
    table = {
        "columns": ["searched", *shares],
        "data": [[path, *(found.get(path) for found in shares.values())] for path in paths],
    }
    return {_IMPORTANCES: json.dumps(table), "importance.png": importance_png(shares)}
