"""Operators as the reports of C synthesis list them."""

import numpy as np
import pytest

from rfprune.hardware.operators import add_lut, compare_lut, saturated_sum_lut


def lut(rule, bits: float, year: float) -> float:
    return float(rule(np.array([bits]), np.array([year]))[0])


@pytest.mark.parametrize(
    ("bits", "year", "listed"),
    [(12, 2020.1, 19), (16, 2019.2, 23), (32, 2024.1, 39), (9, 2022.2, 16), (14, 2021.1, 14)],
)
def test_an_addition_is_charged_by_its_bits_and_seven(bits, year, listed) -> None:
    assert lut(add_lut, bits, year) == listed


@pytest.mark.parametrize(
    ("bits", "year", "listed"),
    [
        *[(3, 2019.2, 9), (6, 2022.2, 10), (16, 2020.1, 13), (32, 2019.1, 18), (46, 2019.1, 24)],
        *[(16, 2024.1, 23), (13, 2024.1, 20), (4, 2021.1, 2), (16, 2021.1, 7)],
    ],
)
def test_a_comparison_is_an_adder_from_2023_on(bits, year, listed) -> None:
    assert lut(compare_lut, bits, year) == pytest.approx(listed, abs=1)


@pytest.mark.parametrize(("bits", "listed"), [(24, 280), (28, 313)])
def test_a_saturating_sum_costs_what_two_reports_list(bits: int, listed: float) -> None:
    assert lut(saturated_sum_lut, bits, 2020.1) == pytest.approx(listed, rel=0.03)
