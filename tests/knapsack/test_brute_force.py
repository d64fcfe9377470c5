"""Every selection of a small problem against `solve`: the optimum exactly, the bound above it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from rfprune.errors import BudgetError
from rfprune.knapsack import refine as refining
from rfprune.knapsack import solve

Floats = npt.NDArray[np.float64]
Problem = tuple[Floats, Floats, Floats]
Rng = np.random.Generator


def values(rng: Rng, groups: int) -> Floats:
    makers: list[Callable[[], Floats]] = [
        lambda: rng.random(groups),
        lambda: rng.integers(0, 5, groups).astype(float),
        lambda: np.full(groups, rng.random()),
        lambda: rng.lognormal(size=groups) * 10.0 ** rng.integers(-8, 9),
        lambda: rng.random(groups) * (rng.random(groups) < 0.3),
        lambda: 10.0 ** rng.uniform(-12, 12, groups),
    ]
    return makers[rng.integers(len(makers))]()


def costs(rng: Rng, groups: int, resources: int) -> Floats:
    shape = (groups, resources)
    kinds = int(rng.integers(1, 4))
    which = rng.integers(0, kinds, groups)
    makers: list[Callable[[], Floats]] = [
        lambda: rng.random(shape),
        lambda: rng.integers(0, 5, shape).astype(float),
        lambda: rng.integers(0, 40, (kinds, resources))[which].astype(float),
        lambda: rng.integers(0, 4, shape) * 0.1,
        lambda: rng.random(shape) * 10.0 ** rng.integers(-8, 9),
        lambda: rng.integers(0, 3, (kinds, resources))[which] * 0.3,
    ]
    return makers[rng.integers(len(makers))]()


def budgets(rng: Rng, cost: Floats) -> Floats:
    """Return budgets that bind, that are met to the last bit, that are 0, inf or ample."""
    groups, resources = cost.shape
    kind = rng.random()
    if kind < 0.2:
        return (cost * (rng.random(groups) < 0.5)[:, None]).sum(axis=0)
    if kind < 0.3:
        return cost.sum(axis=0)
    budget = cost.sum(axis=0) * rng.random(resources) * 1.2
    if kind < 0.5:
        budget = np.rint(budget)
    if kind < 0.6:
        budget[rng.integers(resources)] = rng.choice([0.0, np.inf])
    return budget


def problem(rng: Rng) -> Problem:
    groups, resources = int(rng.integers(0, 12)), int(rng.integers(1, 4))
    cost = costs(rng, groups, resources)
    return values(rng, groups), cost, budgets(rng, cost)


def fits(keep: npt.NDArray[np.bool_], cost: Floats, budget: Floats) -> bool:
    return bool(((cost * keep[:, None]).sum(axis=0) <= budget).all())


def best_of_all(
    value: Floats, cost: Floats, budget: Floats, allowed: Callable[..., object] = lambda keeps: True
) -> float | None:
    """Return the greatest value of any selection that `fits`, None if there is none."""
    groups = len(value)
    keeps = ((np.arange(2**groups)[:, None] >> np.arange(groups)) & 1).astype(bool)
    near = (keeps @ cost <= budget * (1 + 1e-12)).all(axis=1) & allowed(keeps)
    keeps = keeps[near]
    worth = keeps @ value
    for place in np.argsort(-worth):
        if fits(keeps[place], cost, budget):
            return float(worth[place])
    return None


@pytest.mark.parametrize("block", range(15))
def test_optimum_of_small_problems(block: int) -> None:
    for seed in range(100 * block, 100 * (block + 1)):
        value, cost, budget = problem(np.random.default_rng(seed))
        found = solve(value, cost, budget)
        best = best_of_all(value, cost, budget)
        assert best is not None
        assert fits(found.keep, cost, budget), seed
        assert found.objective == pytest.approx(best, rel=1e-12, abs=0), seed
        assert found.bound >= best, seed
        assert (found.status, found.gap) == ("optimal", 0.0), seed


def test_optimum_where_the_last_bit_of_a_sum_decides() -> None:
    # Sums of tenths depend on which of several groups of equal cost are added, and in which order.
    for seed in range(300):
        rng = np.random.default_rng(seed)
        cost = rng.integers(1, 4, (13, int(rng.integers(1, 3)))) * 0.1
        value = 10.0 ** rng.uniform(-6, 6, 13)
        budget = (cost * (rng.random(13) < 0.5)[:, None]).sum(axis=0)
        found = solve(value, cost, budget)
        assert fits(found.keep, cost, budget), seed
        best = best_of_all(value, cost, budget)
        assert found.objective == pytest.approx(best, rel=1e-12, abs=0), seed


def with_floors(rng: Rng, alike: bool) -> tuple[Problem, npt.NDArray[np.int64], Floats]:
    """Return a problem with a floor per layer; `alike`: all groups of a layer cost the same."""
    value, cost, budget = problem(rng)
    layers = int(rng.integers(1, 4))
    layer = rng.integers(0, layers, len(value))
    if alike:
        for label in range(layers):
            cost[layer == label] = cost[layer == label][:1]
        budget = cost.sum(axis=0) * rng.uniform(0.2, 1.1, cost.shape[1])
    counts = np.bincount(layer, minlength=layers)
    return (value, cost, budget), layer, np.array([rng.integers(0, n // 2 + 1) for n in counts])


@pytest.mark.parametrize("alike", [True, False])
def test_optimum_with_floors(alike: bool) -> None:
    refused = 0
    for seed in range(400):
        rng = np.random.default_rng(10_000 + seed)
        (value, cost, budget), layer, floor = with_floors(rng, alike)

        def met(
            keeps: npt.NDArray[np.bool_], layer: object = layer, floor: Floats = floor
        ) -> object:
            enough = [keeps[:, layer == label].sum(axis=1) >= n for label, n in enumerate(floor)]
            return np.all(enough, axis=0)

        best = best_of_all(value, cost, budget, met)
        if best is None:
            refused += 1
            with pytest.raises(BudgetError, match="floor"):
                solve(value, cost, budget, layer=layer, floor=floor)
            continue
        found = solve(value, cost, budget, layer=layer, floor=floor)
        assert fits(found.keep, cost, budget), seed
        assert met(found.keep[None]).all(), seed
        assert found.objective == pytest.approx(best, rel=1e-12, abs=0), seed
        assert found.bound >= best, seed
    assert 20 < refused < 200


def test_optimum_when_cbc_does_all_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining, "_ROUNDS", ())
    for seed in range(120):
        value, cost, budget = problem(np.random.default_rng(seed))
        found = solve(value, cost, budget)
        best = best_of_all(value, cost, budget)
        assert fits(found.keep, cost, budget), seed
        assert found.objective == pytest.approx(best, rel=1e-9, abs=0), seed


@pytest.mark.slow
def test_optimum_of_many_more_small_problems() -> None:
    for seed in range(20_000, 28_000):
        value, cost, budget = problem(np.random.default_rng(seed))
        found = solve(value, cost, budget)
        best = best_of_all(value, cost, budget)
        assert fits(found.keep, cost, budget), seed
        assert found.objective == pytest.approx(best, rel=1e-12, abs=0), seed
        assert found.bound >= best, seed
        assert found.status == "optimal", seed
