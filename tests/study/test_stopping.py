"""When a sweep ends before its last trial: the rules alone, in a record, and over its restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import SpecError
from rfprune.results import SweepFolder
from rfprune.results.hypervolume import GrowingFront, hypervolume
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study.durations import Durations
from rfprune.study.expand import expand
from rfprune.study.record import Ended
from rfprune.study.representative import Representative
from rfprune.study.stopping import Stopping, expected_gain
from rfprune.study.trials import TOO_LONG, count_trials
from tests.study.conftest import Inline, SpecMaker

REFERENCE = {"val_accuracy": 0.0, "dsp": 100.0}


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def stopping(spec: SweepSpec, clock: Clock | None = None) -> Stopping:
    usable = Representative(spec, REFERENCE)
    return Stopping(spec, usable, usable.reference, clock or Clock())


def step(accuracy: float, dsp: float = 50.0) -> list[dict[str, float | None]]:
    return [{"val_accuracy": accuracy, "dsp": dsp, "step": 1.0}]


def test_a_hypervolume_that_stands_still_ends_a_sweep(make_spec: SpecMaker) -> None:
    rule = stopping(make_spec(stop={"stagnation": 3, "growth": 0.01}))
    for accuracy in (0.5, 0.6, 0.7, 0.7, 0.701):
        rule.add(step(accuracy), 1.0)
        assert rule.why == ""
    rule.add(step(0.2), 1.0)
    assert rule.why == (
        "stop.stagnation: the hypervolume has grown by 0.14 % over the last 3 trials"
    )
    assert rule.volumes == pytest.approx([25, 30, 35, 35, 35.05, 35.05])


def test_nothing_stagnates_before_something_is_feasible(make_spec: SpecMaker) -> None:
    rule = stopping(make_spec(stop={"stagnation": 2}, constraints=["dsp <= 40"]))
    for _ in range(9):
        rule.add(step(0.9, dsp=50.0), 1.0)
    assert rule.why == ""
    for _ in range(3):
        rule.add(step(0.9, dsp=40.0), 1.0)
    assert "stagnation" in rule.why


def test_without_a_reference_point_nothing_stagnates(make_spec: SpecMaker) -> None:
    spec = make_spec(stop={"stagnation": 1})
    rule = Stopping(spec, Representative(spec, None), None)
    for _ in range(5):
        rule.add(step(0.5), 1.0)
    assert (rule.why, rule.volumes) == ("", [])
    assert rule.outlook(10.0, 40) == ""


def test_time_is_up_and_a_trial_that_would_not_end_in_it_does_not_begin(
    make_spec: SpecMaker,
) -> None:
    clock = Clock()
    rule = stopping(make_spec(stop={"hours": 1}), clock)
    for seconds in (100.0, 200.0, 900.0):
        rule.add([], seconds)
    clock.now = 3390.0
    assert rule.why == ""
    clock.now = 3450.0
    assert rule.why == "stop.hours: 150 s are left of 1 h, and a trial takes 200 s"
    clock.now = 3600.0
    assert rule.why == "stop.hours: 1 h are over"


def test_cpu_seconds_are_seconds_of_all_cpus(make_spec: SpecMaker) -> None:
    rule = stopping(make_spec(stop={"cpu_seconds": 100}, resources={"cpus": 2}))
    rule.add([], 49.0)
    assert rule.why == ""
    rule.add([], 1.0)
    assert rule.why == "stop.cpu_seconds: the trials have taken 100 CPU seconds of 100"


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        ({}, "says nothing. Allowed: stagnation, hours, cpu_seconds"),
        ({"stagnation": 0}, "stop.stagnation: must be above 0"),
        ({"hours": -1}, "stop.hours: must be above 0"),
        ({"stagnatoin": 3}, "did you mean 'stagnation'"),
        ({"stagnation": 3, "growth": -0.1}, "stop.growth: must be at least 0"),
    ],
)
def test_rules_that_make_no_sense(make_spec: SpecMaker, stop: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        make_spec(stop=stop)
    assert words.lower() in str(refused.value).lower()


def test_a_sweep_without_a_rule_is_the_file_that_it_was(make_spec: SpecMaker) -> None:
    assert "stop" not in make_spec().canonical()
    assert parse_spec(SweepSpec, make_spec(stop={"hours": 2}).canonical(), "x").stop is not None


def test_a_record_ends_and_so_does_the_next_one(tmp_path: Path, make_spec: SpecMaker) -> None:
    spec = make_spec(trials=60, stop={"stagnation": 5, "growth": 0.2})
    first = Inline(spec, tmp_path)
    first.record._stopping = stopping_of(first)
    first.run()
    n_run = first.record.counts.complete
    assert 5 < n_run < 60
    assert first.record.stopped.startswith("stop.stagnation")
    assert first.record.ask() is None


def stopping_of(inline: Inline) -> Stopping:
    """Return the rules with a reference point, which a record has from the driver."""
    usable = Representative(inline.spec, {"val_accuracy": 0.0, "dsp": 2000.0})
    return Stopping(inline.spec, usable, usable.reference)


def test_what_earlier_drivers_ran_counts(tmp_path: Path, make_spec: SpecMaker) -> None:
    from rfprune.study.record import Record
    from rfprune.study.study import lock, open_study
    from tests.study.conftest import LAYERS

    Inline(make_spec(trials=8), tmp_path).run()
    spec = make_spec(trials=50, stop={"stagnation": 6, "growth": 1.0})
    folder = SweepFolder(tmp_path / spec.name)
    with lock(folder):
        study = open_study(spec, folder, LAYERS)
        point = {"val_accuracy": 0.0, "dsp": 2000.0}
        record = Record(spec, folder, expand(spec, LAYERS), study, point)
        assert record.finished
        assert record.stopped.startswith("stop.stagnation")
        assert record.ended_here == 0


def test_what_approaches_its_end_goes_on_as_it_did() -> None:
    volumes = [3.0 - 1.0 / n for n in range(1, 65)]
    assert expected_gain(volumes, 64) == pytest.approx((3.0 - 1 / 128) / volumes[-1] - 1)
    assert expected_gain(volumes, 1000) == pytest.approx((3.0 - 1 / 1064) / volumes[-1] - 1)
    assert expected_gain([2.0] * 40, 100) == 0.0


def test_one_more_hour_in_words(make_spec: SpecMaker) -> None:
    rule = stopping(make_spec())
    for n in range(1, 41):
        rule.add(step(0.5 + 0.005 * n), 1.0)
    assert rule.outlook(3600.0, 9) == ""
    assert rule.outlook(1800.0, 40) == (
        "One more hour (about 80 trials) would probably raise the hypervolume by 9.5 %."
    )


@given(
    st.lists(
        st.lists(st.tuples(*[st.floats(0, 1.25, width=16)] * 3), max_size=4), min_size=1, max_size=8
    )
)
def test_a_growing_front_has_the_hypervolume_of_all_its_points(
    batches: list[list[tuple[float, float, float]]],
) -> None:
    reference = np.ones(3)
    front = GrowingFront(reference)
    seen: list[tuple[float, float, float]] = []
    for batch in batches:
        seen += batch
        grown = front.add(np.array(batch).reshape(-1, 3))
        assert grown == pytest.approx(hypervolume(np.array(seen).reshape(-1, 3), reference))


def test_with_little_time_left_only_quick_points_are_drawn(
    tmp_path: Path, make_spec: SpecMaker
) -> None:
    spec = make_spec(trials=60, stop={"hours": 1}, search={"prune.steps": {"low": 1, "high": 40}})
    driver = Inline(spec, tmp_path)
    clock = Clock()
    driver.record._stopping._clock = clock
    driver.record._stopping._began = 0.0
    ran: list[int] = []
    for _ in range(12):
        job = driver.ask()
        ran.append(job.spec.prune.steps)
        done = [{"step": 1.0, "val_accuracy": 0.5, "dsp": 9.0}]
        driver.record.finish(job.number, Ended(steps=done, seconds=10.0 * job.spec.prune.steps))
    assert max(ran) > 20
    clock.now = 3600.0 - 150.0
    late = [driver.ask() for _ in range(3)]
    # Twelve trials know a duration of 40 values: the nearest three may be off by some.
    assert all(job.spec.prune.steps < 22 for job in late)
    counts = count_trials(driver.study)
    assert counts.too_long == driver.record.counts.too_long > 0
    assert counts.failed == 0
    ended = [t.user_attrs for t in driver.study.trials if t.state.name == "FAIL"]
    reasons = [attrs["error"] for attrs in ended if attrs["reason"] == TOO_LONG]
    assert reasons[0].startswith("stop.hours: 150 s are left of 1 h, and trials like it took ")
    clock.now = 3600.0 - 5.0
    for job in late:
        driver.record.finish(job.number, Ended(steps=done, seconds=10.0 * job.spec.prune.steps))
    assert driver.record.ask() is None
    assert driver.record.stopped.startswith("stop.hours: 5 s are left of 1 h, and ")


def test_durations_are_those_of_the_trials_most_like_it() -> None:
    search = {
        "prune.method": {"choices": ["greedy", "knapsack"]},
        "prune.regularizer.weight": {"low": 1e-5, "high": 1e-1, "log": True},
    }
    spec = parse_spec(
        SweepSpec,
        {"name": "a", "model": {"name": "mlp"}, "data": {"name": "digits"}, "search": search},
        "a.yml",
    )
    known = Durations(expand(spec, {"fc1": (16, 8)}))
    point = {"prune.method": "greedy", "prune.regularizer.weight": 1e-3}
    for number in range(4):
        known.add(point, 10.0)
        assert known.expected(point) is None, number
    for _ in range(4):
        known.add({**point, "prune.method": "knapsack"}, 40.0)
    assert known.expected(point) == pytest.approx(10.0)
    assert known.expected({**point, "prune.method": "knapsack"}) == pytest.approx(40.0)
    assert known.expected({**point, "prune.regularizer.weight": 1e-2}) == pytest.approx(10.0)
