"""Rows of a proof: corners first, what is asked for, all codes of small inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rfprune.core.named import Named
from rfprune.errors import OptionError
from rfprune.fpga.estimators.ports import Port, packed, unpacked
from rfprune.fpga.proof.rows import InputKind, proof_rows
from rfprune.hardware.precision import FixedType

BYTE = FixedType(8, 3, saturation="SAT")


def test_corners_are_always_there() -> None:
    kinds = [InputKind("x", (5,), BYTE)]
    known = torch.zeros(40, 5)
    for rows, expected in ((None, 13 + 40 + 13), (1, 13), (20, 20), (100, 100)):
        found = proof_rows(kinds, known, rows, False)
        assert len(found.x) == expected
        assert found.corners == 13
        assert isinstance(found.x, torch.Tensor)
        grid = found.on_grid(kinds)
        assert grid[0].tolist() == [BYTE.max] * 5
        assert grid[1].tolist() == [BYTE.min] * 5
        assert grid[2].tolist() == [BYTE.max, BYTE.min] * 2 + [BYTE.max]
        # Beyond the type: it saturates.
        assert found.x.max() > BYTE.max
        assert grid.max() == BYTE.max


def test_indices_stay_within_their_table() -> None:
    kinds = [InputKind("a", (2,), BYTE), InputKind("i", (3,), FixedType(3, 3, False), entries=5)]
    found = proof_rows(kinds, None, 200, False).x
    assert isinstance(found, Named)
    assert found.parts["i"].min() == 0
    assert found.parts["i"].max() == 4
    assert torch.equal(found.parts["i"], found.parts["i"].floor())


def test_all_codes() -> None:
    kinds = [InputKind("x", (2,), FixedType(4, 2))]
    found = proof_rows(kinds, None, None, True)
    assert found.exhaustive
    rows = {tuple(row) for row in found.on_grid(kinds).tolist()}
    assert len(rows) == 256
    with pytest.raises(OptionError, match="--exhaustive: the inputs hold 3 numbers"):
        proof_rows([InputKind("x", (3,), BYTE)], None, None, True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-2, 6), st.integers(-2, 6)), min_size=1),
    st.integers(0, 2**32 - 1),
)
def test_numbers_come_back_from_their_bits(kinds: list[tuple[bool, int, int]], seed: int) -> None:
    signs, integers, fractions = zip(*kinds, strict=True)
    port = Port([int(sign) for sign in signs], integers, fractions)
    generator = np.random.default_rng(seed)
    codes = [
        generator.integers(-(2 ** (width - 1)) if sign else 0, 2 ** (width - sign), 20)
        if width > sign
        else np.zeros(20)
        for width, sign in zip(port.widths, port.signs, strict=True)
    ]
    x = np.stack([code * 2.0**-f for code, f in zip(codes, fractions, strict=True)], axis=1)
    bits = packed(x, port)
    assert bits.shape == (20, port.width)
    assert np.array_equal(unpacked(bits, port), x)
