"""Softmax from tables beside the function, and beside whole numbers counted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfprune.fpga.layers.operators import Softmax
from rfprune.fpga.own_arithmetic import SoftmaxTables
from rfprune.fpga.softmax_tables import SoftmaxTypes, tables_of
from rfprune.hardware.precision import FixedType


def counted(codes: list[int], bits: int, scale: float) -> list[float]:
    """Return the softmax of ``code / 2**bits`` as the C++ makes it: on whole numbers alone."""
    types = SoftmaxTypes.of(len(codes), scale)
    exponentials, inverses = (table.tolist() for table in tables_of(types, scale))
    finer = types.inp_norm.fractional - bits
    read = []
    for code in codes:
        below = max(codes) - code
        # Half a step up, then cut off, as AP_RND does; and held within the table, as AP_SAT does.
        place = below * 2**finer if finer >= 0 else (below + 2 ** (-finer - 1)) >> -finer
        read.append(exponentials[min(place, 2**types.inp_norm.width - 1)])
    total = math.floor(sum(read) * 2**types.inv_inp.fractional + 0.5)
    return [one * inverses[min(total, 2**types.inv_inp.width - 1)] for one in read]


@given(
    st.lists(st.integers(-(2**13), 2**13 - 1), min_size=1, max_size=9),
    st.sampled_from([0, 3, 6, 9]),
    st.sampled_from([0.25, 0.40824829, 1.0, 3.0]),
)
def test_the_same_as_on_whole_numbers(codes: list[int], bits: int, scale: float) -> None:
    x = torch.tensor([codes], dtype=torch.float64) / 2**bits
    found = SoftmaxTables(Softmax(0, scale), len(codes))(x)
    assert found[0].tolist() == counted(codes, bits, scale)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 49])
@pytest.mark.parametrize("scale", [0.125, 1.0, 4.0])
def test_near_the_function(n: int, scale: float) -> None:
    x = torch.randn(200, 3, n, generator=torch.Generator().manual_seed(n)).double() * 3 / scale
    x = FixedType(16, 8).quantize(x)
    found = SoftmaxTables(Softmax(1, scale), n)(x)
    exact = torch.softmax(x * scale, -1)
    # Steps of the exponent and of the sum: 1/64 to 1/32 and 1/64, rounded to the nearest.
    assert float((found - exact).abs().max()) < 0.025


def test_types_hold_what_they_have_to() -> None:
    for n in (1, 2, 3, 4, 31, 32, 33):
        types = SoftmaxTypes.of(n, 0.5)
        exponentials, inverses = tables_of(types, 0.5)
        assert exponentials[0] == 1
        assert exponentials[-1] <= math.exp(-16) + types.exp_table.step
        assert types.inv_inp.max >= n
        assert types.accum.max >= n
        assert len(inverses) == 2**types.inv_inp.width
        assert inverses[2**types.inv_inp.fractional] == 1
    assert types.inp_norm == FixedType(10, 5, False, "RND", "SAT")


def test_gradient_is_that_of_the_function() -> None:
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(4.0).double()
    (SoftmaxTables(Softmax(0, 2.0), 4)(x) @ weights).sum().backward()
    assert x.grad is not None
    other = x.detach().clone().requires_grad_()
    (torch.softmax(other * 2.0, 1) @ weights).sum().backward()
    np.testing.assert_allclose(x.grad, other.grad, rtol=1e-12)
