"""Choosing a network, and saying why there is none."""

from __future__ import annotations

import json

import pytest

from rfprune.errors import RunsError, UnknownNameError
from rfprune.results import Ranking, choose, read_front
from rfprune.spec import parse_condition


def where(*texts: str) -> list:
    return [parse_condition(text) for text in texts]


@pytest.fixture
def front(make):
    return read_front(make.sweep(trials=12))


def test_most_accurate_within_a_budget(front) -> None:
    choice = choose(front, where("dsp<=600"), Ranking("max", "accuracy"))
    within = [c for c in front.view.candidates if c.metrics["dsp"] <= 600]
    assert choice.candidate.metrics["val_accuracy"] == max(
        c.metrics["val_accuracy"] for c in within
    )
    by_test = max(within, key=lambda c: c.metrics["accuracy"])
    assert by_test is not choice.candidate
    assert (
        "Test rows are never used to select: val_accuracy was compared instead of accuracy"
        in choice.explanation
    )
    assert f"among {len(within)} feasible points" in choice.explanation


def test_smallest_within_an_accuracy(front) -> None:
    choice = choose(front, where("accuracy >= 0.955"), Ranking("min", "lut"))
    within = [c for c in front.view.candidates if c.metrics["val_accuracy"] >= 0.955]
    assert choice.candidate.metrics["lut"] == min(c.metrics["lut"] for c in within)


def test_a_point_off_the_front_can_be_the_best_that_meets_the_conditions(front) -> None:
    on_front = {(p.trial, p.step) for p in front.points}
    other = next(c for c in front.view.candidates if (c.trial, c.step) not in on_front)
    conditions = where(f"trial=={other.trial}", f"step=={other.step}", "fits==1", "feasible==1")
    assert choose(front, conditions, Ranking("max", "accuracy")).candidate == other


def test_equal_values_are_decided_by_the_front(front) -> None:
    least = choose(front, [], Ranking("min", "ii_cycles")).candidate
    value = least.metrics["ii_cycles"]
    ties = [c for c in front.view.candidates if c.metrics["ii_cycles"] == value]
    assert len(ties) > 1
    beaten = [
        c
        for c in ties
        if c.metrics["val_accuracy"] >= least.metrics["val_accuracy"]
        and c.metrics["dsp"] <= least.metrics["dsp"]
        and c.metrics["latency_cycles"] <= least.metrics["latency_cycles"]
    ]
    assert beaten == [least]


def test_knee_is_the_closest_to_the_ideal_point(front) -> None:
    chosen = choose(front, [], Ranking("knee")).candidate
    names = {"val_accuracy": -1, "dsp": 1, "latency_cycles": 1}

    def distance(c) -> float:
        total = 0.0
        for name, sign in names.items():
            values = [sign * p.metrics[name] for p in front.points]
            total += ((sign * c.metrics[name] - min(values)) / (max(values) - min(values))) ** 2
        return total

    assert distance(chosen) == min(distance(p) for p in front.points)


def test_last_is_the_last_step_that_meets_the_conditions(front) -> None:
    trial = where("trial==3")
    steps = [c.step for c in front.view.candidates if c.trial == 3]
    last = choose(front, trial, Ranking("last"))
    assert (last.candidate.trial, last.candidate.step) == (3, max(steps))
    assert "the last accepted step" in last.explanation
    earlier = choose(front, [*trial, *where(f"step<{max(steps)}")], Ranking("last")).candidate
    assert earlier.step == max(step for step in steps if step < max(steps))


def test_no_point_names_the_nearest_miss_of_each_condition(front) -> None:
    conditions = where("dsp<=5", "accuracy>=0.999", "power_mw<=3", "lut<=1e9")
    with pytest.raises(RunsError) as caught:
        choose(front, conditions, Ranking("max", "accuracy"))
    text = str(caught.value)
    least = min(c.metrics["dsp"] for c in front.view.candidates)
    best = max(c.metrics["val_accuracy"] for c in front.view.candidates)
    assert f"dsp <= 5: dsp = {least:g}" in text
    assert f"accuracy >= 0.999: val_accuracy = {best:g}" in text
    assert "'power_mw' is not known for any point" in text
    assert f"lut <= 1e+09 alone is met by {len(front.view.candidates)}" in text


def test_no_feasible_point_names_the_constraints(make, spec_of) -> None:
    front = read_front(make.sweep(spec_of(constraints=["dsp <= 3"]), trials=2))
    with pytest.raises(RunsError, match=r"none of its 10 points meets.*Nearest.*dsp <= 3: dsp = "):
        choose(front, where("dsp<=1000"), Ranking("max", "accuracy"))


def test_empty_sweep_and_unknown_names(make) -> None:
    front = read_front(make.sweep())
    with pytest.raises(RunsError, match="no finished pruning step"):
        choose(front, [], Ranking())
    with pytest.raises(UnknownNameError, match="Did you mean 'accuracy'"):
        choose(front, [], Ranking("max", "acuracy"))


def test_a_ranking_by_an_unknown_quantity_is_a_sentence(front) -> None:
    with pytest.raises(RunsError, match="known 'power_mw'"):
        choose(front, [], Ranking("min", "power_mw"))


def test_knee_needs_known_objectives(make, spec_of) -> None:
    spec = spec_of(objectives={"val_accuracy": "max", "power_mw": "min"})
    make.facts = {}
    front = read_front(make.sweep(spec, trials=1))
    with pytest.raises(RunsError, match="known values of every objective"):
        choose(front, [], Ranking("knee"))
    assert choose(front, [], Ranking("max", "accuracy")).candidate.trial == 0


def test_the_usual_choice_is_the_best_score_that_is_pruned(front) -> None:
    chosen = choose(front, [], Ranking()).candidate
    pruned = [c for c in front.view.candidates if c.feasible and c.step]
    assert chosen.metrics["val_accuracy"] == max(c.metrics["val_accuracy"] for c in pruned)
    assert not chosen.dense


def test_what_does_not_fit_is_taken_only_if_asked_for(make, spec_of) -> None:
    folder = make.sweep(spec_of(constraints=[]), trials=3)
    for trial in folder.trials():
        path = trial.path / "spec.json"
        values = json.loads(path.read_text())
        values["hardware"]["part"] = "pynq-z2"
        path.write_text(json.dumps(values))
    front = read_front(folder)
    everything = front.view.candidates
    fitting = [c for c in everything if c.metrics["dsp"] <= 220 and c.metrics["lut"] <= 53200]
    assert [c for c in everything if c.fits] == fitting
    larger = choose(front, [], Ranking("max", "dsp"), allow_larger=True)
    assert not larger.candidate.fits
    assert "It does not fit pynq-z2: " in larger.explanation
    if fitting:
        assert choose(front, [], Ranking("max", "dsp")).candidate in fitting
    else:
        with pytest.raises(RunsError, match="or --allow-larger to export what does not fit"):
            choose(front, [], Ranking("max", "dsp"))
    assert front.view.capacity == {"dsp": 220, "bram18": 280, "lut": 53200, "ff": 106400}
