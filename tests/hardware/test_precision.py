"""Fixed-point types: text, range and rounding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import SpecError
from rfprune.hardware.precision import FixedType


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fixed<16,6>", FixedType(16, 6)),
        ("ap_fixed<8, 2, RND, SAT>", FixedType(8, 2, True, "RND", "SAT")),
        ("ap_fixed<8,2,AP_RND,AP_SAT>", FixedType(8, 2, True, "RND", "SAT")),
        ("ufixed<8,0>", FixedType(8, 0, False)),
        ("ap_int<8>", FixedType(8, 8)),
        ("uint<4>", FixedType(4, 4, False)),
    ],
)
def test_parse(text: str, expected: FixedType) -> None:
    assert FixedType.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["fixed<16>", "fixed<a,b>", "float", "fixed<0,0>", "fixed<16,6,X>"]
)
def test_bad_text_is_a_sentence(text: str) -> None:
    with pytest.raises(SpecError, match=r"fixed|width|rounding"):
        FixedType.parse(text)


def test_range_and_step() -> None:
    kind = FixedType.parse("fixed<8,3>")
    assert (kind.step, kind.min, kind.max) == (2**-5, -4.0, 4.0 - 2**-5)


@given(
    st.integers(2, 16), st.integers(-2, 8), st.floats(-300, 300), st.sampled_from(["WRAP", "SAT"])
)
def test_quantize_lands_on_the_grid(width: int, integer: int, x: float, overflow: str) -> None:
    kind = FixedType(width, integer, True, "TRN", overflow)
    y = kind.quantize(torch.tensor([x], dtype=torch.float64)).item()
    assert kind.min <= y <= kind.max
    assert (y / kind.step) == round(y / kind.step)
    if kind.min <= x <= kind.max:
        assert 0 <= x - y <= kind.step


def test_wrap_is_modulo() -> None:
    kind = FixedType.parse("fixed<4,4>")
    assert kind.quantize(torch.tensor([8.0, -9.0, 7.5])).tolist() == [-8.0, 7.0, 7.0]


@given(
    st.integers(1, 32),
    st.integers(-4, 32),
    st.booleans(),
    st.lists(st.floats(-(2.0**60), 2.0**60), min_size=1, max_size=5),
)
def test_wrap_is_what_remainder_gives(
    width: int, integer: int, signed: bool, values: list[float]
) -> None:
    kind = FixedType(width, integer, signed)
    for dtype in (torch.float64, torch.float32):
        x = torch.tensor(values, dtype=dtype)
        low = kind.min / kind.step
        code = (x / kind.step).floor()
        expected = ((code - low).remainder(2.0**width) + low) * kind.step
        assert kind.quantize(x.clone()).tolist() == expected.tolist()


@given(st.integers(1, 32), st.integers(-4, 32), st.booleans())
def test_text_round_trip(width: int, integer: int, signed: bool) -> None:
    kind = FixedType(width, integer, signed)
    assert FixedType.parse(str(kind)) == kind
