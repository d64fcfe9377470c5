"""The hypervolume against counted cells, against Optuna's, and along a sweep."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from rfprune.results import hypervolume, hypervolume_curve, read_sweep
from rfprune.results.points import losses


def cells(values: np.ndarray, reference: np.ndarray) -> int:
    """Count the unit cells below `reference` whose lower corner some point dominates."""
    corners = itertools.product(*(range(int(r)) for r in reference))
    return sum(any((p <= corner).all() for p in values) for corner in corners)


@given(st.integers(1, 4), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_volume_is_the_number_of_dominated_cells(columns: int, rows: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 6, (rows, columns)).astype(float)
    reference = np.full(columns, 5.0)
    assert hypervolume(values, reference) == pytest.approx(cells(values, reference), abs=1e-9)


@pytest.mark.parametrize("columns", [2, 3, 4, 5])
def test_volume_agrees_with_optuna(columns: int) -> None:
    rng = np.random.default_rng(columns)
    for _ in range(5):
        values = rng.random((40, columns))
        reference = np.full(columns, 0.9)
        inside = values[(values < reference).all(axis=1)]
        expected = compute_hypervolume(inside, reference)
        assert hypervolume(values, reference) == pytest.approx(expected, rel=1e-12)


def test_points_outside_or_unknown_count_nothing() -> None:
    values = np.array([[1.0, 1.0], [0.0, 2.0], [3.0, 0.0], [np.nan, 0.0]])
    assert hypervolume(values, np.array([2.0, 2.0])) == 1.0
    assert hypervolume(values[1:], np.array([2.0, 2.0])) == 0.0


def test_curve_is_the_volume_of_what_had_ended(make) -> None:
    folder = make.sweep(trials=6)
    make.trial(folder, 6, state="failed", steps=2)
    make.trial(folder, 7, state="running", steps=3)
    view = read_sweep(folder)
    reference = np.array([-0.7, 5000.0, 500.0])
    seen = []
    for point, trial in zip(hypervolume_curve(view), view.finished, strict=True):
        seen += [c for c in trial.candidates if c.feasible]
        assert point.trial == trial.number
        direct = hypervolume(losses([point.metrics for point in seen], view.objectives), reference)
        assert point.hypervolume == pytest.approx(direct, rel=1e-12)
    assert [trial.number for trial in view.finished] == list(range(7))


def test_curve_follows_the_order_in_which_trials_ended(make) -> None:
    folder = make.sweep()
    for number in (2, 0, 1):
        make.trial(folder, number)
        make.age(folder, number, ended=1_000 - number)
    assert [point.trial for point in hypervolume_curve(read_sweep(folder))] == [2, 1, 0]


def test_no_reference_point_no_curve(make) -> None:
    make.facts = {}
    assert hypervolume_curve(read_sweep(make.sweep(trials=1))) == []
