"""Trials of earlier sweeps in a new study: which ones, as what, and that they do not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import SpecError
from rfprune.results import SweepFolder, read_sweep
from rfprune.study.attach import attach
from rfprune.study.expand import expand
from rfprune.study.record import Record
from rfprune.study.study import lock, open_study, read_study
from rfprune.study.trials import EARLIER, count_trials
from rfprune.study.warm_start import WarmStart, read_warm_start
from tests.study.conftest import LAYERS, RF, Inline, SpecMaker


def new_spec(make_spec: SpecMaker, **changes: Any) -> Any:
    return make_spec(**{"name": "new", "warm_start": ["demo"], **changes})


def read(spec: Any, runs: Path) -> WarmStart:
    return read_warm_start(spec, expand(spec, LAYERS), runs, runs)


@pytest.fixture
def earlier(tmp_path: Path, make_spec: SpecMaker) -> Path:
    """The folder of runs with a finished sweep ``demo`` of six trials."""
    Inline(make_spec(), tmp_path).run()
    return tmp_path


def record_of(spec: Any, runs: Path) -> Record:
    folder = SweepFolder(runs / spec.name)
    with lock(folder):
        study = open_study(spec, folder, LAYERS)
        warm = read(spec, runs)
        record = Record(spec, folder, expand(spec, LAYERS), study, earlier=warm.trials)
        folder.write_spec(spec, {})
    return record


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"hardware": {"part": "pynq-z2", "clock_ns": 10}},
        {"seed": 7},
        {"search": {RF("*"): {"valid": True}, "prune.budget.dsp": {"low": 0.1, "high": 0.9}}},
        {"constraints": ["dsp <= 100"]},
        {"objectives": {"val_accuracy": "max", "latency_cycles": "min"}},
    ],
    ids=["same", "part", "seed", "grown", "constraint", "objectives"],
)
def test_what_means_the_same_is_told(
    earlier: Path, make_spec: SpecMaker, change: dict[str, Any]
) -> None:
    spec = new_spec(make_spec, **change)
    record = record_of(spec, earlier)
    told = record.study.get_trials(deepcopy=False)
    assert [trial.user_attrs[EARLIER] for trial in told] == [f"demo/{n}" for n in range(6)]
    by_number = {trial.number: trial for trial in read_sweep(SweepFolder(earlier / "demo")).trials}
    for number, trial in enumerate(told):
        step = next(
            c
            for c in by_number[number].candidates
            if all(c.metrics[n] == v for n, v in zip(spec.objectives, trial.values, strict=True))
        )
        assert set(trial.user_attrs["values"]) >= set(by_number[number].params)
        assert trial.constraints == {
            str(c): c.excess(step.metrics[c.name]) for c in spec.conditions
        }
        assert set(trial.distributions) == set(trial.params) == set(trial.user_attrs["values"])
    assert record.counts == count_trials(record.study)
    assert record.done == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"train": {"epochs": 3}}, "differ in train.epochs: 20 there, 3 here"),
        ({"data": {"name": "digits", "train_rows": 500}}, "data.train_rows"),
        (
            {"search": {"prune.regularizer.weight": {"low": 0.5, "high": 0.9}}},
            "lie outside of search.prune.regularizer.weight",
        ),
        ({"prune": {"steps": 5}}, "differ in prune.steps: 2 there, 5 here"),
    ],
)
def test_what_does_not_is_left_out_and_said(
    earlier: Path, make_spec: SpecMaker, change: dict[str, Any], why: str
) -> None:
    warm = read(new_spec(make_spec, **change), earlier)
    assert warm.trials == ()
    (said,) = warm.notes
    assert said.startswith("warm start: 0 trials of 'demo' are told to the study; 6 left out: 6 ")
    assert why in said


def test_unfinished_trials_are_left_out(earlier: Path, make_spec: SpecMaker) -> None:
    (earlier / "demo" / "trials" / "0002" / "result.json").unlink()
    warm = read(new_spec(make_spec), earlier)
    assert len(warm.trials) == 5
    assert warm.notes[0].endswith("; 1 left out: 1 did not run to their end.")


def test_a_warm_sweep_runs_as_many_trials_of_its_own(earlier: Path, make_spec: SpecMaker) -> None:
    spec = new_spec(make_spec, trials=4, sampler={"name": "tpe"})
    record_of(spec, earlier).study.close()
    inline = Inline(spec, earlier).run()
    counts = count_trials(inline.study)
    assert (counts.complete, counts.duplicate) == (4, 0)
    assert len(read_sweep(inline.folder).trials) == 4
    # A continuation finds them told, and tells nothing twice.
    again = record_of(make_spec(**{**spec.canonical(), "trials": 6}), earlier)
    told = [t for t in again.study.get_trials(deepcopy=False) if EARLIER in t.user_attrs]
    assert len(told) == 6
    assert again.done == 4
    events: list[Any] = []
    assert attach(inline.folder, events.append).complete == 4
    assert events == []


def test_a_driver_that_dies_before_its_first_trial_tells_the_rest(
    earlier: Path, make_spec: SpecMaker
) -> None:
    spec = new_spec(make_spec)
    folder, warm = SweepFolder(earlier / "new"), read(spec, earlier)
    with lock(folder):
        study = open_study(spec, folder, LAYERS)
        Record(spec, folder, expand(spec, LAYERS), study, earlier=warm.trials[:2])
        study.close()
    record = record_of(spec, earlier)
    assert len(record.study.get_trials(deepcopy=False)) == 6


def test_first_points_are_tried_as_well(earlier: Path, make_spec: SpecMaker) -> None:
    start = [{RF("fc1"): 4, RF("fc2"): 8, RF("fc3"): 16}]
    record = record_of(new_spec(make_spec, start=start), earlier)
    job = record.ask()
    assert job is not None
    assert job.values == start[0]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (["demmo"], "demo: warm_start: no sweep 'demmo' under"),
        (["demo"], "'demo' is this sweep itself"),
    ],
)
def test_sweeps_that_cannot_be_named(
    earlier: Path, make_spec: SpecMaker, named: list[str], words: str
) -> None:
    with pytest.raises(SpecError) as refused:
        read(make_spec(warm_start=named), earlier)
    assert words in str(refused.value)


def test_a_sweep_that_does_not_measure_an_objective(earlier: Path, make_spec: SpecMaker) -> None:
    task = {"metrics": ["accuracy", "log_loss"]}
    goals = {"val_log_loss": "min", "dsp": "min"}
    with pytest.raises(SpecError, match="trials of 'demo' do not measure 'val_log_loss'"):
        read(new_spec(make_spec, task=task, objectives=goals), earlier)


def test_a_sweep_elsewhere_is_named_by_its_folder(earlier: Path, make_spec: SpecMaker) -> None:
    spec = new_spec(make_spec, warm_start=[str(earlier / "demo")])
    assert len(read(spec, earlier / "other").trials) == 6
    spec = new_spec(make_spec, warm_start=["demo"])
    assert len(read_warm_start(spec, expand(spec, LAYERS), Path("no"), earlier).trials) == 6


def test_the_study_of_a_warm_sweep_can_be_read(earlier: Path, make_spec: SpecMaker) -> None:
    record_of(new_spec(make_spec), earlier).study.close()
    assert count_trials(read_study(SweepFolder(earlier / "new"))).complete == 0
