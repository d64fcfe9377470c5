"""A sweep of another task than classes in MLflow: its metrics are the columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rfprune.results import StepRecord, SweepFolder, TrialResult
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.tracking import TrackingConfig, project

TRIAL: dict[str, Any] = {
    "model": {"name": "mlp"},
    "data": {"name": "diabetes"},
    "task": {"name": "regression", "metrics": ["rmse", "r2"]},
}
METRICS = {"val_rmse": 60.0, "rmse": 61.0, "val_r2": 0.4, "r2": 0.3}


def sweep_of_numbers(root: Path) -> SweepFolder:
    search = {"prune.budget.dsp": {"low": 0.1, "high": 0.5}}
    spec = SweepSpec.model_validate({**TRIAL, "name": "numbers", "search": search})
    folder = SweepFolder(root / "numbers")
    reference = {"val_rmse": 80.0, "dsp": 1000.0}
    folder.write_spec(spec, {"sweep_id": "numbers-0f3a", "reference_point": reference})
    for number in range(2):
        trial = folder.trial(number)
        budget = {"budget": {"dsp": 0.2 + 0.1 * number}}
        trial.write_spec(TrialSpec.model_validate({**TRIAL, "prune": budget}))
        for step in range(2):
            values = {**METRICS, "val_rmse": 60.0 + step - 5 * number, "dsp": 500.0 - 100 * step}
            trial.append_step(
                StepRecord(step=step, accepted=True, values={**values, "sparsity": 0.0})
            )
        dense = dict(METRICS)
        trial.write_result(TrialResult(trial=number, state="complete", final_step=1, dense=dense))
    return folder


def test_the_metrics_of_the_task_are_the_columns(
    tmp_path: Path, config: TrackingConfig, client
) -> None:
    folder = sweep_of_numbers(tmp_path)
    run_ids = project(folder, config)
    for number, run_id in run_ids.items():
        run = client.get_run(run_id)
        assert run.data.metrics["val_rmse"] == 61.0 - 5 * number
        assert {name: run.data.metrics[name] for name in ("rmse", "val_r2", "r2")} == {
            "rmse": 61.0,
            "val_r2": 0.4,
            "r2": 0.3,
        }
        assert not {"accuracy", "val_accuracy"} & set(run.data.metrics)
        history = client.get_metric_history(run_id, "val_rmse")
        assert [(m.step, m.value) for m in history] == [(k, 60.0 + k - 5 * number) for k in (0, 1)]
    (parent,) = {client.get_run(i).data.tags["mlflow.parentRunId"] for i in run_ids.values()}
    assert client.get_run(parent).data.tags["objectives"] == "val_rmse min, dsp min"
    path = client.download_artifacts(parent, "front.json", str(tmp_path))
    front = json.loads(Path(path).read_text())["front"]
    assert [(row["trial"], row["step"]) for row in front] == [(1, 0), (1, 1)]
