from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rfprune.errors import DataError
from rfprune.fpga.estimators.weights import (
    MEAN_WIDE_DIGITS,
    naf_digits,
    quantized_codes,
    weight_statistics,
)
from rfprune.hardware.precision import FixedType


def slow_naf(value: int) -> list[int]:
    """Digits of the non-adjacent form by its definition, least significant first."""
    digits = []
    value = abs(value)
    while value:
        digit = 2 - value % 4 if value % 2 else 0
        digits.append(digit)
        value = (value - digit) // 2
    return digits


@given(st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=20))
def test_naf_digits_match_the_definition(values: list[int]) -> None:
    expected = [sum(digit != 0 for digit in slow_naf(v)) for v in values]
    assert naf_digits(np.array(values, dtype=np.int64)).tolist() == expected


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=st.floats(-9, 9)
    ),
    st.sampled_from(["fixed<8,3>", "fixed<6,2,RND,SAT>", "ufixed<7,4>", "fixed<16,6>"]),
)
def test_codes_match_the_torch_quantizer(weights: np.ndarray, precision: str) -> None:
    import torch

    kind = FixedType.parse(precision)
    values = kind.quantize(torch.tensor(weights, dtype=torch.float64)).numpy()
    np.testing.assert_array_equal(quantized_codes(weights, kind) * kind.step, values)


@given(
    hnp.arrays(
        np.int64, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(-40, 40)
    ),
    st.integers(1, 12),
)
def test_counts_match_a_plain_loop(codes: np.ndarray, reuse_factor: int) -> None:
    kind = FixedType.parse("fixed<8,8>")
    found = weight_statistics(codes.astype(float), kind, reuse_factor)
    digits = {int(c): sum(d != 0 for d in slow_naf(int(c))) for c in codes.flat}
    columns = [{int(c) for c in column} for column in codes.T]
    flat = codes.reshape(-1)
    runs = [flat[i : i + reuse_factor] for i in range(0, flat.size, reuse_factor)]
    assert found.count == codes.size
    assert found.nnz == np.count_nonzero(codes)
    assert found.uniq3 == sum(digits[c] >= 3 for column in columns for c in column)
    assert found.uniq2 == sum(digits[c] == 2 for column in columns for c in column)
    narrow = [c for column in columns for c in column if 0 < c < 16 and digits[c] >= 3]
    assert found.narrow3 == len(narrow)
    assert set(narrow) <= {11, 13}
    assert found.pow2 == sum(digits[int(c)] == 1 for c in flat)
    assert found.naf_digits == sum(digits[int(c)] for c in flat)
    assert found.live_groups == sum(bool(run.any()) for run in runs)
    assert found.max_bits == int(np.abs(codes).max()).bit_length()


def test_wide_constants_are_those_of_eleven_bits_with_their_sign() -> None:
    codes = np.array([[512.0, 513.0, -513.0, 531.0, 500.0, 2000.0, 531.0, 1023.0]])
    found = weight_statistics(codes, FixedType.parse("fixed<16,16>"))
    digits = [sum(d != 0 for d in slow_naf(int(c))) for c in codes.flat]
    expected = sum(d >= 3 and abs(c) >= 512 for d, c in zip(digits, codes.flat, strict=True))
    assert found.wide3 == expected == 3


def test_a_weight_that_only_rounds_to_zero_keeps_its_group() -> None:
    # hls4ml leaves a weight out of its code only if the float is exactly 0.
    found = weight_statistics(np.array([[0.0, 1e-7, 0.0, 0.0]]), FixedType.parse("fixed<16,6>"), 2)
    assert (found.nnz, found.live_groups) == (0, 1)


@pytest.mark.parametrize("bad", [np.zeros(4), np.zeros((0, 3)), np.array([[np.nan, 1.0]])])
def test_bad_weights_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="Allowed"):
        weight_statistics(bad, FixedType.parse("fixed<16,6>"))


@pytest.mark.parametrize("bits", range(5, 15))
def test_mean_digits_are_those_of_every_form(bits: int) -> None:
    # All forms of so many places are the numbers up to a third of 2^(bits + 1), either sign.
    digits = naf_digits(np.arange(2 ** (bits + 1) // 3 + 1))
    assert MEAN_WIDE_DIGITS[bits] == pytest.approx(digits[digits >= 3].mean())
