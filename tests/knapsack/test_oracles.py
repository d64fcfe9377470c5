"""`solve` against brute force and HiGHS: never over budget, never worse than the oracle says."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfprune.errors import BudgetError, InputError
from rfprune.knapsack import Selection, solve

RNG = np.random.default_rng


def instance(seed: int, groups: int, resources: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values, costs and budgets of one of several awkward kinds."""
    rng = RNG(seed)
    kind = rng.integers(0, 7)
    value = rng.random(groups)
    if kind == 1:
        value = rng.integers(0, 4, groups).astype(float)  # ties and zeros
    elif kind == 2:
        value *= 1e-8
    elif kind == 3:
        value = 10.0 ** rng.uniform(-6, 6, groups)
    classes = rng.integers(0, 6, (max(1, groups // 4), resources)).astype(float)
    cost = classes[rng.integers(0, len(classes), groups)]
    if kind == 4:
        cost = rng.random((groups, resources)) * 10  # every group has its own costs
    elif kind == 5:
        cost *= 0.37
    budget = cost.sum(axis=0) * rng.uniform(0, 1.1, resources)
    if kind == 6:
        budget[rng.integers(0, resources)] = rng.choice([0.0, np.inf])
    return value, cost, budget


def brute_force(value: np.ndarray, cost: np.ndarray, budget: np.ndarray) -> float:
    """Return the best value over all subsets."""
    subsets = np.array(list(itertools.product((0.0, 1.0), repeat=len(value))))
    fits = np.all(subsets @ cost <= budget * (1 + 1e-12) + 1e-12, axis=1)
    return float((subsets[fits] @ value).max())


def check(found: Selection, value: np.ndarray, cost: np.ndarray, budget: np.ndarray) -> None:
    """Every promise of a selection that needs no oracle."""
    assert found.keep.shape == value.shape
    assert found.keep.dtype == bool
    assert np.all(cost[found.keep].sum(axis=0) <= budget)
    assert found.objective == pytest.approx(value[found.keep].sum(), rel=1e-12, abs=1e-300)
    assert found.bound >= found.objective * (1 - 1e-12)
    assert found.prices.shape == budget.shape
    assert np.all(found.prices >= 0)
    tiny = np.finfo(float).tiny
    gap = (found.bound - found.objective) / max(found.bound, tiny)
    assert found.gap == pytest.approx(gap, abs=1e-12)


@settings(max_examples=1200)
@given(st.integers(0, 10**9), st.integers(1, 10), st.integers(1, 3))
def test_small_problems_are_solved_to_the_optimum(seed: int, groups: int, resources: int) -> None:
    value, cost, budget = instance(seed, groups, resources)
    found = solve(value, cost, budget)
    check(found, value, cost, budget)
    best = brute_force(value, cost, budget)
    assert found.objective == pytest.approx(best, rel=1e-9, abs=1e-15)
    assert found.bound >= best * (1 - 1e-9)


def highs(value: np.ndarray, cost: np.ndarray, budget: np.ndarray) -> float:
    """Return the optimum that HiGHS proves."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    scale = max(value.max(), 1e-300)
    limited = np.isfinite(budget)
    rows = LinearConstraint(cost[:, limited].T, ub=budget[limited])
    options = {"mip_rel_gap": 1e-9, "time_limit": 30.0}
    answer = milp(
        -value / scale, constraints=rows, integrality=1, bounds=Bounds(0, 1), options=options
    )
    assert answer.success, answer.message
    return float(-answer.fun * scale)


@settings(max_examples=200)
@given(st.integers(0, 10**9), st.integers(30, 150), st.integers(1, 3))
def test_middle_sized_problems_agree_with_highs(seed: int, groups: int, resources: int) -> None:
    rng = RNG(seed)
    vectors = rng.integers(1, 12, (int(rng.integers(1, 7)), resources)).astype(float)
    cost = vectors[rng.integers(0, len(vectors), groups)]
    value = rng.chisquare(4, groups)
    budget = np.floor(cost.sum(axis=0) * rng.uniform(0.1, 0.9, resources))
    found = solve(value, cost, budget)
    check(found, value, cost, budget)
    best = highs(value, cost, budget)
    assert found.bound >= best * (1 - 1e-7)
    assert found.objective >= best * (1 - 1e-6)


def unlike_layers(seed: int, resources: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return layers from many single weights to a few memory words of a hundred weights each.

    Not every layer needs every resource, as narrow weights need no DSP and constants no memory.
    """
    rng = RNG(seed)
    weights = 2.0 ** rng.integers(0, 8, int(rng.integers(3, 7)))
    layer = np.repeat(np.arange(len(weights)), np.ceil(256 / weights).astype(int) + 4)
    needed = rng.random((len(weights), resources)) < 0.7
    cost = np.ceil(weights[:, None] * 2 ** rng.uniform(-1, 1, needed.shape)) * needed
    cost[~needed.any(axis=1), 0] = 1.0
    value = weights[layer] * rng.lognormal(size=len(layer))
    return value, cost[layer], cost[layer].sum(axis=0) * rng.uniform(0.03, 0.5, resources)


@settings(max_examples=40)
@given(st.integers(0, 10**9), st.integers(2, 3))
def test_a_few_large_groups_beside_many_small_ones(seed: int, resources: int) -> None:
    value, cost, budget = unlike_layers(seed, resources)
    found = solve(value, cost, budget)
    check(found, value, cost, budget)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(highs(value, cost, budget), rel=1e-7)


@settings(max_examples=100)
@given(st.integers(0, 10**9))
def test_floors_are_kept_and_the_best_of_each_layer_stays(seed: int) -> None:
    rng = RNG(seed)
    layer = np.sort(rng.integers(0, 4, 40))
    vectors = rng.integers(1, 5, (4, 2)).astype(float)
    cost, value = vectors[layer], rng.random(40)
    floor = np.minimum(rng.integers(0, 4, 4), np.bincount(layer, minlength=4))
    need = sum(floor[k] * vectors[k] for k in range(4))
    budget = need + rng.uniform(0, 20, 2)
    found = solve(value, cost, budget, layer=layer, floor=floor)
    check(found, value, cost, budget)
    kept = np.bincount(layer[found.keep], minlength=4)
    assert np.all(kept >= floor)
    for k in range(4):
        members = value[layer == k]
        chosen = found.keep[layer == k]
        if chosen.any() and not chosen.all():
            assert members[chosen].min() >= members[~chosen].max() - 1e-12


def test_floors_that_do_not_fit_name_layer_and_resource() -> None:
    with pytest.raises(BudgetError, match=r"layer|floor"):
        solve([1.0, 1.0], [[3.0], [3.0]], [2.0], layer=[0, 0], floor=[1])


@pytest.mark.parametrize(
    "value",
    [
        np.ones(500),
        np.repeat([1.0, 2.0], 250),
        np.concatenate([np.zeros(450), np.ones(50)]),
        np.zeros(500),
        np.full(500, 1e-8),
        np.concatenate([[1e9], np.ones(499)]),
    ],
    ids=["equal", "two", "mostly zero", "zero", "tiny", "one giant"],
)
def test_plateaus(value: np.ndarray) -> None:
    rng = RNG(0)
    cost = rng.integers(1, 6, (5, 2)).astype(float)[np.repeat(np.arange(5), 100)]
    budget = np.floor(cost.sum(axis=0) * [0.5, 0.4])
    found = solve(value, cost, budget)
    check(found, value, cost, budget)
    assert found.gap <= 1e-5


def test_one_kind_of_group_is_a_sort() -> None:
    value = RNG(0).random(1000)
    found = solve(value, np.full((1000, 1), 3.0), [300.0])
    assert set(np.flatnonzero(found.keep)) == set(np.argsort(-value)[:100])
    assert found.gap == 0


@pytest.mark.parametrize(
    ("budget", "kept"), [([0.0], 0), ([1e9], 10), ([np.inf], 10), ([0.5], 0), ([1.0], 1)]
)
def test_edges_of_the_budget(budget: list[float], kept: int) -> None:
    found = solve(np.arange(1.0, 11.0), np.ones((10, 1)), budget)
    assert found.keep.sum() == kept


def test_what_costs_nothing_is_kept_and_what_is_worth_nothing_is_not_missed() -> None:
    found = solve([1.0, 0.0, 2.0], [[0.0], [1.0], [1.0]], [1.0])
    assert found.keep[0]
    assert found.keep[2]
    assert found.objective == 3.0


def test_no_groups() -> None:
    found = solve(np.zeros(0), np.zeros((0, 2)), [1.0, 2.0])
    assert (found.keep.shape, found.objective, found.gap) == ((0,), 0.0, 0.0)


def test_a_larger_budget_is_never_worse() -> None:
    rng = RNG(3)
    cost = rng.integers(1, 9, (6, 2)).astype(float)[rng.integers(0, 6, 300)]
    value = rng.random(300)
    objectives = [
        solve(value, cost, cost.sum(axis=0) * share).objective for share in np.linspace(0.1, 1, 10)
    ]
    assert objectives == sorted(objectives)


def test_equal_input_gives_equal_output() -> None:
    value, cost, budget = instance(11, 300, 2)
    assert np.array_equal(solve(value, cost, budget).keep, solve(value, cost, budget).keep)


def test_known_defects_of_others() -> None:
    """Greedy that stops at the first misfit, and items that are larger than the budget."""
    found = solve([10, 9.9, 1, 0.9], [[4.0], [5.0], [1.0], [1.0]], [6.0])
    assert found.objective == pytest.approx(11.9)
    assert not solve([100.0, 1.0, 1.0], [[50.0], [1.0], [2.0]], [3.0]).keep[0]
    floats = RNG(0).random(30)
    assert solve(floats, np.ones((30, 1)), [15.0]).objective == pytest.approx(
        np.sort(floats)[-15:].sum(), rel=1e-12
    )


@pytest.mark.parametrize(
    ("value", "cost", "budget"),
    [
        ([np.nan, 1.0], [[1.0], [1.0]], [1.0]),
        ([-1.0, 1.0], [[1.0], [1.0]], [1.0]),
        ([1.0, 1.0], [[-1.0], [1.0]], [1.0]),
        ([1.0, 1.0], [[np.inf], [1.0]], [1.0]),
        ([1.0, 1.0], [[1.0], [1.0]], [-1.0]),
        ([1.0, 1.0], [[1.0], [1.0]], [np.nan]),
        ([1.0, 1.0], [[1.0]], [1.0]),
        ([1.0, 1.0], [[1.0], [1.0]], [1.0, 2.0]),
        ([[1.0, 1.0]], [[1.0], [1.0]], [1.0]),
    ],
)
def test_wrong_input_is_a_sentence(value: object, cost: object, budget: object) -> None:
    with pytest.raises(InputError):
        solve(value, cost, budget)


@pytest.mark.slow
@pytest.mark.parametrize(("resources", "vectors"), [(2, 12), (4, 12), (4, 60)])
def test_a_million_groups(resources: int, vectors: int) -> None:
    rng = RNG(0)
    kinds = rng.integers(0, 40, (vectors, resources)).astype(float)
    cost = kinds[np.sort(rng.integers(0, vectors, 10**6))]
    value = rng.chisquare(4, 10**6)
    budget = np.floor(cost.sum(axis=0) * np.linspace(0.5, 0.4, resources))
    found = solve(value, cost, budget)
    check(found, value, cost, budget)
    assert found.gap <= 1e-6
