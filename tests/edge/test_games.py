"""The study of the agent's game and the drifting stream: what they compute, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.agent.rewards import interval, linear, rank_correlation
from benchmarks.agent.searches import (
    Counted,
    Enough,
    agent,
    random_search,
    regularized_evolution,
    run,
)
from benchmarks.drift import Seen, mixture, oracle
from tests.edge.test_task import task_of

Search = Callable[..., None]


def test_leaving_one_out_is_fitting_without_it() -> None:
    rng = np.random.default_rng(0)
    kept, truth = rng.random((9, 3)), rng.random(9)
    found = linear(kept, truth, ridge=0.0)
    for left in range(9):
        others = np.arange(9) != left
        x = np.column_stack([np.ones(9), kept])
        weights = np.linalg.lstsq(x[others], truth[others], rcond=None)[0]
        assert found[left] == pytest.approx(x[left] @ weights)


def test_correlations_and_their_intervals() -> None:
    values = np.arange(12.0)
    assert rank_correlation(values, values**3) == pytest.approx(1)
    assert rank_correlation(values, np.zeros(12)) == 0
    low, high = interval(values, values + np.tile([3.0, -3.0], 6), 0)
    assert -1 <= low < rank_correlation(values, values + np.tile([3.0, -3.0], 6)) < high <= 1


@pytest.mark.parametrize("search", [random_search, regularized_evolution, agent])
def test_searches_measure_as_many_networks_as_they_may(search: Search) -> None:
    task = task_of(0.4)
    known: dict[bytes, float] = {}
    counted = Counted(task, 12, known)
    run(search, counted, 3)
    assert len(counted.measured) == 12
    worth, key = counted.best
    keep = np.frombuffer(key, dtype=bool).copy()
    assert worth == max(counted.measured.values()) == task.worth(keep)
    again = Counted(task, 12, known)
    run(search, again, 3)
    assert list(again.measured) == list(counted.measured)


@pytest.mark.parametrize("highest", [False, True])
def test_evolution_reaches_every_level_of_every_layer(highest: bool) -> None:
    task = task_of(0.4)
    levels = [np.flatnonzero(row)[-1 if highest else 0] for row in task.allowed]
    asked: list[np.ndarray] = []

    def ask(choice: np.ndarray) -> float:
        if len(asked) == 600:
            raise Enough
        asked.append(choice)
        return float((choice == levels).sum())

    with pytest.raises(Enough):
        regularized_evolution(ask, task, 0)
    assert any((choice == levels).all() for choice in asked)
    assert all(task.allowed[np.arange(5), choice].all() for choice in asked)


def seen(condition: str, *right: float) -> Seen:
    return Seen(condition, np.zeros((1, 2)), np.array(right), np.array(right))


def test_the_best_mixture_has_the_energy_that_was_spent() -> None:
    energy = np.array([10.0, 6.0, 2.0])
    batches = [seen("a", 0.9, 0.6, 0.5), seen("a", 0.7, 0.4, 0.5)]
    # Of 0.8, 0.5, 0.5: the middle level is worse than a mixture of the other two.
    assert mixture(batches, energy, 6.0) == pytest.approx(0.65)
    assert mixture(batches, energy, 10.0) == pytest.approx(0.8)
    assert mixture(batches, energy, 2.0) == pytest.approx(0.5)


def test_the_oracle_takes_the_cheapest_that_is_good_enough() -> None:
    energy = np.array([10.0, 6.0, 2.0])
    batches = [seen("easy", 1.0, 0.96, 0.8), seen("hard", 0.8, 0.7, 0.5), seen("easy", 1, 1, 0.9)]
    assert oracle(batches, energy, 0.95) == [1, 0, 1]
    assert oracle(batches, energy, 0.84) == [2, 0, 2]
