"""Curves of cost classes: what the best n groups are worth; bounds that are exact at the marks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rfprune.knapsack.core_problem import Base
from rfprune.knapsack.curves import Curve, curves
from rfprune.knapsack.instance import read
from rfprune.knapsack.reduction import Pool, reduce


def drawn(seed: int, ties: bool) -> tuple[Pool, list[Curve]]:
    """Return an open problem of a few cost classes, and their curves against some base."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(5, 60))
    value = rng.integers(1, 6, groups).astype(float) if ties else rng.lognormal(size=groups)
    cost = rng.integers(1, 9, (3, 2)).astype(float)[rng.integers(0, 3, groups)]
    instance = read(value, cost, cost.sum(axis=0) * rng.uniform(0.3, 0.7, 2))
    pool, _ = reduce(instance, np.zeros(groups, dtype=bool), ())
    base = Base.at(pool, rng.uniform(0, 0.5, 2))
    return pool, curves(pool, base, np.arange(pool.size))


@given(st.integers(0, 10**9), st.booleans())
def test_a_curve_is_the_sum_of_the_best_groups(seed: int, ties: bool) -> None:
    pool, found = drawn(seed, ties)
    assert sorted(np.concatenate([curve.rows for curve in found])) == list(range(pool.size))
    for curve in found:
        assert (pool.cost[:, curve.rows] == curve.cost[:, None]).all()
        each = np.sort(np.repeat(pool.value[curve.rows], pool.count[curve.rows].astype(int)))[::-1]
        for number in range(len(each) + 1):
            taken = curve.taken(number)
            assert taken.sum() == number
            assert (taken <= pool.count[curve.rows]).all()
            gain = each[:number].sum() - each[: int(curve.usual)].sum()
            np.testing.assert_allclose(taken @ curve.value, each[:number].sum(), atol=1e-12)
            np.testing.assert_allclose(curve.gain(number), gain, atol=1e-12)


@given(st.integers(0, 10**9), st.booleans(), st.integers(0, 60))
def test_pieces_bound_the_curve_and_are_exact_at_the_marks(
    seed: int, ties: bool, middle: int
) -> None:
    for curve in drawn(seed, ties)[1]:
        for marks in (curve.marks(middle), np.array([0.0, curve.ends[-1]])):
            lengths, worths = curve.pieces(marks)
            assert (np.diff(worths) <= 0).all()
            assert lengths.sum() == np.float64(curve.ends[-1])
            number = np.arange(curve.ends[-1] + 1)
            bound = np.array([curve.bounded_gain(marks, n) for n in number])
            assert (bound >= curve.gain(number) - 1e-12).all()
            np.testing.assert_allclose(bound[marks.astype(int)], curve.gain(marks), atol=1e-12)


@given(st.integers(0, 10**9), st.integers(0, 60))
def test_marks_come_closer_until_nothing_is_between(seed: int, number: int) -> None:
    for curve in drawn(seed, False)[1]:
        marks = curve.marks(0)
        while len(following := curve.closer(marks, min(number, curve.ends[-1]))) > len(marks):
            marks = following
        n = min(number, curve.ends[-1])
        np.testing.assert_allclose(curve.bounded_gain(marks, n), curve.gain(n), atol=1e-12)
