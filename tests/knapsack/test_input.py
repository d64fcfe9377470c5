"""What is refused, with which words; what is accepted in other shapes; what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rfprune.errors import BudgetError, DataError, SolverError
from rfprune.knapsack import refine as refining
from rfprune.knapsack import solve

COST = [[1.0, 1.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, -2], COST, [1, 1]), r"value\[1\] is -2\.0; allowed are finite numbers >= 0"),
        (([1, np.inf], COST, [1, 1]), r"value\[1\] is inf"),
        (([1, 2], [[1, np.nan], [np.nan, 2]], [1, 1]), r"cost\[0, 1\] is nan \(2 such entries\)"),
        (([1, 2], [[1, 1], [-1, 2]], [1, 1]), r"cost\[1, 0\] is -1\.0"),
        (([1e308] * 3, [1, 1, 1], 1), r"value\[0\] is 1e\+308; with 3 groups allowed are"),
        (([[1, 2]], COST, [1, 1]), r"value has shape \(1, 2\); allowed is \(G,\)"),
        (([1, 2], COST, [1]), r"cost has shape \(2, 2\) and budget \(1,\); with 2 groups"),
        (([1, 2, 3], [1, 2], 2), r"cost has shape \(2,\)"),
        ((["much"], [1], 2), r"value is not an array of numbers"),
    ],
)
def test_wrong_arrays(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        solve(*arguments)


@pytest.mark.parametrize(("budget", "text"), [([1, -1], "-1.0"), ([1, np.nan], "nan")])
def test_wrong_budgets(budget: list[float], text: str) -> None:
    with pytest.raises(BudgetError, match=rf"budget\[1\] is {text}; allowed are numbers >= 0"):
        solve([1, 2], COST, budget)


@pytest.mark.parametrize(
    ("floors", "message"),
    [
        ({"layer": [0, 0]}, "floor is missing"),
        ({"floor": [1]}, "layer is missing"),
        ({"layer": [0], "floor": [1]}, r"layer has shape \(1,\); allowed is \(2,\)"),
        ({"layer": [0, 1], "floor": [1]}, r"layer\[1\] is 1; allowed are 0 to 0"),
        ({"layer": [0, 0.5], "floor": [1]}, r"layer\[1\] is 0\.5; allowed are integers"),
        ({"layer": [0, 0], "floor": [-1]}, r"floor\[0\] is -1\.0; allowed are integers"),
        ({"layer": [0, 0], "floor": [[1]]}, r"floor has shape \(1, 1\)"),
        ({"max_gap": 1.5}, r"max_gap is 1\.5"),
        ({"max_nodes": -1}, r"max_nodes is -1"),
    ],
)
def test_wrong_options(floors: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        solve([1, 2], COST, [1, 1], **floors)


def test_floors_that_exceed_layer_or_budget_name_both() -> None:
    with pytest.raises(BudgetError, match=r"floor of layer 1 is 3, but the layer has 1 groups"):
        solve([1, 2], COST, [9, 9], layer=[0, 1], floor=[0, 3])
    with pytest.raises(BudgetError) as error:
        solve([1, 2], COST, [9, 2], layer=[0, 1], floor=[1, 1])
    text = str(error.value)
    assert "hold 3 of resource 1, its budget is 2" in text
    assert "layer 1, 2 for its floor of 1 groups" in text


def test_floors_that_no_selection_meets_though_each_budget_allows_it() -> None:
    with pytest.raises(BudgetError, match="within all budgets at once"):
        solve([1, 1], [[1, 3], [3, 1]], [2, 2], layer=[0, 0], floor=[1])


def test_floors_that_stay_open_are_not_called_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    # 12 of 24 groups, under budgets that few of the 2.7 million choices meet.
    rng = np.random.default_rng(10)
    cost = rng.integers(1, 1000, (24, 3)).astype(float)
    held = (cost[rng.permutation(24)[:12]].sum(axis=0) for _ in range(4000))
    budget = min(held, key=max)
    floors = {"layer": np.zeros(24), "floor": [12]}
    found = solve(np.ones(24), cost, budget, **floors)
    assert found.keep.sum() >= 12
    assert (cost[found.keep].sum(axis=0) <= budget).all()
    monkeypatch.setattr(refining, "_ROUNDS", ())
    with pytest.raises(SolverError, match="no proof that there is none"):
        solve(np.ones(24), cost, budget, max_nodes=0, **floors)


def test_one_resource_may_come_without_its_axis() -> None:
    flat = solve([3, 1, 2], [1, 1, 1], 2)
    square = solve([3, 1, 2], [[1], [1], [1]], [2])
    assert flat.keep.tolist() == square.keep.tolist() == [True, False, True]


def test_no_groups_and_no_resources() -> None:
    assert solve([], [], [1, 2]).keep.shape == (0,)
    nothing_counts = solve([1.0, 0.0], np.zeros((2, 0)), [])
    assert nothing_counts.keep.tolist() == [True, False]
    assert nothing_counts.prices.shape == (0,)


def test_input_is_not_changed() -> None:
    arrays = [np.array([3.0, 1.0, 2.0]), np.ones((3, 2)), np.array([2.0, np.inf])]
    copies = [array.copy() for array in arrays]
    solve(*arrays)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))


@pytest.mark.parametrize("value", [[1e300, 1e-300], [5e-324, 1.0], [1e-310, 2e-310]])
def test_tiny_beside_huge_values_warn_of_nothing(value: list[float]) -> None:
    with np.errstate(all="raise", under="ignore"):
        assert solve(value, [1, 1], 1).keep.tolist() == [value[0] > value[1], value[1] > value[0]]


def test_integer_values_have_a_bound_to_the_unit() -> None:
    rng = np.random.default_rng(2)
    value, cost = rng.integers(1, 100, 200), rng.integers(1, 50, (200, 2))
    found = solve(value, cost, cost.sum(axis=0) // 3)
    assert found.bound == found.objective == value[found.keep].sum()


def test_among_equals_the_first_are_kept() -> None:
    found = solve(np.ones(50), np.ones((50, 1)), [20])
    assert found.keep.tolist() == [True] * 20 + [False] * 30


def test_the_order_of_groups_does_not_change_what_is_kept() -> None:
    rng = np.random.default_rng(4)
    value, cost = rng.random(300), rng.integers(1, 9, (7, 2))[np.arange(300) % 7]
    budget, order = cost.sum(axis=0) * 0.4, rng.permutation(300)
    assert np.array_equal(
        solve(value, cost, budget).keep[order], solve(value[order], cost[order], budget).keep
    )


def test_units_do_not_change_what_is_kept() -> None:
    rng = np.random.default_rng(5)
    value, cost = rng.random(60), rng.integers(1, 60, (60, 3)).astype(float)
    budget = np.floor(cost.sum(axis=0) * 0.3)
    keep = solve(value, cost, budget).keep
    for scale in (2.0**-60, 2.0**80):
        assert np.array_equal(solve(value * scale, cost, budget).keep, keep)
    units = np.array([2.0**-30, 1.0, 2.0**20])
    assert np.array_equal(solve(value, cost * units, budget * units).keep, keep)


def test_what_a_selection_says_of_itself() -> None:
    exact = solve([5.0, 4.0, 3.0], [2, 2, 2], 3)
    assert repr(exact) == "Selection(keeps 1 of 3 groups, objective 5, optimal, prices [2])"
    assert exact.bound == exact.objective == 5
    rng = np.random.default_rng(0)
    rough = solve(rng.random(500), rng.random((500, 2)), [40, 60], max_gap=0.1)
    assert rough.status == "gap"
    assert f"gap {rough.gap:.1e}" in repr(rough)
