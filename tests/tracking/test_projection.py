"""Sweeps in a real MLflow database: complete, equal columns, idempotent, made again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from rfprune.errors import RunsError, WorkError
from rfprune.results import SweepFolder, front_json, hypervolume_curve, read_front
from rfprune.study import importances
from rfprune.study.importance import LEAST_TRIALS
from rfprune.study.study import lock
from rfprune.study.trials import PAUSED
from rfprune.tracking import Projection, TrackingConfig, project, run_ids, view_path
from rfprune.tracking.ids import sweep_id


def runs_of(client, config: TrackingConfig) -> list:
    experiment = client.get_experiment_by_name(config.experiment)
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def children_of(client, config: TrackingConfig) -> dict[int, object]:
    return {
        int(run.data.tags["trial_number"]): run
        for run in runs_of(client, config)
        if run.data.tags["kind"] == "trial"
    }


def parent_of(client, config: TrackingConfig):
    (parent,) = (run for run in runs_of(client, config) if run.data.tags["kind"] == "sweep")
    return parent


@pytest.fixture
def folder(make) -> SweepFolder:
    folder = make.sweep(trials=4)
    make.trial(folder, 4, state="failed", steps=0)
    make.trial(folder, 5, state="failed", steps=2)
    return folder


def test_one_parent_and_one_child_per_trial(folder, config, client) -> None:
    run_ids = project(folder, config)
    children = children_of(client, config)
    parent = parent_of(client, config)
    assert run_ids == {number: run.info.run_id for number, run in children.items()}
    assert sorted(children) == [0, 1, 2, 3, 4, 5]
    assert parent.info.run_name == "digits"
    assert parent.info.status == "FINISHED"
    for number, run in children.items():
        tags = run.data.tags
        assert run.info.run_name == f"trial-{number:04d}"
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["sweep_id"] == "digits-0f3a"
        assert tags["team"] == "trigger"
        assert tags["git_commit"] == "0123abc"
        assert tags["version.hls4ml"] == "1.3.0"
        assert tags["config_hash"] == folder.trial(number).spec().key
        assert run.info.status == ("FINISHED" if number < 4 else "FAILED")
    assert children[4].data.tags["error"] == "TrialError: loss is not finite"


def test_every_child_has_the_same_columns(make, config, client, spec_of) -> None:
    objectives = {"val_accuracy": "max", "power_mw": "min"}
    make.facts = {"sweep_id": "s"}
    folder = make.sweep(spec_of(objectives=objectives), trials=2)
    make.trial(folder, 2, state="failed", steps=0)
    make.trial(folder, 3, state="running", steps=2)
    project(folder, config)
    children = children_of(client, config)
    metrics = {frozenset(run.data.metrics) for run in children.values()}
    params = {frozenset(run.data.params) for run in children.values()}
    assert len(metrics) == len(params) == 1
    names = "accuracy val_accuracy dsp bram18 lut ff latency_cycles ii_cycles sparsity fits"
    flags = ("feasible", "dense")
    assert metrics == {frozenset([*names.split(), *flags, "seconds", "power_mw"])}
    # Unknown is not a number, never 0.
    assert all(math.isnan(run.data.metrics["power_mw"]) for run in children.values())
    assert all(math.isnan(value) for value in children[2].data.metrics.values())


def test_metrics_by_step_are_the_accepted_steps(folder, config, client) -> None:
    run_ids = project(folder, config)
    accepted = [record for record in folder.trial(1).steps() if record.accepted]
    assert len(accepted) == len(folder.trial(1).steps()) - 1
    for name in ("val_accuracy", "dsp", "sparsity"):
        history = client.get_metric_history(run_ids[1], name)
        # Behind the last step there may be the point that the run shows.
        assert [(m.step, m.value) for m in history if m.step <= accepted[-1].step] == [
            (record.step, record.values[name]) for record in accepted
        ]
    run = client.get_run(run_ids[1])
    assert run.info.end_time - run.info.start_time == 9000


def test_params_are_names_numbers_and_the_searched_values(folder, config, client) -> None:
    run_ids = project(folder, config)
    params = client.get_run(run_ids[3]).data.params
    spec = folder.trial(3).spec()
    assert params.pop("sweep") == "digits"
    assert params.pop("trial") == "3"
    assert params.pop("seed") == "3"
    assert float(params.pop("prune.regularizer.weight")) == spec.prune.regularizer.weight
    assert float(params.pop("prune.budget.dsp")) == spec.prune.budget["dsp"]
    assert params == {
        f"hardware.layers.{name}.reuse_factor": str(layer.reuse_factor)
        for name, layer in spec.hardware.layers.items()
    }


def test_files_of_a_trial(folder, config, client, tmp_path) -> None:
    run_ids = project(folder, config)
    path = Path(client.download_artifacts(run_ids[0], "", str(tmp_path)))
    trial = folder.trial(0).path
    for name in ("spec.json", "steps.jsonl", "result.json", "log.txt"):
        assert (path / name).read_bytes() == (trial / name).read_bytes()
    table = json.loads((path / "estimate_by_layer.json").read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["step"], row["name"]) for row in rows] == [
        (step, name) for step in range(5) for name in ("fc1", "fc2", "fc3", "fc4")
    ]
    steps = {record.step: record for record in folder.trial(0).steps()}
    assert all(row["live_groups"] == steps[row["step"]].live[row["name"]] for row in rows)
    listed = json.loads(client.get_run(run_ids[0]).data.tags["mlflow.loggedArtifacts"])
    assert listed == [{"path": "estimate_by_layer.json", "type": "table"}]


def test_files_and_curve_of_the_sweep(folder, config, client, tmp_path) -> None:
    run_ids = project(folder, config)
    parent = parent_of(client, config)
    path = Path(client.download_artifacts(parent.info.run_id, "", str(tmp_path)))
    front = read_front(folder)
    assert json.loads((path / "front.json").read_text()) == front_json(front, run_ids)
    assert (path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert (path / "front.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (path / "front.csv").read_text().count("\n") == len(front.points) + 1
    history = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [(m.step, m.value) for m in history] == [
        (point.trials, point.hypervolume) for point in hypervolume_curve(front.view)
    ]


def test_twice_is_once(folder, config, client) -> None:
    first = project(folder, config)
    # As text, in which two values that are not a number are equal.
    before = [json.dumps(run.to_dictionary()) for run in runs_of(client, config)]
    assert project(folder, config) == first
    assert [json.dumps(run.to_dictionary()) for run in runs_of(client, config)] == before
    for run_id in first.values():
        history = client.get_metric_history(run_id, "dsp")
        assert len({metric.step for metric in history}) == len(history)


def test_a_continued_sweep_adds_only_what_is_new(make, folder, config, client) -> None:
    first = project(folder, config)
    make.trial(folder, 6)
    second = project(folder, config)
    assert {number: second[number] for number in first} == first
    assert set(second) - set(first) == {6}
    history = client.get_metric_history(parent_of(client, config).info.run_id, "hypervolume")
    assert [metric.step for metric in history] == [1, 2, 3, 4, 5, 6, 7]


def test_a_trial_that_went_on_gets_one_run_that_says_so(make, config, client) -> None:
    folder = make.sweep(trials=1)
    make.trial(folder, 1, state="running", steps=3)
    with lock(folder):
        project(folder, config)
    assert children_of(client, config)[1].info.status == "RUNNING"
    assert parent_of(client, config).info.status == "RUNNING"
    make.finish(folder, 1, state="complete", final_step=2)
    project(folder, config)
    assert len(runs_of(client, config)) == 3
    assert children_of(client, config)[1].info.status == "FINISHED"
    assert parent_of(client, config).info.status == "FINISHED"


def test_a_paused_trial_that_is_promoted_keeps_one_run(make, config, client) -> None:
    folder = make.sweep(trials=1)
    make.trial(folder, 1, state="running", steps=2)
    make.finish(folder, 1, state="stopped", final_step=1)
    ended = folder.trial(1).result()
    paused = {"stopped": PAUSED, "error": "at step 1"}
    folder.trial(1).write_result(ended.model_copy(update=paused))
    project(folder, config)
    run = children_of(client, config)[1]
    assert (run.data.tags["state"], run.data.tags["stopped"]) == ("stopped", "paused")
    folder.trial(1).reopen()
    with lock(folder):
        project(folder, config)
    assert children_of(client, config)[1].info.status == "RUNNING"
    make.finish(folder, 1, state="complete", final_step=1)
    project(folder, config)
    run = children_of(client, config)[1]
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "complete")
    assert len(runs_of(client, config)) == 3


def test_some_trials_only(folder, config, client) -> None:
    assert set(project(folder, config, trials=[1, 3])) == {1, 3}
    assert set(project(folder, config)) == {0, 1, 2, 3, 4, 5}


def test_rebuilt_from_the_folders_after_the_database_is_lost(
    folder, config, client, tmp_path, empty_database
) -> None:
    def content() -> list[tuple]:
        found = []
        for number, run in sorted(children_of(client, config).items()):
            history = [
                (m.step, m.value, m.timestamp)
                for m in client.get_metric_history(run.info.run_id, "val_accuracy")
                if not math.isnan(m.value)
            ]
            tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"}
            found.append((number, run.info.status, run.data.params, tags, history))
        return found

    project(folder, config)
    before = content()
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    project(folder, config)
    assert content() == before


def test_a_run_cut_off_before_its_metrics_is_made_again(folder, config, client) -> None:
    projection = Projection(folder, config)
    experiment = client.get_experiment_by_name(config.experiment).experiment_id
    tags = {"sweep_id": "digits-0f3a", "kind": "trial", "trial_number": "2"}
    half = client.create_run(experiment, tags=tags)
    assert projection.run_ids == {}
    run_ids = project(folder, config)
    assert run_ids[2] != half.info.run_id
    assert len(children_of(client, config)) == len(run_ids) == 6
    assert len(runs_of(client, config)) == 7


def test_a_damaged_trial_does_not_stop_the_others(folder, config, client) -> None:
    (folder.trial(2).path / "steps.jsonl").write_text("{}\n")
    projection = Projection(folder, config)
    for number in projection.trial_numbers():
        projection.write_trial(number)
    assert set(projection.damaged) == {2}
    assert set(projection.run_ids) == {0, 1, 3, 4, 5}


def test_two_sweeps_of_one_name_stay_apart(make, config) -> None:
    folder = make.sweep(trials=1)
    first = project(folder, config)
    make.facts["sweep_id"] = "digits-other"
    make.sweep(trials=0)
    assert set(project(folder, config).values()).isdisjoint(first.values())


def test_a_sweep_keeps_its_name_and_its_runs_when_its_folder_moves(make, config) -> None:
    make.facts = {}
    folder = make.sweep(trials=1)
    assert run_ids(folder) == {}
    written = project(folder, config)
    assert run_ids(folder) == written
    moved = SweepFolder(folder.path.rename(folder.path.with_name("digits-old")))
    assert project(moved, config) == written
    fresh = make.sweep(trials=1)
    assert sweep_id(fresh) != sweep_id(moved)
    assert project(fresh, config) != written


def test_a_folder_that_cannot_be_written_is_a_sentence(make, config) -> None:
    make.facts = {}
    folder = make.sweep(trials=1)
    (folder.path / "mlflow.json").mkdir()
    with pytest.raises(RunsError, match=r"mlflow\.json: cannot be written"):
        project(folder, config)


def test_a_damaged_note_of_runs_is_a_lost_one(make, config) -> None:
    folder = make.sweep(trials=1)
    (folder.path / "mlflow.json").write_text("[")
    assert run_ids(folder) == {}
    written = project(folder, config)
    assert run_ids(folder) == written


def test_more_metrics_than_one_call_takes(make, config, client) -> None:
    folder = make.sweep()
    make.trial(folder, 0, steps=120, state="running")
    (run_id,) = project(folder, config).values()
    history = client.get_metric_history(run_id, "seconds")
    assert [metric.step for metric in history] == list(range(120))


def test_a_deleted_experiment_is_a_sentence(folder, config, client) -> None:
    project(folder, config)
    client.delete_experiment(client.get_experiment_by_name(config.experiment).experiment_id)
    with pytest.raises(WorkError, match="'rfprune' has been deleted in MLflow"):
        project(folder, config)


def test_a_database_that_cannot_be_opened_is_a_sentence(folder, tmp_path) -> None:
    config = TrackingConfig(tracking_uri=f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}")
    (tmp_path / "none").write_text("a file where a folder should be")
    with pytest.raises(WorkError, match=r"^MLflow at sqlite:///.*none"):
        project(folder, config)


def test_what_pruned_networks_are_compared_with_is_on_the_parent(make, config, client) -> None:
    folder = make.sweep(trials=3)
    project(folder, config)
    front, parent = read_front(folder), parent_of(client, config)
    assert front.dense is not None
    for name in ("val_accuracy", "dsp", "lut", "fits"):
        assert parent.data.metrics[f"dense.{name}"] == front.dense.metrics[name]
    for name, value in front.reference.items():
        assert parent.data.metrics[f"untouched.{name}"] == value
    by_step = client.get_metric_history(children_of(client, config)[0].info.run_id, "dense")
    assert [(value.step, value.value) for value in by_step][:2] == [(0, 1.0), (1, 0.0)]
    # A second time there is nothing to add.
    project(folder, config)
    assert len(client.get_metric_history(parent.info.run_id, "dense.dsp")) == 1


def test_the_parent_shows_pictures_and_no_metric_of_one_point(make, config, client) -> None:
    folder = make.sweep(trials=LEAST_TRIALS)
    write_study(folder)
    project(folder, config)
    assert importances(folder)
    parent = parent_of(client, config)
    assert not [name for name in parent.data.metrics if name.startswith("importance")]
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"])[0]["path"] == "importance.json"
    pictures = ("front.png", "hypervolume.png", "importance.png")
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"importance.json", *pictures} <= files
    note = parent.data.tags["mlflow.note.content"]
    for name in pictures:
        assert f"(get-artifact?path={name}&run_uuid={parent.info.run_id})" in note


def test_runs_say_whether_they_are_on_the_front_and_show_that_point(make, config, client) -> None:
    folder = make.sweep(trials=4)
    runs = project(folder, config)
    front = read_front(folder)
    points = sorted(front.points, key=lambda point: point.dense)
    best = {point.trial: point for point in reversed(points)}
    assert best
    again = project(folder, config)
    assert again == runs
    for number, run_id in runs.items():
        run = client.get_run(run_id)
        assert run.data.tags["on_front"] == ("yes" if number in best else "no")
        last = next(t for t in front.view.trials if t.number == number).candidates[-1]
        shown = best.get(number, last)
        for name in ("val_accuracy", "dsp"):
            assert run.data.metrics[name] == shown.metrics[name]
        assert run.data.metrics["dense"] == shown.dense
        moved = shown.step != last.step
        assert ("shown_step" in run.data.tags) is moved
        steps = [value.step for value in client.get_metric_history(run_id, "dsp")]
        assert len(steps) == len(set(steps))


def test_the_page_of_a_sweep_needs_no_settings_of_a_browser(make, config, client) -> None:
    assert view_path(config) == ""
    folder = make.sweep(trials=2)
    project(folder, config)
    path = view_path(config)
    assert path == view_path(config, sweep_id(folder))
    key = path.partition("viewStateShareKey=")[2]
    experiment = client.get_experiment_by_name(config.experiment)
    assert path.startswith(f"/#/experiments/{experiment.experiment_id}/runs?")
    state = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    objectives = list(folder.spec().objectives)
    assert state["selectedColumns"][: len(objectives)] == [f"metrics.`{n}`" for n in objectives]
    assert state["orderByKey"] == f"metrics.`{objectives[0]}`"
    found = client.search_runs([experiment.experiment_id], state["searchFilter"])
    assert {run.data.tags["kind"] for run in found} == {"trial"}
    assert len(found) == 2
    parallel, *scatter = state["compareRunCharts"]
    assert (parallel["type"], parallel["selectedMetrics"]) == ("PARALLEL", objectives[::-1])
    assert set(parallel["selectedParams"]) <= set(found[0].data.params)
    assert [chart["xaxis"]["key"] for chart in scatter] == objectives[1:]


def test_the_page_of_two_sweeps_compares_their_fronts(make, config, client) -> None:
    first = make.sweep(trials=3)
    beside = replace(make, root=make.root / "b", facts={**make.facts, "sweep_id": "other-1"})
    second = beside.sweep(trials=2)
    for folder in (first, second):
        project(folder, config)
    path = view_path(config, sweep_id(first), sweep_id(second))
    page, _, query = path.partition("?")
    assert page == "/#/compare-runs"
    shown = json.loads(parse_qs(query)["runs"][0])
    tags = [client.get_run(run).data.tags for run in shown]
    assert all(tag["on_front"] == "yes" for tag in tags)
    expected = {
        (sweep_id(folder), str(point.trial))
        for folder in (first, second)
        for point in read_front(folder).points
    }
    assert {(tag["sweep_id"], tag["trial_number"]) for tag in tags} == expected


def write_study(folder: SweepFolder) -> None:
    """Write the study that belongs to a sweep whose run folders were written by hand."""
    import optuna

    from rfprune.study.journal import Journal

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=folder.spec().name,
        storage=optuna.storages.JournalStorage(Journal(str(folder.study_path))),
        directions=["maximize", "minimize", "minimize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    for view in read_front(folder).view.trials:
        trial = study.ask()
        trial.suggest_float("prune.budget.dsp", 0.05, 0.6)
        trial.suggest_float("prune.regularizer.weight", 1e-6, 1e-2, log=True)
        last = view.candidates[-1].metrics
        study.tell(trial, [last[name] for name in folder.spec().objectives])
