"""Menus between neurons, beside every choice of neurons and entries that there is."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rfprune.errors import DataError
from rfprune.knapsack import solve_menu


def network(seed: int, neurons: int = 3, resources: int = 1) -> dict[str, Any]:
    """Return weights from two inputs to hidden neurons, and from these to two outputs."""
    rng = np.random.default_rng(seed)
    reads = [-1] * (2 * neurons) + [n for n in range(neurons) for _ in range(2)]
    writes = [n for n in range(neurons) for _ in range(2)] + [-1] * (2 * neurons)
    groups, entries = len(reads), 2 + seed % 2
    value = np.sort(rng.integers(0, 30, size=(groups, entries)), axis=1).astype(float)
    cost = np.cumsum(rng.integers(1, 6, size=(groups, entries, resources)), axis=1).astype(float)
    cost[:, 0] = 0
    total = cost[:, -1].sum(axis=0)
    return {
        "value": value.ravel(),
        "cost": cost.reshape(-1, resources),
        "budget": np.floor(total * rng.uniform(0.1, 0.6)),
        "start": np.arange(groups + 1) * entries,
        "reads": np.array(reads),
        "writes": np.array(writes),
    }


def best_of_all(problem: dict[str, Any]) -> float:
    """Return the optimum over all removals, by every choice of entries of what is left."""
    start, reads, writes = problem["start"], problem["reads"], problem["writes"]
    entries = start[1]
    value = problem["value"].reshape(-1, entries)
    cost = problem["cost"].reshape(len(value), entries, -1)
    best = -np.inf
    for there in itertools.product([False, True], repeat=int(reads.max()) + 1):
        padded = np.array([*there, True])
        # Worth and holdings of sets of groups, one group after the other.
        worth, held = np.zeros(1), np.zeros((1, cost.shape[2]))
        for group in range(len(value)):
            if not padded[writes[group]]:
                each, costs = value[group].max(keepdims=True), cost[group, :1] * 0
            elif not padded[reads[group]]:
                each, costs = value[group, :1], cost[group, :1]
            else:
                each, costs = value[group], cost[group]
            worth = (worth[:, None] + each).ravel()
            held = (held[:, None] + costs[None]).reshape(-1, cost.shape[2])
            fits = (held <= problem["budget"]).all(axis=1)
            worth, held = worth[fits], held[fits]
            # What holds no less and is worth no more is never better.
            order = np.lexsort((*held.T, -worth))
            worth, held = worth[order], held[order]
            _, first = np.unique(held, axis=0, return_index=True)
            worth, held = worth[first], held[first]
        best = max(best, float(worth.max()))
    return best


@pytest.mark.parametrize("resources", [1, 2])
def test_bound_and_choice_enclose_the_best_of_all_choices(resources: int) -> None:
    optimal = 0
    for seed in range(15):
        problem = network(seed, resources=resources)
        best, found = best_of_all(problem), solve_menu(**problem)
        assert found.bound >= best - 1e-9
        assert found.objective <= best + 1e-9
        assert found.removed is not None
        assert (problem["cost"][found.choice].sum(axis=0) <= problem["budget"]).all()
        optimal += found.objective >= best - 1e-9
        assert found.objective == pytest.approx(worth(problem, found.choice, found.removed))
    assert optimal == 15


def worth(problem: dict[str, Any], choice: np.ndarray, removed: np.ndarray) -> float:
    """Return what a choice is worth, and check what removed neurons say of it."""
    gone = np.append(removed, False)
    total = 0.0
    for group, entry in enumerate(choice):
        first, last = problem["start"][group : group + 2]
        if gone[problem["writes"][group]]:
            assert not problem["cost"][entry].any()
            total += problem["value"][first:last].max()
        else:
            if gone[problem["reads"][group]]:
                assert not problem["cost"][entry].any()
            total += problem["value"][entry]
    return float(total)


def test_a_neuron_frees_what_feeds_it() -> None:
    # One neuron: four weights that cost everything there is, and one of little worth that reads it.
    value = [0, 10] * 4 + [0, 1] + [0, 30]
    cost = [0, 5] * 4 + [0, 5] + [0, 20]
    reads, writes = [-1] * 4 + [0, -1], [0] * 4 + [-1, -1]
    start = np.arange(7) * 2
    plain = solve_menu(value, cost, 20, start)
    assert plain.objective == 40
    found = solve_menu(value, cost, 20, start, reads=reads, writes=writes)
    # Without it nothing of its four is lost, and the other weight has room.
    assert found.removed is not None
    assert found.removed.tolist() == [True]
    assert found.objective == 4 * 10 + 0 + 30
    assert found.gap == 0
    assert found.choice.tolist() == [0, 2, 4, 6, 8, 11]


def test_layers_of_neurons_have_a_bound_near_their_choice() -> None:
    rng = np.random.default_rng(1)
    sizes, first = (8, 12, 10, 4), 0
    reads, writes = [], []
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        for i, o in itertools.product(range(n_in), range(n_out)):
            reads.append(-1 if layer == 0 else first + i)
            writes.append(-1 if layer == 2 else first + (n_in if layer else 0) + o)
        first += n_in if layer else 0
    groups = len(reads)
    value = np.cumsum(rng.exponential(size=(groups, 4)) * [0, 1, 0.3, 0.1], axis=1)
    cost = np.tile(np.arange(4.0) * 7, (groups, 1))
    start = np.arange(groups + 1) * 4
    args = (value.ravel(), cost.ravel(), 0.15 * cost[:, -1].sum(), start)
    found = solve_menu(*args, reads=reads, writes=writes, max_gap=0.05)
    assert found.gap <= 0.05
    assert found.objective >= solve_menu(*args).objective
    # Equal input, equal output.
    again = solve_menu(*args, reads=reads, writes=writes, max_gap=0.05)
    assert again.choice.tolist() == found.choice.tolist()
    assert again.bound == found.bound


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reads": [0, 0]}, r"reads has shape \(2,\)"),
        ({"reads": [-2] * 12}, "values from -2"),
        ({"cost": np.ones((24, 1))}, "group 0 reads or writes .* holds something"),
        ({"layer": [0] * 12, "floor": [1]}, "floor and reads or writes are both given"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], message: str) -> None:
    problem = {**network(0), **changes}
    with pytest.raises(DataError, match=message):
        solve_menu(**problem)
