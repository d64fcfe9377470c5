"""Bounds and prices: valid whatever the effort, tight where they should be."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from rfprune.knapsack import meet_in_the_middle as searching
from rfprune.knapsack import refine as refining
from rfprune.knapsack import solve
from rfprune.knapsack.instance import read
from rfprune.knapsack.prices import minimise
from rfprune.knapsack.reduction import Need, equal_columns, reduce

Floats = npt.NDArray[np.float64]


def problem(seed: int, groups: int, resources: int, kinds: int) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, 40, (kinds, resources))[np.sort(rng.integers(0, kinds, groups))]
    value = rng.lognormal(size=groups) if seed % 2 else rng.integers(1, 9, groups).astype(float)
    return value, cost.astype(float), np.floor(cost.sum(axis=0) * rng.uniform(0.2, 0.6, resources))


def relaxation(value: Floats, cost: Floats, budget: Floats) -> float:
    """Return the optimum of the linear relaxation, from HiGHS."""
    answer = linprog(-value, A_ub=cost.T, b_ub=budget, bounds=(0, 1), method="highs")
    assert answer.success
    return -float(answer.fun)


def optimum(value: Floats, cost: Floats, budget: Floats) -> float:
    """Return the optimum that HiGHS proves."""
    answer = milp(
        -value,
        constraints=LinearConstraint(cost.T, ub=budget),
        integrality=1,
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-9},
    )
    assert answer.success
    return -float(answer.fun)


def lagrangian(prices: Floats, value: Floats, cost: Floats, budget: Floats) -> float:
    return float(prices @ budget + np.maximum(value - cost @ prices, 0).sum())


@pytest.mark.parametrize("seed", range(40))
def test_prices_attain_the_linear_relaxation(seed: int) -> None:
    value, cost, budget = problem(seed, 60, 1 + seed % 4, 1 + seed % 30)
    found = solve(value, cost, budget)
    bound = lagrangian(found.prices, value, cost, budget)
    assert bound == pytest.approx(relaxation(value, cost, budget), rel=1e-9)
    assert bound >= found.objective * (1 - 1e-12)


def test_prices_from_a_sample_attain_the_minimum_over_all_groups() -> None:
    value, cost, budget = problem(1, 50_000, 3, 8)
    instance = read(value, cost, budget)
    pool, _ = reduce(instance, np.zeros(instance.size, dtype=bool), ())
    prices = minimise(pool)
    mixture = prices.shares(pool.value, pool.cost) * pool.count
    assert pool.size > 2 * 16384
    assert (pool.cost @ mixture <= pool.room * (1 + 1e-9)).all()
    assert float(pool.value @ mixture) == pytest.approx(prices.bound, rel=1e-9)


def test_the_relaxation_of_a_floor_that_cannot_be_met_is_negative() -> None:
    # Each budget by itself holds one group of the layer, both together hold none.
    value, cost = np.ones(4), np.array([[1.0, 3.0], [3.0, 1.0], [1.0, 3.0], [3.0, 1.0]])
    instance = read(value, cost, [3.0, 3.0])
    need = Need(np.arange(4), 3)
    pool, _ = reduce(instance, np.zeros(4, dtype=bool), (need,))
    assert minimise(pool).bound < 0


@pytest.mark.parametrize("seed", range(100))
def test_a_bound_is_valid_whatever_the_effort(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    value, cost, budget = problem(seed, 40, 1 + seed % 3, 2 + seed % 38)
    best = optimum(value, cost, budget)
    for rounds, choices in (((3,), 1 << 19), ((3, 6, 12), 1 << 19), ((5, 10, 20, 40), 30)):
        monkeypatch.setattr(refining, "_ROUNDS", rounds)
        monkeypatch.setattr(searching, "_MOST_CHOICES", choices)
        found = solve(value, cost, budget, max_nodes=0)
        assert found.objective <= best * (1 + 1e-9) <= found.bound * (1 + 2e-9)
        assert ((cost * found.keep[:, None]).sum(axis=0) <= budget).all()
        if found.status == "optimal":
            assert found.objective == pytest.approx(best, rel=1e-9)


def test_a_gap_that_is_asked_for_is_met_and_one_that_is_not_is_closed() -> None:
    value, cost, budget = problem(3, 400, 3, 100)
    rough = solve(value, cost, budget, max_gap=1e-2)
    exact = solve(value, cost, budget)
    assert rough.gap <= 1e-2
    assert exact.status == "optimal"
    assert rough.objective <= exact.objective <= rough.bound
    assert rough.gap == (rough.bound - rough.objective) / rough.bound


def test_prices_fall_and_values_rise_with_the_budget() -> None:
    value, cost, _ = problem(5, 300, 1, 12)
    shares = np.linspace(0.05, 0.95, 19)
    found = [solve(value, cost, cost.sum(axis=0) * share) for share in shares]
    prices = [float(each.prices[0]) for each in found]
    objectives = [each.objective for each in found]
    assert prices == sorted(prices, reverse=True)
    assert objectives == sorted(objectives)
    assert prices[0] > prices[-1] > 0


def test_price_of_a_resource_of_which_there_is_nothing() -> None:
    # One unit of the second resource would bring 6 - 1 * 2, at the price 2 of the first.
    found = solve([2.0, 2.0, 6.0], [[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]], [1.0, 0.0])
    assert found.prices == pytest.approx([2.0, 4.0])


def test_price_of_a_resource_that_does_not_run_out_is_zero() -> None:
    found = solve([3.0, 2.0, 1.0], [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], [1.0, np.inf])
    assert found.prices[1] == 0
    assert 2 <= found.prices[0] <= 3


@pytest.mark.parametrize(
    ("value", "step"),
    [
        ([6.0, 4.0, 10.0, 8.0], 2.0),
        ([0.37 * 3, 0.37, 0.37 * 7, 0.37 * 2], 0.37),
        ([0.5, 0.75, 1.25, 1.0], 0.0),
        ([0.1, 0.25, 1.0, 3.0], 0.0),
    ],
)
def test_step_of_values(value: list[float], step: float) -> None:
    instance = read(value, [3.0, 2.0, 5.0, 4.0], 8.0)
    pool, _ = reduce(instance, np.zeros(4, dtype=bool), ())
    assert pool.step * pool.value_unit == pytest.approx(step, rel=1e-15)


def test_equal_columns_are_neighbours_in_their_old_order() -> None:
    columns = np.random.default_rng(0).integers(0, 3, (2, 200)).astype(float)
    order, start = equal_columns(columns)
    assert len(start) == len(np.unique(columns, axis=1).T)
    for first, last in zip(start, np.append(start[1:], 200), strict=True):
        run = order[first:last]
        assert (columns[:, run] == columns[:, run[:1]]).all()
        assert (np.diff(run) > 0).all()
    assert sorted(order) == list(range(200))


def test_pulp_is_loaded_only_for_a_residual_core() -> None:
    code = (
        "import sys, numpy as np; from rfprune.knapsack import solve;"
        "rng = np.random.default_rng(0); cost = rng.integers(1, 9, (6, 2))[np.arange(3000) % 6];"
        "s = solve(rng.random(3000), cost, cost.sum(0) * 0.4);"
        "assert s.gap <= 1e-6 and 'pulp' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
