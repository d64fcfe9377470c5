"""Points by known costs and curves: what is proposed, on a known problem and on real trials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_quality.lookup import HERE, read_lookup, read_task
from benchmarks.search_quality.pricing import Case, Prices, run_case
from rfprune.core.arrays import FloatArray
from rfprune.data import load
from rfprune.spec import SweepSpec
from rfprune.study.curves import Curves
from rfprune.study.expand import expand
from rfprune.study.gaussian import GaussianProcess
from rfprune.study.known_costs import KnownCosts
from rfprune.study.parameters import Listed, Numbers, Scalar
from rfprune.study.representative import Metrics, Representative
from rfprune.study.sampler import choose_sampler
from rfprune.study.space import Space
from rfprune.tasks import make_task
from rfprune.trial import prepare
from rfprune.trial.dense import new_model

from .conftest import LAYERS, Inline, SpecMaker

WALK = {"dsp": {"low": 0.1, "high": 0.5}}
REFERENCE = {"val_accuracy": 0.0, "dsp": 1100.0}
Values = dict[str, Scalar]


class Products:
    """A problem that is known: networks of 1,000 multipliers, shared by the reuse factor ``a``."""

    def key(self, values: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
        """Return the reuse factor."""
        return (("a", values["a"]),)

    def of(self, values: Mapping[str, Scalar]) -> dict[str, float | None]:
        """Return what is left of 1,000 multipliers."""
        return {"dsp": 1000 / float(values["a"])}


def steps_at(values: Values) -> list[Metrics]:
    """Return the curve of a trial: best at b = 0.7, and worse with fewer multipliers."""
    score = 0.9 - (float(values["b"]) - 0.7) ** 2
    return [
        {"step": k, "val_accuracy": score - 0.02 * k, "dsp": 1000 / float(values["a"]) * 0.5**k}
        for k in range(4)
    ]


@pytest.fixture
def spec(make_spec: SpecMaker) -> SweepSpec:
    return make_spec(prune={"steps": 3, "budget": WALK}, sampler={"name": "auto"}, trials=30)


@pytest.fixture
def space() -> Space:
    return Space((Listed("a", (1, 2, 4, 8, 16), ordered=True), Numbers("b", 0.0, 1.0)), {})


def run(spec: SweepSpec, space: Space, n: int, seed: int) -> list[Values]:
    """Return the first `n` points of a search."""
    representative = Representative(spec, REFERENCE)
    curves = Curves(spec, space, Products(), representative)
    points: list[Values] = []
    for number in range(n):
        taken = {tuple(sorted(point.items())) for point in points}
        point = curves.propose(taken, (), seed + number)
        assert point is not None
        points.append(point)
        representative.add(steps_at(point))
        curves.add(number, point, steps_at(point))
    return points


def test_the_first_point_is_the_cheapest_with_all_else_in_the_middle(
    spec: SweepSpec, space: Space
) -> None:
    assert run(spec, space, 1, 0) == [{"a": 16, "b": 0.5}]


@pytest.mark.parametrize("seed", [0, 100])
def test_what_decides_the_score_is_found(spec: SweepSpec, space: Space, seed: int) -> None:
    points = run(spec, space, 10, seed)
    # By chance one point in ten comes as close.
    assert min(abs(float(point["b"]) - 0.7) for point in points[5:]) < 0.05
    # Other reuse factors cost more and score no better.
    assert sum(point["a"] == 16 for point in points) >= 5
    assert run(spec, space, 10, seed) == points


def test_what_runs_and_what_is_taken_is_not_proposed_again(spec: SweepSpec) -> None:
    values = (Listed("a", (1, 2, 4), ordered=True), Listed("b", (0.2, 0.7), ordered=True))
    every = {tuple(sorted(point.items())) for point in Space(values, {}).points()}
    points = run(spec, Space(values, {}), 6, 0)
    assert {tuple(sorted(point.items())) for point in points} == every
    curves = Curves(spec, Space(values, {}), Products(), Representative(spec, REFERENCE))
    assert curves.propose(every, (), 0) is None


def test_hardware_whose_budgets_are_out_of_reach_is_left(spec: SweepSpec, space: Space) -> None:
    curves = Curves(spec, space, Products(), Representative(spec, REFERENCE))
    curves.refuse({"a": 16, "b": 0.2})
    assert curves.propose((), (), 0) == {"a": 8, "b": 0.5}


def test_steps_that_break_a_constraint_promise_nothing(make_spec: SpecMaker, space: Space) -> None:
    bound = {"prune": {"steps": 3, "budget": WALK}, "constraints": ["dsp >= 100"]}
    points = run(make_spec(**bound), space, 8, 0)
    # Of 16 no step keeps 100 multipliers.
    assert all(point["a"] != 16 for point in points[2:])


@pytest.mark.parametrize("whole", [True, False])
def test_points_whose_steps_are_rejected_promise_less(
    spec: SweepSpec, space: Space, whole: bool
) -> None:
    representative = Representative(spec, REFERENCE)
    curves = Curves(spec, space, Products(), representative)
    for number in range(8):
        # A reuse factor of 16 costs half as much, so that there is something to gain.
        values: Values = {"a": 8, "b": number / 8}
        steps = [{**step, "val_accuracy": 0.9} for step in steps_at({**values, "b": 0.7})]
        # Where b is large, the dense network alone is accepted.
        steps = steps[: 4 if number < 4 else 1]
        representative.add(steps)
        curves.add(number, values, steps, whole)
    points = [curves.propose((), (), seed) for seed in range(6)]
    large = sum(float(point["b"]) > 0.5 for point in points if point is not None)
    # Of trials that others have ended nothing is known beyond their last step.
    assert large == 0 if whole else large > 0


def test_a_search_is_ahead_of_random_walks_on_real_trials() -> None:
    tables = {name: read_lookup(name) for name in ("digits", "digits_walk")}
    prices = Prices("digits", tables, dict.fromkeys(tables, 0.1))
    ours, random = (
        run_case(prices, Case("", True, sampler), 0, 11).volumes for sampler in ("auto", "random")
    )
    # The front of 200 searched trials lies at 0.998.
    assert ours[-1] > 0.998 > random[-1]


def test_costs_are_those_of_the_prepared_trial() -> None:
    spec, space = read_task("digits_walk")
    costs = KnownCosts(spec, space, HERE)
    data = load(spec.data, HERE, make_task(spec.task, HERE))
    points = list(space.points())[::23]
    for values in points:
        trial = space.resolve(spec, values)
        deployment = prepare(trial, HERE, data).deployment
        assert costs.of(values) == deployment.dense_quantities(new_model(trial, data, HERE))
    weights = [{**points[0], "prune.regularizer.weight": weight} for weight in (1e-5, 1e-3)]
    assert costs.key(weights[0]) == costs.key(weights[1])
    assert len({costs.key(values) for values in points}) > 1


def test_without_known_costs_tpe_takes_its_place(spec: SweepSpec, tmp_path: Path) -> None:
    assert choose_sampler(spec, expand(spec, LAYERS)).name == "curves"
    record = Inline(spec, tmp_path).record
    assert record.choice.name == "tpe"
    assert "no costs" in record.choice.reason


def test_budgets_that_are_searched_leave_the_choice_as_it_was(make_spec: SpecMaker) -> None:
    spec = make_spec(sampler={"name": "auto"}, trials=6)
    assert choose_sampler(spec, expand(spec, LAYERS)).name == "tpe"


def test_a_process_interpolates_and_knows_where_it_does_not_know() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((40, 2))
    process = GaussianProcess(2)

    def surface(x: FloatArray) -> FloatArray:
        return np.asarray(np.sin(3 * x[:, 0]) + 0.2 * x[:, 1])

    for _ in range(5):
        process.fit(points, surface(points))
    inside = 0.1 + 0.8 * rng.random((50, 2))
    mean, deviation = process.predict(inside)
    assert np.abs(mean - surface(inside)).max() < 0.05
    far = process.predict(np.array([[3.0, 3.0]]))[1]
    assert far[0] > 5 * deviation.mean()


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (Listed("x", (2, 4, 8), ordered=True), {2, 4, 8}),
        (Numbers("x", 1, 4), {1, 2, 3, 4}),
        (Numbers("x", 0.1, 0.4, step=0.1), {0.1, 0.2, 0.3, 0.4}),
    ],
)
def test_places_reach_every_value(parameter: Listed | Numbers, expected: set[Scalar]) -> None:
    assert {parameter.at(place) for place in np.linspace(0, 0.999, 50)} == expected


def test_places_of_a_log_range_are_ratios() -> None:
    assert Numbers("x", 1e-4, 1e-2, log=True).at(0.5) == pytest.approx(1e-3)
