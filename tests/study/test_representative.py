"""What the study is told of a trial is what the front shows of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.results import StepRecord, SweepFolder, TrialFolder, TrialResult, read_front
from rfprune.results.hypervolume import hypervolume
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study.record import Ended, Record
from rfprune.study.representative import Representative
from rfprune.study.trials import count_trials

Maker = Callable[..., Any]
REFERENCE = {"val_accuracy": 0.0, "dsp": 110.0}


def sweep(constraints: list[str], objectives: dict[str, str] | None = None) -> SweepSpec:
    values = {
        "name": "demo",
        "model": {"name": "mlp"},
        "data": {"name": "digits"},
        "search": {"prune.floor": {"low": 1, "high": 9}},
        "objectives": objectives or {"val_accuracy": "max", "dsp": "min"},
        "constraints": constraints,
    }
    return parse_spec(SweepSpec, values, "demo.yml")


def steps(*points: tuple[float, float | None]) -> list[dict[str, float | None]]:
    """Return steps of (val_accuracy, dsp), numbered from 0."""
    return [{"val_accuracy": a, "dsp": d, "step": float(k)} for k, (a, d) in enumerate(points)]


def chosen(found: Any) -> int:
    assert found is not None
    return int(found["step"])


def test_the_feasible_step_with_the_largest_new_volume_is_told() -> None:
    rule = Representative(sweep(["val_accuracy >= 0.5"]), REFERENCE)
    trial = steps((0.9, 100.0), (0.8, 40.0), (0.6, 30.0), (0.4, 1.0))
    assert chosen(rule.choose(trial)) == 1
    rule.add(trial)
    # The same trial again adds nothing: the last feasible step.
    assert chosen(rule.choose(trial)) == 2
    assert chosen(rule.choose(steps((0.8, 41.0), (0.61, 29.0), (0.3, 0.0)))) == 1


def test_without_a_feasible_step_the_least_infeasible_is_told() -> None:
    rule = Representative(sweep(["val_accuracy >= 0.95", "dsp <= 35"]), REFERENCE)
    trial = steps((0.9, 100.0), (0.8, 36.0), (0.6, 36.0), (0.6, 50.0))
    assert chosen(rule.choose(trial)) == 1
    assert not rule.feasible(trial[1])
    equal = steps((0.9, 100.0), (0.6, 50.0), (0.6, 50.0))
    assert chosen(rule.choose(equal)) == 2


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_step_without_an_objective_is_not_told(bad: float | None) -> None:
    rule = Representative(sweep([]), REFERENCE)
    assert chosen(rule.choose(steps((0.5, 50.0), (0.9, bad)))) == 0
    assert rule.choose(steps((0.9, bad))) is None
    assert rule.choose([]) is None


values = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10))
trials = st.lists(st.lists(values, min_size=1, max_size=5), min_size=1, max_size=6)


@given(trials, st.booleans())
def test_no_other_feasible_step_adds_more(points: list[list[Any]], fixed: bool) -> None:
    """Against the definition: the hypervolume with and without each step."""
    objectives = {"val_accuracy": "max", "dsp": "min", "lut": "min"}
    corner = {"val_accuracy": -1.0, "dsp": 11.0, "lut": 11.0}
    rule = Representative(sweep(["dsp <= 7"], objectives), corner if fixed else None)
    front = np.empty((0, 3))
    for trial in points:
        made: list[dict[str, float | None]] = [
            {"val_accuracy": float(a), "dsp": float(d), "lut": float(u), "step": float(k)}
            for k, (a, d, u) in enumerate(trial)
        ]
        found = rule.choose(made)
        feasible = [row for row in trial if row[1] <= 7]
        assert rule.feasible(found) == bool(feasible)  # type: ignore[arg-type]
        losses = np.array([(-a, d, u) for a, d, u in feasible], dtype=float).reshape(-1, 3)
        if fixed and feasible:
            reference = np.array([1.0, 11.0, 11.0])
            before = hypervolume(front, reference)
            gains = [hypervolume(np.vstack([front, row]), reference) - before for row in losses]
            own = trial[chosen(found)]
            gain = gains[feasible.index(own)]
            assert gain == pytest.approx(max(gains))
        front = np.vstack([front, losses])
        rule.add(made)


def falling(
    spec: TrialSpec,
    folder: TrialFolder,
    *,
    dense_dir: Path,
    base_dir: Path,
    attempt: int = 0,
    on_step: Any = None,
) -> TrialResult:
    """A trial whose accuracy falls with each step; by ``prune.floor`` from 0.95 down."""
    start = 0.99 - 0.04 * spec.prune.floor
    for step in range(4):
        record = StepRecord(
            step=step,
            accepted=True,
            val_accuracy=start - 0.05 * step,
            accuracy=0.0,
            sparsity=step / 4,
            dsp=100.0 - 20 * step,
        )
        folder.append_step(record)
    result = TrialResult(trial=folder.number, state="complete", final_step=3)
    folder.write_result(result)
    return result


def run(driver: Any, fails: int = 0) -> None:
    """Run all trials by `falling`; the first `fails` fail after their steps."""
    record = driver.record
    while not record.finished:
        job = record.ask()
        if job is None:
            continue
        folder = driver.folder.trial(job.folder)
        falling(job.spec, folder, dense_dir=Path(), base_dir=Path())
        if fails:
            fails -= 1
            (folder.path / "result.json").unlink()
            record.finish(job.number, Ended("error", "cut"))
        else:
            told = [step.facts() for step in folder.steps()]
            record.finish(job.number, Ended(steps=told))
        assert record.counts == count_trials(driver.study)


@pytest.mark.parametrize("constraint", ["val_accuracy >= 0.85", "step <= 2", "dsp <= 70"])
def test_study_front_and_counts_agree_where_a_last_step_breaks_a_constraint(
    make_spec: Maker, inline: Maker, constraint: str
) -> None:
    search = {"prune.floor": {"low": 1, "high": 6}}
    driver = inline(make_spec(trials=5, search=search, constraints=[constraint]))
    driver.folder.write_spec(driver.spec, {"reference_point": REFERENCE})
    run(driver, fails=1)
    front, counts = read_front(driver.folder), count_trials(driver.study)
    assert front.counts.infeasible == counts.infeasible
    assert (
        (front.counts.complete, front.counts.failed) == (counts.complete, counts.failed) == (5, 1)
    )
    assert 0 <= counts.infeasible < 5
    feasible = {c.trial for c in front.view.candidates if c.feasible}
    known = {(c.trial, c.step): c for c in front.view.candidates}
    for trial in driver.study.trials:
        if trial.state.name != "COMPLETE":
            continue
        told = known[trial.user_attrs["folder"], trial.user_attrs["step"]]
        assert trial.values == [told.metrics["val_accuracy"], told.metrics["dsp"]]
        assert all(v <= 0 for v in trial.constraints.values()) == told.feasible
        assert told.feasible == (told.trial in feasible)


def test_some_are_infeasible_for_both(make_spec: Maker, inline: Maker) -> None:
    search = {"prune.floor": {"low": 1, "high": 6}}
    driver = inline(make_spec(trials=6, search=search, constraints=["val_accuracy >= 0.85"]))
    run(driver)
    counts = count_trials(driver.study)
    assert counts.infeasible == 3  # floors 4, 5 and 6 begin below 0.85
    assert read_front(driver.folder).counts.infeasible == 3


def test_pareto_json_counts_what_the_study_counts(
    make_spec: Maker, inline: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    from rfprune.cli import main

    search = {"prune.floor": {"low": 1, "high": 6}}
    driver = inline(make_spec(trials=6, search=search, constraints=["val_accuracy >= 0.85"]))
    run(driver, fails=1)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["pareto", "demo", "--runs", str(driver.folder.path.parent), "--json"])
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)["trials"]
    counts = count_trials(driver.study)
    for name in ("complete", "failed", "infeasible", "running"):
        assert shown[name] == getattr(counts, name), name


def test_the_next_driver_compares_with_the_same_front(make_spec: Maker, inline: Maker) -> None:
    search = {"prune.floor": {"low": 1, "high": 6}}
    spec = make_spec(trials=3, search=search, constraints=["dsp <= 90"])
    driver = inline(spec)
    run(driver)
    again: Record = inline(spec.model_copy(update={"trials": 6})).record
    job = again.ask()
    assert job is not None
    folder: SweepFolder = driver.folder
    falling(job.spec, folder.trial(job.folder), dense_dir=Path(), base_dir=Path())
    made = [step.facts() for step in folder.trial(job.folder).steps()]
    assert again._representative.choose(made) == driver.record._representative.choose(made)
    assert again.counts == count_trials(again.study)
