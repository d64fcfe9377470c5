"""The Pareto mask against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.results.dominance import pareto_mask


def by_definition(values: np.ndarray) -> list[bool]:
    """No row is nowhere larger and somewhere smaller, and no equal row comes before."""
    mask = []
    for i, row in enumerate(values):
        beaten = any((o <= row).all() and (o < row).any() for o in values)
        repeated = any((o == row).all() for o in values[:i])
        mask.append(not beaten and not repeated and not np.isnan(row).any())
    return mask


@given(st.integers(1, 5), st.integers(0, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_mask_is_the_definition(columns: int, rows: int, levels: int, seed: int) -> None:
    # Few levels make ties and duplicates common.
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, (rows, columns)).astype(float)
    values[rng.random(values.shape) < 0.03] = np.nan
    assert pareto_mask(values).tolist() == by_definition(values)


def test_infinite_losses_are_ordinary_values() -> None:
    values = np.array([[np.inf, 0.0], [0.0, np.inf], [np.inf, np.inf], [-np.inf, np.inf]])
    assert pareto_mask(values).tolist() == [True, False, False, True]


def test_of_equal_rows_the_first_stays() -> None:
    assert pareto_mask(np.ones((4, 3))).tolist() == [True, False, False, False]


@pytest.mark.parametrize("columns", [3, 4])
def test_a_large_front_is_found_whole(columns: int) -> None:
    rng = np.random.default_rng(0)
    directions = np.abs(rng.normal(size=(1500, columns)))
    sphere = 1 - directions / np.linalg.norm(directions, axis=1, keepdims=True)
    mask = pareto_mask(np.vstack([sphere + 0.01, sphere]))
    assert mask[1500:].all()
    assert not mask[:1500][(sphere + 0.01 > 0.999).any(axis=1)].all()


@pytest.mark.parametrize("shape", [(3,), (3, 0)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Allowed"):
        pareto_mask(np.zeros(shape))
