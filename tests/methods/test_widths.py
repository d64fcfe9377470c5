"""Values and widths in one choice, against every choice of small networks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfprune.errors import BudgetError
from rfprune.methods.widths import LayerMenus, choose_widths


def menus(seed: int, sizes: list[tuple[int, int]], entries: int = 3) -> list[LayerMenus]:
    rng = np.random.default_rng(seed)
    found = []
    for index, (n_out, n_in) in enumerate(sizes):
        digits = np.arange(float(entries))[:, None, None] * np.ones((1, n_out, n_in))
        weight = rng.random((1, n_out, n_in)) * 4.0**-digits
        bits = np.array([1.0, 3.0])[:, None] * np.ones((1, n_in))
        rounding = rng.random((1, n_in)) * 4.0**-bits
        found.append(LayerMenus(weight, digits, bits, rounding, 1.5 if index else 0.0))
    return found


def taken(layers: list[LayerMenus], entry: list[np.ndarray], width: list[np.ndarray]) -> np.ndarray:
    """Return cost and loss of a choice, added up one by one."""
    total = np.zeros(2)
    for each, entries, widths in zip(layers, entry, width, strict=True):
        for j, b in enumerate(widths):
            bits = each.bits[b, j]
            total += [each.own * bits, each.rounding[b, j]]
            for i in range(entries.shape[0]):
                e = entries[i, j]
                total += [each.digits[e, i, j] * (bits + 1), each.loss[e, i, j]]
    return total


def least_loss(layers: list[LayerMenus], budget: float) -> float:
    """Return the least loss of all choices within the budget."""
    shapes = [each.loss.shape[1:] for each in layers]
    weights, inputs = [n * m for n, m in shapes], [m for _, m in shapes]
    best = np.inf
    for widths in product(range(2), repeat=sum(inputs)):
        width = np.split(np.array(widths), np.cumsum(inputs)[:-1])
        for entries in product(range(3), repeat=sum(weights)):
            parts = np.split(np.array(entries), np.cumsum(weights)[:-1])
            entry = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
            cost, loss = taken(layers, entry, width)
            best = min(best, loss) if cost <= budget + 1e-9 else best
    return best


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_holds_for_every_choice(seed: int) -> None:
    layers = menus(seed, [(2, 1), (1, 2)])
    for budget in (6.0, 11.0, 17.0):
        found = choose_widths(layers, budget)
        cost, loss = taken(layers, found.entry, found.width)
        assert cost == pytest.approx(found.cost)
        assert cost <= budget + 1e-9
        assert loss == pytest.approx(found.loss)
        assert found.bound - 1e-9 <= least_loss(layers, budget) <= loss + 1e-9


@settings(max_examples=25)
@given(st.integers(0, 10**9), st.floats(0.05, 1.2))
def test_larger_networks_come_close_to_their_bound(seed: int, share: float) -> None:
    layers = menus(seed, [(20, 12), (8, 20)], entries=5)
    most = sum(float((each.digits[-1] * 4).sum()) for each in layers)
    budget = share * most + 40
    found = choose_widths(layers, budget)
    assert found.cost <= budget + 1e-9
    assert found.bound <= found.loss + 1e-12
    assert found.gap <= 0.02
    loose = choose_widths(layers, budget, near=found.price or None, slack=0.01)
    assert loose.cost <= budget + 1e-9
    assert loose.bound <= found.loss + 1e-9


def test_an_ample_budget_loses_as_little_as_can_be() -> None:
    layers = menus(1, [(3, 4)])
    found = choose_widths(layers, 1e6)
    assert found.price == 0
    assert found.gap == 0
    assert all((entry == 2).all() for entry in found.entry)


def test_a_budget_that_the_narrowest_activations_exceed() -> None:
    with pytest.raises(BudgetError, match="narrowest activations alone cost 6"):
        choose_widths(menus(0, [(2, 2), (1, 4)]), 5.0)
