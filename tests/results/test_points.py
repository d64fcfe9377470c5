"""Candidates as run folders show them."""

from __future__ import annotations

import json

import pytest

from rfprune.errors import RunsError
from rfprune.results import read_front, read_sweep
from rfprune.results.points import searched_values


def test_every_accepted_step_of_every_trial_is_a_candidate(make) -> None:
    folder = make.sweep()
    make.trial(folder, 0)
    make.trial(folder, 1, state="failed", steps=2)
    make.trial(folder, 2, state="running", steps=3)
    view = read_sweep(folder)
    # The last step of a complete trial of these tests was rejected.
    expected = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert [(c.trial, c.step) for c in view.candidates] == expected
    assert [trial.state for trial in view.trials] == ["complete", "failed", "running"]


def test_params_are_the_values_at_the_searched_paths(make) -> None:
    folder = make.sweep(trials=1)
    spec = folder.trial(0).spec()
    expected = {
        f"hardware.layers.{name}.reuse_factor": layer.reuse_factor
        for name, layer in spec.hardware.layers.items()
    }
    expected["prune.regularizer.weight"] = spec.prune.regularizer.weight
    expected["prune.budget.dsp"] = spec.prune.budget["dsp"]
    assert dict(read_sweep(folder).candidates[0].params) == expected


@pytest.mark.parametrize(("section", "key"), [("model", "name"), ("data", "name")])
def test_a_trial_of_another_sweep_is_left_out(make, section: str, key: str) -> None:
    folder = make.sweep(trials=2)
    path = folder.trial(1).path / "spec.json"
    values = json.loads(path.read_text())
    values[section][key] = "lenet"
    path.write_text(json.dumps(values))
    view = read_sweep(folder)
    assert [trial.number for trial in view.trials] == [0]
    assert f"is a trial of another sweep (its {section}.{key} is 'lenet'" in view.damaged[1]


def test_a_wildcard_leaves_out_layers_without_the_value() -> None:
    trial = {"hardware": {"layers": {"a": {"reuse_factor": 4}, "b": {"reuse_factor": None}}}}
    paths = ["hardware.layers.*.reuse_factor", "prune.steps", "hardware.layers.b.reuse_factor"]
    assert searched_values(trial, paths) == {
        "hardware.layers.a.reuse_factor": 4,
        "prune.steps": None,
        "hardware.layers.b.reuse_factor": None,
    }


def test_constraints_decide_what_is_feasible_and_test_accuracy_never_does(make, spec_of) -> None:
    spec = spec_of(constraints=["val_accuracy >= 0.955", "dsp <= 900"])
    view = read_sweep(make.sweep(spec, trials=8))
    expected = [
        c.metrics["val_accuracy"] >= 0.955 and c.metrics["dsp"] <= 900 for c in view.candidates
    ]
    assert [c.feasible for c in view.candidates] == expected
    assert len(set(expected)) == 2
    by_test = [c.metrics["accuracy"] >= 0.955 and c.metrics["dsp"] <= 900 for c in view.candidates]
    assert by_test != expected


def test_unknown_objectives_are_counted_and_never_on_the_front(make, spec_of) -> None:
    make.facts = {}
    folder = make.sweep(spec_of(objectives={"val_accuracy": "max", "power_mw": "min"}), trials=3)
    front = read_front(folder)
    assert front.points == ()
    assert front.unknown == len(front.view.candidates) == 15


def test_a_damaged_trial_is_named_and_the_others_stay(make) -> None:
    folder = make.sweep(trials=3)
    (folder.trial(1).path / "steps.jsonl").write_text('{"step": 0, "accepted":\n')
    (folder.trial(2).path / "spec.json").write_text("[1]")
    view = read_sweep(folder)
    assert [trial.number for trial in view.trials] == [0]
    assert set(view.damaged) == {1, 2}
    assert "damaged" in view.damaged[1]


def test_an_empty_trial_folder_is_a_trial_that_runs(make) -> None:
    folder = make.sweep()
    (folder.path / "trials" / "0000").mkdir(parents=True)
    view = read_sweep(folder)
    assert view.candidates == ()
    assert view.trials[0].state == "running"


def test_reference_point_must_cover_the_objectives(make) -> None:
    make.facts = {"reference_point": {"val_accuracy": 0.7, "dsp": 5000.0}}
    with pytest.raises(RunsError, match="'latency_cycles'"):
        read_sweep(make.sweep())


def test_counts_and_front_of_infeasible_points(make, spec_of) -> None:
    folder = make.sweep(spec_of(constraints=["dsp <= 1"]), trials=3)
    make.trial(folder, 3, state="failed", steps=1)
    make.trial(folder, 4, state="running", steps=1)
    front = read_front(folder)
    counts = front.counts
    assert (counts.complete, counts.infeasible, counts.failed, counts.running) == (3, 3, 1, 1)
    assert front.points
    assert not any(point.feasible for point in front.points)
    assert front.hypervolume == 0.0
