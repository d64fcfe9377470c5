"""Every method keeps its budget and its floors; the baselines do what their names say."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.knapsack import solvers as solvers
from rfprune.errors import SolverError, UnknownNameError
from rfprune.methods import METHODS, Choice, Problem, check_choice, find_method
from rfprune.methods.baselines import greedy, hls4ml_greedy, magnitude, random, uniform
from rfprune.spec import AgentSpec

SELECTING = sorted(set(METHODS) - {"none", "widths", "ebops"})  # which keep all groups


def problem(seed: int, groups: int = 40, floor: int = 1, share: float = 0.4) -> Problem:
    """Three layers with their own cost vectors, and a budget on two resources."""
    rng = np.random.default_rng(seed)
    layer = np.sort(rng.integers(0, 3, groups)).astype(np.int64)
    vectors = rng.integers(1, 6, (3, 2)).astype(float)
    cost = vectors[layer]
    present = np.bincount(layer, minlength=3)
    return Problem(
        value=rng.random(groups) * (1 + layer),
        cost=cost,
        budget=share * cost.sum(axis=0),
        layer=layer,
        floor=np.minimum(floor, present).astype(np.int64),
        used=lambda keep: cost[keep].sum(axis=0),
        rng=np.random.default_rng(seed),
        agent=AgentSpec(episodes=4, warmup_episodes=2, hidden=[8]),
    )


@pytest.mark.parametrize("name", SELECTING)
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 2), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
def test_every_method_keeps_budgets_and_floors(
    name: str, seed: int, floor: int, share: float
) -> None:
    for package in find_method(name).needs:
        pytest.importorskip(package, reason=f"the extra 'edge' is not installed: no {package}")
    given_problem = problem(seed, floor=floor, share=share)
    if floor and np.any(
        sum(given_problem.cost[given_problem.layer == k][:floor].sum(axis=0) for k in range(3))
        > given_problem.budget
    ):
        return
    check_choice(given_problem, find_method(name).select(given_problem))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_the_knapsack_is_never_beaten(seed: int) -> None:
    small = problem(seed, groups=12, floor=0)
    best = max(
        (
            small.value[list(subset)].sum()
            for size in range(13)
            for subset in itertools.combinations(range(12), size)
            if np.all(small.cost[list(subset)].sum(axis=0) <= small.budget)
        ),
        default=0.0,
    )
    found = find_method("knapsack").select(small)
    assert small.value[found.keep].sum() == pytest.approx(best, rel=1e-9)
    for other in (greedy, hls4ml_greedy, uniform, random, magnitude):
        assert small.value[other(small).keep].sum() <= best * (1 + 1e-9)


@pytest.mark.parametrize(
    ("method", "kept"),
    [(greedy, [True, False, True, True]), (hls4ml_greedy, [True, False, False, False])],
    ids=["goes on", "ends"],
)
def test_greedy_after_a_misfit(method: Callable[[Problem], Choice], kept: list[bool]) -> None:
    cost = np.array([[4.0], [5.0], [1.0], [1.0]])
    case = Problem(
        value=np.array([20, 9.9, 0.9, 0.8]),
        cost=cost,
        budget=np.array([6.0]),
        layer=np.zeros(4, dtype=np.int64),
        floor=np.zeros(1, dtype=np.int64),
        used=lambda keep: cost[keep].sum(axis=0),
        rng=np.random.default_rng(0),
    )
    assert method(case).keep.tolist() == kept


@pytest.mark.parametrize("seed", range(20))
def test_hls4mls_greedy_keeps_what_hls4ml_keeps(seed: int) -> None:
    own = problem(seed, groups=60, floor=0)
    theirs = solvers.hls4ml_greedy(solvers.Instance(own.value, own.cost, own.budget), 1.0)
    assert theirs is not None
    np.testing.assert_array_equal(hls4ml_greedy(own).keep, theirs)


def test_uniform_keeps_the_same_fraction() -> None:
    layer = np.repeat([0, 1], [100, 50]).astype(np.int64)
    cost = np.ones((150, 1))
    rng = np.random.default_rng(0)
    value = rng.random(150)
    case = Problem(
        value=value,
        cost=cost,
        budget=np.array([45.0]),
        layer=layer,
        floor=np.zeros(2, dtype=np.int64),
        used=lambda keep: cost[keep].sum(axis=0),
        rng=rng,
    )
    keep = uniform(case).keep
    assert np.bincount(layer[keep]).tolist() == [30, 15]
    assert value[:100][keep[:100]].min() > value[:100][~keep[:100]].max()


def test_magnitude_counts_shared_multipliers() -> None:
    """Four weights share one multiplier, so a multiplier is free only without any of them."""
    rng = np.random.default_rng(0)
    value = rng.random(400)

    def used(keep: np.ndarray) -> np.ndarray:
        return np.array([float(keep.reshape(100, 4).any(axis=1).sum())])

    case = Problem(
        value=value,
        cost=np.ones((400, 1)),
        budget=np.array([30.0]),
        layer=np.zeros(400, dtype=np.int64),
        floor=np.zeros(1, dtype=np.int64),
        used=used,
        rng=rng,
    )
    keep = magnitude(case).keep
    assert used(keep)[0] <= 30
    assert value[keep].min() > value[~keep].max()
    more = keep.copy()
    more[np.argsort(-value)[keep.sum()]] = True
    assert used(more)[0] > 30


def test_random_is_seeded() -> None:
    assert (random(problem(3)).keep == random(problem(3)).keep).all()


def test_a_choice_over_budget_is_refused() -> None:
    case = problem(0)
    with pytest.raises(SolverError, match="budget"):
        check_choice(case, Choice(np.ones(40, dtype=bool)))


def test_a_choice_below_a_floor_is_refused() -> None:
    case = problem(0, floor=1)
    with pytest.raises(SolverError, match="layer 0 keeps 0 groups, its floor is 1"):
        check_choice(case, Choice(np.zeros(40, dtype=bool)))


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown method 'knapsak'\. Did you mean 'knapsack'"
    ):
        find_method("knapsak")
