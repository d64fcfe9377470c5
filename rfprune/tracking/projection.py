"""A sweep in MLflow: one parent run, one child run per trial, made from run folders.

Idempotent: runs are looked up by their tags before they are created, and a run that is up to date
is left alone. A call that fails, or whose answer is lost, may have been carried out: whatever is
there twice then is looked for and removed. Only the driver writes, so one writer at a time is
assumed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rfprune.core.digests import sha256_of
from rfprune.errors import RfpruneError, WorkError
from rfprune.results import (
    Candidate,
    Front,
    SweepFolder,
    front_csv,
    front_html,
    front_json,
    front_png,
    hypervolume_curve,
    hypervolume_png,
    read_front,
)
from rfprune.results.labels import summary
from rfprune.study import Importances, importance_png, importances
from rfprune.study.study import is_driven
from rfprune.tracking.client import connect, experiment_id, faults_as_sentences, shown_uri
from rfprune.tracking.config import TrackingConfig
from rfprune.tracking.ids import remember_run_ids, sweep_id
from rfprune.tracking.trial_run import (
    STATUS,
    MetricValue,
    RunRecord,
    columns_of,
    table_tag,
    trial_record,
)
from rfprune.tracking.view import ON_FRONT, remember_view

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["Projection", "project"]

T = TypeVar("T")

_PARENT = "mlflow.parentRunId"
#: Tag that says what a run was made from; written with its metrics, so that a run cut off before
#: them does not look finished.
_MARK = "projected"
#: Most metrics and params that one call of MLflow's REST interface takes (log-batch).
_METRICS_PER_CALL, _PARAMS_PER_CALL = 1000, 100
_PAGE = 1000
_TRIES = 4
_SLOW_SECONDS = 2.0
#: MLflow's status of a run that nobody is at work on although it has not ended.
_CUT_OFF = "KILLED"

_IMPORTANCES = "importance.json"
#: Tag of a trial's run: the step whose values it shows, and how often that has changed.
_SHOWN = "shown_step"


class _Known(NamedTuple):
    """A run that is in MLflow already."""

    run_id: str
    mark: str
    status: str
    parent: str = ""
    blank: bool = False
    on_front: str = "no"
    shown: str = ""


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
        RunsError: the folder is not a sweep, or cannot be read.
    """
    projection = _again(lambda: Projection(folder, config))
    numbers = projection.trial_numbers() if trials is None else list(trials)
    for number in numbers:
        _again(lambda number=number: projection.write_trial(number))  # type: ignore[misc]
    _again(projection.finish)
    return projection.run_ids


def _again(work: Callable[[], T]) -> T:
    """Return what `work` returns; a server that fails now and then is asked a few times."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(WorkError):
            return work()
    return work()


def _steady(call: Callable[[], T]) -> T:
    """Return what a call on MLflow returns that does no harm if it is carried out twice."""
    from mlflow.exceptions import MlflowException

    for _ in range(_TRIES - 1):
        began = time.monotonic()
        try:
            return call()
        except (MlflowException, OSError):
            # What a server or a database answers is of MLflow's own type, and what the network or
            # a disk says an OSError; clients of object stores try again by themselves. A server
            # that lets one wait has been asked often enough by MLflow itself.
            if time.monotonic() - began > _SLOW_SECONDS:
                raise
    return call()


class Projection:
    """An open connection between one sweep folder and its runs in MLflow.

    Attributes:
        damaged: trials that could not be read, with the reason.
    """

    def __init__(self, folder: SweepFolder, config: TrackingConfig) -> None:
        """Find the sweep's runs; create the experiment and the parent run if there are none."""
        self.damaged: dict[int, str] = {}
        self._doubtful = False
        self._children: dict[int, _Known] = {}
        self._folder = folder
        self._config = config
        self._spec = folder.spec()
        self._sweep_id = sweep_id(folder)
        with faults_as_sentences(config):
            self._client: MlflowClient = connect(config)
            self._experiment = experiment_id(self._client, config)
            self._parent = self._reconcile() or self._create_parent()

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
        """Bring the trial's run up to date with its folder; a damaged folder is only noted."""
        try:
            record = trial_record(self._folder, number, self._spec)
        except (RfpruneError, OSError, ValueError) as error:
            self.damaged[number] = str(error)
            return
        if record.status == STATUS["running"] and not is_driven(self._folder):
            # Cut off: nobody is at work on it, so it must not look as if somebody were.
            record = replace(record, status=_CUT_OFF, end_ms=record.last_ms)
        with self._careful():
            known = self._children.get(number)
            if known is not None and (known.mark, known.status) == (record.mark, record.status):
                return
            if known is not None and not known.blank:
                # Metrics of a run can only be added to, so a trial that went on gets a new run; so
                # does one whose writing was cut off.
                self._client.delete_run(known.run_id)
                del self._children[number]
            self._write_child(number, record)

    def finish(self) -> None:
        """Write the front, close the parent, and remove what is there twice."""
        self.write_front()
        # MLflow's client sends a request again whose answer was lost, silently.
        if self._config.is_server:
            self._doubtful = True
        with self._careful():
            pass

    @contextmanager
    def _careful(self) -> Iterator[None]:
        """Look first at what is there if an earlier call may have been carried out in part."""
        with faults_as_sentences(self._config):
            if self._doubtful:
                parent = self._reconcile()
                self._parent = parent or self._create_parent()
                self._doubtful = False
            try:
                yield
            except BaseException:
                self._doubtful = True
                raise

    def write_front(self) -> None:
        """Put the front and the hypervolume on the parent run, if they have changed."""
        remember_run_ids(self._folder, shown_uri(self._config.tracking_uri), self.run_ids)
        front = read_front(self._folder)
        content = json.dumps(front_json(front, self.run_ids), indent=1)
        mark = sha256_of(content)[:16]
        status = "FINISHED"
        if front.counts.running:
            status = "RUNNING" if is_driven(self._folder) else _CUT_OFF
        # The pictures cost a second, so they are drawn only when there is something new.
        if (self._parent.mark, self._parent.status) == (mark, status):
            return
        shares = importances(self._folder)
        with self._careful():
            _steady(lambda: self._log_hypervolume(front))
            _steady(lambda: self._mark_front(front, last=status != "RUNNING"))
            _steady(lambda: self._log_references(front))
            files: dict[str, str | bytes | Path] = {
                "front.json": content + "\n",
                "front.csv": front_csv(front, self.run_ids),
                "front.html": front_html(front),
                "front.png": front_png(front, per_row=1),
                "hypervolume.png": hypervolume_png(front),
                "sweep.json": self._folder.path / "sweep.json",
            }
            files |= _importance_files(shares)
            _steady(lambda: self._log_files(self._parent.run_id, files))
            tags = {"mlflow.note.content": _note(front, self._parent.run_id, files), _MARK: mark}
            tags |= table_tag(_IMPORTANCES) if shares else {}
            _steady(lambda: self._log(self._parent.run_id, tags=tags))
            paths = list(dict.fromkeys(p for t in front.view.trials for p in t.params))
            # What decided most goes first: not all have room.
            paths.sort(key=lambda path: -sum(by.get(path, 0.0) for by in shares.values()))
            view = (self._client, self._experiment, self._sweep_id, self._spec, paths)
            _steady(lambda: remember_view(*view))
            # `set_terminated` also writes an end time.
            end = self._client.update_run if status == "RUNNING" else self._client.set_terminated
            _steady(lambda: end(self._parent.run_id, status))
        self._parent = self._parent._replace(mark=mark, status=status)

    def _reconcile(self) -> _Known | None:
        """Take note of the child runs and return the parent run; remove what is there twice."""
        parents, children = self._find_runs()
        # Where two drivers made a parent each, the older one stays the parent.
        parent = parents[0] if parents else None
        for surplus in parents[1:]:
            self._client.delete_run(surplus.run_id)
        blank = {run.run_id for run in self._children.values() if run.blank}
        self._children = {}
        for number, runs in children.items():
            # The newest whole one; a run without its mark was cut off while it was written.
            kept = max(runs, key=lambda run: bool(run.mark))
            self._children[number] = kept._replace(blank=kept.run_id in blank)
            for surplus in runs:
                if surplus is not kept:
                    self._client.delete_run(surplus.run_id)
            if parent is not None and kept.parent != parent.run_id:
                self._client.set_tag(kept.run_id, _PARENT, parent.run_id)
        return parent

    def _find_runs(self) -> tuple[list[_Known], dict[int, list[_Known]]]:
        """Return the sweep's parent runs, oldest first, and its child runs, newest first."""
        parents: list[_Known] = []
        children: dict[int, list[_Known]] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.sweep_id = '{self._sweep_id}'",
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                tags = run.data.tags
                status, parent = run.info.status, tags.get(_PARENT, "")
                known = _Known(
                    run.info.run_id,
                    tags.get(_MARK, ""),
                    status,
                    parent,
                    on_front=tags.get(ON_FRONT, "no"),
                    shown=tags.get(_SHOWN, ""),
                )
                if tags.get("kind") == "sweep":
                    parents.append(known)
                elif tags.get("trial_number", "").isdigit():
                    children.setdefault(int(tags["trial_number"]), []).insert(0, known)
            token = page.token
            if not token:
                return parents, children

    def _create_parent(self) -> _Known:
        spec = self._spec
        tags = {
            **self._config.tags,
            "sweep_id": self._sweep_id,
            "kind": "sweep",
            "objectives": ", ".join(f"{name} {way}" for name, way in spec.objectives.items()),
            "constraints": ", ".join(spec.constraints),
            "sampler": f"{spec.sampler.name}, seed {spec.sampler.seed}",
            **_origin(self._folder),
        }
        run = self._client.create_run(self._experiment, tags=tags, run_name=spec.name)
        self._log_files(run.info.run_id, {"sweep.json": self._folder.path / "sweep.json"})
        return _Known(run.info.run_id, "", run.info.status)

    def _write_child(self, number: int, record: RunRecord) -> None:
        """Write a trial into a run that is blank; each call may be repeated but the first one."""
        tags = {
            **self._config.tags,
            **record.tags,
            "sweep_id": self._sweep_id,
            _PARENT: self._parent.run_id,
        }
        if (blank := self._children.get(number)) is None:
            run = self._client.create_run(
                self._experiment, start_time=record.start_ms, tags=tags, run_name=record.name
            )
            # At once: what fails from here on has left a run behind.
            blank = _Known(run.info.run_id, "", run.info.status, self._parent.run_id, True)
            self._children[number] = blank
        run_id = blank.run_id
        _steady(lambda: self._log_files(run_id, record.files))
        written = blank._replace(mark=record.mark, blank=False)
        self._children[number] = written._replace(mark="")
        _steady(lambda: self._log(run_id, record.metrics, record.params, {_MARK: record.mark}))
        if record.end_ms is not None:
            ended = (run_id, record.status, record.end_ms)
            _steady(lambda: self._client.set_terminated(*ended))
        self._children[number] = written._replace(status=record.status)

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

    def _mark_front(self, front: Front, last: bool) -> None:
        """Say of each trial whether it is on the front; at the end, let its run show that point.

        MLflow shows the value of the greatest step as the run's, and values cannot be taken back.
        So the point is written once more behind the last step.
        """
        best: dict[int, Candidate] = {}
        # A pruned point goes before the dense network of the same trial.
        for point in sorted(front.points, key=lambda point: point.dense):
            best.setdefault(point.trial, point)
        for number, run in list(self._children.items()):
            state = "yes" if number in best else "no"
            if run.mark and run.on_front != state:
                self._client.set_tag(run.run_id, ON_FRONT, state)
                run = run._replace(on_front=state)
            if last and number in best:
                run = self._show(run, best[number], front)
            self._children[number] = run

    def _show(self, run: _Known, point: Candidate, front: Front) -> _Known:
        """Write a front point behind the steps of its trial, unless it is what the run shows."""
        trial = next(t for t in front.view.trials if t.number == point.trial)
        if trial.finished_ns is None:
            return run
        steps = [candidate.step for candidate in trial.candidates]
        step, _, times = (run.shown or f"{steps[-1]}/0").partition("/")
        if point.step == int(step) or not run.mark:
            return run
        place, time_ms = steps[-1] + 1 + int(times), (trial.finished_ns or 0) // 1_000_000
        flags = {"feasible": float(point.feasible), "dense": float(point.dense)}
        known = {**point.metrics, **flags}
        values = [
            MetricValue(name, float("nan") if (v := known.get(name)) is None else v, place, time_ms)
            for name in columns_of(self._spec)
        ]
        shown = f"{point.step}/{int(times) + 1}"
        self._log(run.run_id, values, tags={_SHOWN: shown})
        return run._replace(shown=shown)

    def _log_references(self, front: Front) -> None:
        """Add what pruned networks are compared with: the dense network, and the one in floats.

        The dense network is measured as it is deployed; ``untouched`` is nothing pruned or rounded.
        """
        values = {f"untouched.{name}": value for name, value in front.reference.items()}
        if front.dense is not None:
            values |= {
                f"dense.{name}": float(value)
                for name in columns_of(self._spec)
                if (value := front.dense.metrics.get(name)) is not None
            }
        self._log_once(front, values)

    def _log_once(self, front: Front, values: Mapping[str, float]) -> None:
        """Add metrics as they are after so many trials, if the parent does not have them yet."""
        trials, ended = len(front.view.finished), front.view.finished[-1:]
        time_ms = (ended[0].finished_ns or 0) // 1_000_000 if ended else 0
        rows = [MetricValue(name, value, trials, time_ms) for name, value in values.items()]
        if rows and trials not in self._logged(rows[0].name):
            self._log(self._parent.run_id, rows)

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


def _note(front: Front, run_id: str, files: Mapping[str, object]) -> str:
    """Return the description of the sweep's run: its numbers and its pictures, as Markdown."""
    pictures = [
        f"![{name.removesuffix('.png')}](get-artifact?path={name}&run_uuid={run_id})"
        for name in files
        if name.endswith(".png")
    ]
    return "\n\n".join([summary(front), *pictures])


def _origin(folder: SweepFolder) -> dict[str, str]:
    """Return which sweep another one was retargeted from, as a tag; nothing for other sweeps."""
    origin = folder.facts().get("retargeted_from") or {}
    return {"retargeted_from": str(origin["sweep"])} if "sweep" in origin else {}


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
