"""What validation rows cannot tell apart, and the dense network beside the front."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rfprune.results import Candidate, SweepView, build_front, front_json, read_sweep
from rfprune.results.labels import reading


def point(step: int, score: float, dsp: float, error: float = 0.01, **more) -> Candidate:
    metrics = {"val_accuracy": score, "dsp": dsp, "latency_cycles": 10.0, "fits": 1.0}
    return Candidate(0, step, {}, metrics, True, errors={"val_accuracy": error}, **more)


@pytest.fixture
def view(make, spec_of) -> SweepView:
    return read_sweep(make.sweep(spec_of(constraints=[]), trials=1))


def front_of(view: SweepView, *points: Candidate):
    (trial,) = view.trials
    return build_front(replace(view, trials=(replace(trial, candidates=points),)))


def test_a_dense_network_is_on_the_front_only_beyond_noise(view) -> None:
    cheaper = point(1, 0.950, 100)
    lucky, better = point(0, 0.960, 1000), point(0, 0.970, 1000)
    front = front_of(view, lucky, cheaper)
    assert front.points == (cheaper,)
    assert front.dense == lucky
    assert front.shown == (cheaper, lucky)
    # The two standard errors add up to 0.0141.
    assert front_of(view, better, cheaper).points == (better, cheaper)
    exact = front_of(view, point(0, 0.951, 1000, 0.0), point(1, 0.950, 100, 0.0))
    assert [p.step for p in exact.points] == [0, 1]


def test_a_dense_network_alone_is_the_front(view) -> None:
    only = point(0, 0.9, 1000)
    assert front_of(view, only).points == (only,)
    assert front_of(view, only).shown == (only,)


def test_points_within_noise_of_a_cheaper_one_are_marked(view) -> None:
    points = [point(1, 0.90, 10), point(2, 0.91, 20), point(3, 0.95, 30)]
    front = front_of(view, *points)
    assert front.within_noise == {(0, 2)}
    rows = {row["step"]: row for row in front_json(front)["front"]}
    assert [rows[step]["within_noise"] for step in (1, 2, 3)] == [0, 1, 0]
    assert rows[2]["errors"] == {"val_accuracy": 0.01}


def test_the_spread_over_seeds_counts_as_noise(view) -> None:
    one, other = point(1, 0.90, 10), point(2, 0.92, 20)
    assert front_of(view, one, other).within_noise == frozenset()
    seeds = {"spread": {"val_accuracy": 0.02}, "repeats": 2}
    # hypot(0.01, 0.01, 0.02 / sqrt(2), 0.02 / sqrt(2)) = 0.0245
    close = front_of(view, point(1, 0.90, 10, **seeds), point(2, 0.92, 20, **seeds))
    assert close.within_noise == {(0, 2)}


def test_what_is_better_elsewhere_is_not_within_noise(view) -> None:
    quick = replace(point(2, 0.91, 20), metrics={**point(2, 0.91, 20).metrics, "latency_cycles": 5})
    assert front_of(view, point(1, 0.90, 10), quick).within_noise == frozenset()


def test_what_was_measured_in_floats_is_said(view) -> None:
    typed = point(1, 0.94, 10)
    typed = replace(typed, metrics={**typed.metrics, "float_val_accuracy": 0.95})
    assert not any("floats" in line for line in reading(front_of(view, typed)))
    # A dense network whose types are chosen while it is pruned.
    lines = reading(front_of(view, point(0, 0.95, 100), typed))
    assert lines[-1] == "the dense network is measured in floats"
    lines = reading(front_of(view, point(0, 0.95, 100), point(2, 0.9, 5), typed))
    assert lines[-1] == "1 step measured in floats, by version 0.1"
