"""The closed form against hls4ml's own rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import ReuseFactorError
from rfprune.hardware.reuse import (
    check_reuse_factor,
    nearest_valid_reuse_factor,
    valid_reuse_factors,
)


def hls4ml_valid(n_in: int, n_out: int) -> list[int]:
    """The condition of hls4ml's ``_validate_reuse_factor``, tried on every candidate."""

    def ok(rf: int) -> bool:
        limit = min(n_in, rf)
        multipliers = -(-n_in * n_out // limit)
        return (
            (multipliers % n_out == 0 or rf >= n_in)
            and (rf % n_in == 0 or rf < n_in)
            and (n_in * n_out) % rf == 0
        )

    return [rf for rf in range(1, n_in * n_out + 1) if ok(rf)]


@given(st.integers(1, 40), st.integers(1, 40))
def test_closed_form_is_hls4mls_rule(n_in: int, n_out: int) -> None:
    assert valid_reuse_factors(n_in, n_out, "resource") == hls4ml_valid(n_in, n_out)


def test_known_lists() -> None:
    assert valid_reuse_factors(16, 12, "latency") == [1, 2, 4, 8, 16, 32, 48, 64, 96, 192]
    assert valid_reuse_factors(16, 12) == [1, 2, 4, 8, 16, 32, 48, 64, 96]
    assert valid_reuse_factors(7, 5, "resource_unrolled") == [1, 7]
    assert valid_reuse_factors(1, 1) == [1]


@pytest.mark.parametrize(
    ("n_in", "n_out", "asked", "taken"), [(16, 64, 12, 8), (16, 32, 24, 16), (25, 6, 10, 5)]
)
def test_nearest_is_what_hls4ml_takes(n_in: int, n_out: int, asked: int, taken: int) -> None:
    assert nearest_valid_reuse_factor(n_in, n_out, asked) == taken


def test_a_convolution_in_io_parallel_ends_at_its_inputs() -> None:
    assert valid_reuse_factors(18, 4, "auto", largest=18) == [1, 2, 3, 6, 9, 18]
    assert 36 in valid_reuse_factors(18, 4, "latency", largest=18)
    with pytest.raises(
        ReuseFactorError, match=r"conv: .* 36 .* sums wrong products\. Valid: 1 .* 18\.$"
    ):
        check_reuse_factor("conv", 18, 4, 36, largest=18)


def test_message_names_layer_choice_and_list() -> None:
    with pytest.raises(ReuseFactorError) as caught:
        check_reuse_factor("fc1", 16, 32, 24)
    assert str(caught.value) == (
        "fc1: reuse factor 24 does not suit 16x32; hls4ml would silently use 16. "
        "Valid: 1 2 4 8 16 32 64 128 256."
    )
