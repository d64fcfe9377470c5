"""Values and widths under several budgets, beside every choice that there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rfprune.errors import BudgetError
from rfprune.methods.joint_widths import Place, Readers, choose_jointly

Problem = tuple[list[Place], list[Readers]]


def problem(seed: int, grids: int = 1) -> Problem:
    """Return two places of three widths and two layers of three weights with three entries.

    On the coarser one of two grids everything loses more and costs less.
    """
    rng = np.random.default_rng(seed)
    places, layers = [], []
    for place in range(2):
        bits = np.arange(2, 5)
        places.append(
            Place(rng.exponential() * 4.0**-bits, np.column_stack([0 * bits, bits * 0.5]))
        )
        loss = np.sort(rng.exponential(size=(3, 3)), axis=0)[::-1]
        cost = np.zeros((3, 4, 2))
        cost[:, 1, 1], cost[:, 2, 1] = bits, 2 * bits
        # The third kind is a DSP where the width is the greatest, more LUTs elsewhere.
        cost[:, 3, 1], cost[2, 3] = 4 * bits, (1, 2)
        kind = np.array([[0] * 3, rng.integers(1, 3, 3), rng.integers(2, 4, 3)])
        coarser = loss + np.array([[0.0], [0.1], [0.1]]) * np.random.default_rng(
            [seed, place]
        ).exponential(size=(3, 3))
        every_loss, every_cost = np.stack([coarser, loss]), np.stack([0.8 * cost, cost])
        kinds = np.stack([kind] * grids)
        layers.append(Readers(place, every_loss[-grids:], kinds, every_cost[-grids:]))
    return places, layers


def every(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) losses and (n, 2) costs of all choices."""
    places, layers = problem
    losses, costs = [], []
    grids = range(len(layers[0].loss))
    for *width, first, second in itertools.product(range(3), range(3), grids, grids):
        parts = []
        for layer, grid in zip(layers, (first, second), strict=True):
            taken = np.array(list(itertools.product(range(3), repeat=3)))
            loss = layer.loss[grid][taken, np.arange(3)].sum(axis=1)
            kind = layer.kind[grid][taken, np.arange(3)]
            parts.append((loss, layer.cost[grid, width[layer.place]][kind].sum(axis=1)))
        own = sum(float(p.rounding[w]) for p, w in zip(places, width, strict=True))
        held = sum(p.own[w] for p, w in zip(places, width, strict=True))
        losses.append((parts[0][0][:, None] + parts[1][0][None] + own).ravel())
        costs.append((parts[0][1][:, None] + parts[1][1][None] + held).reshape(-1, 2))
    return np.concatenate(losses), np.concatenate(costs)


@pytest.mark.parametrize(
    ("quick", "grids", "fewest"), [(False, 1, 70), (True, 1, 20), (False, 2, 70), (True, 2, 12)]
)
def test_bound_and_choice_enclose_the_best_of_all_choices(
    quick: bool, grids: int, fewest: int
) -> None:
    optimal = 0
    for seed in range(8 if quick else 20):
        menus = problem(seed, grids)
        losses, costs = every(menus)
        for budget in ([1.0, 12.0], [0.0, 9.0], [np.inf, 15.0], [2.0, np.inf]):
            limits = np.array(budget)
            best = losses[(costs <= limits + 1e-9).all(axis=1)].min()
            found = choose_jointly(*menus, limits, quick=quick)
            assert found.bound <= best + 1e-9
            assert best <= found.loss + 1e-9
            assert (found.cost <= limits + 1e-9).all()
            assert (found.prices >= 0).all()
            # What it says of itself is true of the choice.
            loss = sum(float(p.rounding[w]) for p, w in zip(menus[0], found.width, strict=True))
            for layer, grid, entry in zip(menus[1], found.grid, found.entry, strict=True):
                loss += float(layer.loss[grid][entry, np.arange(3)].sum())
            assert loss == pytest.approx(found.loss)
            optimal += found.loss <= best + 1e-9
    # Types that no price names are looked for beside those that one does.
    assert optimal >= fewest


def test_a_choice_is_within_a_percent_of_its_bound_where_there_are_many_weights() -> None:
    rng = np.random.default_rng(5)
    bits, places, layers = np.arange(4, 14), [], []
    for place in range(3):
        places.append(Place(rng.exponential() * 90 * 4.0 ** -(bits - 3.0), np.zeros((10, 2))))
        weight = rng.normal(size=600)
        shares = rng.uniform(0.3, 1, size=(3, 600)) * np.array([[0.1], [0.02], [1e-3]])
        loss = weight**2 * rng.exponential(size=600) * np.vstack([np.ones(600), shares])
        cost = np.zeros((10, 4, 2))
        cost[:, 1, 1], cost[:, 2, 1] = 11, 11 + bits
        cost[:, 3, 1] = np.where(bits >= 11, 13, 11 + 4 * bits)
        cost[:, 3, 0] = bits >= 11
        kind = np.repeat(np.arange(4)[:, None], 600, 1)
        layers.append(Readers(place, loss[None], kind[None], cost[None]))
    for budget in ([40.0, 6e3], [0.0, 4e3], [300.0, 2e4]):
        found = choose_jointly(places, layers, np.array(budget))
        assert found.gap < 0.01
        assert (found.cost <= budget).all()


def test_a_budget_below_the_narrowest_types_is_refused() -> None:
    places, layers = problem(0)
    with pytest.raises(BudgetError, match="1 lut cannot be met: the narrowest types alone cost 2"):
        choose_jointly(places, layers, np.array([np.inf, 1.0]), names=("dsp", "lut"))
