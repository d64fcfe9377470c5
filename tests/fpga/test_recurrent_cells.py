"""The steps of GRU and LSTM in whole numbers, written a second time, and against the C++."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.fpga.fixed_point import deployed, fixed_point
from rfprune.fpga.hls import compiled, convert, outputs_of_cpp, read_project
from rfprune.fpga.layers import Plan, plan, trace
from rfprune.spec import HardwareSpec

STEPS, FEATURES, UNITS = 4, 4, 6


class Cells(nn.Module):
    def __init__(self, kind: str, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.cells = getattr(nn, kind)(FEATURES, UNITS, batch_first=True, bias=bias)
        for parameter in self.cells.parameters():
            # Larger than torch's: gates that saturate, and sums that overflow narrow types.
            nn.init.normal_(parameter, std=1.5)

    def forward(self, x: torch.Tensor) -> Any:
        return self.cells(x)[0]


def planned(model: nn.Module, **hardware: Any) -> Plan:
    return plan(trace(model, (STEPS, FEATURES)), HardwareSpec.model_validate(hardware))


def entry(function: Any, low: float, code: int, fraction: int) -> int:
    """Return the entry of a table in units of 2^-10; what is below 0 is cut toward 0."""
    per_unit = 1024 / (-2 * low)
    place = math.trunc(code * per_unit / 2**fraction) + 512
    place = min(max(place, 0), 1023)
    return math.floor(function(low + place / per_unit) * 1024)


def sigmoid(code: int, fraction: int) -> int:
    return entry(lambda x: 1 / (1 + math.exp(-x)), -8, code, fraction)


def tanh(code: int, fraction: int) -> int:
    return entry(math.tanh, -4, code, fraction)


def wrapped(code: int, width: int) -> int:
    return (code + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)


def whole_numbers(model: Cells, x: np.ndarray[Any, Any], bits: int, integer: int) -> list[int]:
    """Return the codes of the last step of one row, all types fixed<bits,integer>; in Python."""
    fraction = bits - integer
    code = lambda value: wrapped(math.floor(value * 2**fraction), bits)  # noqa: E731
    own = {name: p.detach().numpy().tolist() for name, p in model.cells.named_parameters()}
    parts = {}
    for name, value in own.items():
        rows = value if isinstance(value[0], list) else [value]
        parts[name] = [[code(each) for each in row] for row in rows]
    h, c, wide = [0] * UNITS, [0] * UNITS, 2 * fraction
    gates = len(parts["weight_ih_l0"])
    for step in x:
        data = [code(each) for each in step]
        sums = [
            [
                (parts[f"bias_{side}_l0"][0][row] << fraction)
                + sum(w * v for w, v in zip(parts[f"weight_{side}_l0"][row], read, strict=True))
                for row in range(gates)
            ]
            for side, read in (("ih", data), ("hh", h))
        ]
        new_h, new_c = [], []
        for unit in range(UNITS):
            a, b = ([side[gate * UNITS + unit] for gate in range(gates // UNITS)] for side in sums)
            if gates == 3 * UNITS:
                r, z = (sigmoid(a[gate] + b[gate], wide) for gate in (0, 1))
                n = tanh(a[2] + ((r * b[2]) >> 10), wide)
                state = (n * (1024 - z) << fraction) + (h[unit] * z << 10)
                new_h.append(wrapped(state >> 20, bits))
                continue
            i, f, o = (sigmoid(a[gate] + b[gate], wide) for gate in (0, 1, 3))
            g = tanh(a[2] + b[2], wide)
            new_c.append(wrapped(((g * i << fraction) + (c[unit] * f << 10)) >> 20, bits))
            new_h.append(wrapped((o * tanh(new_c[-1], fraction) << fraction) >> 20, bits))
        h, c = new_h, new_c
    return h


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize(("bits", "integer"), [(16, 6), (10, 3), (8, 4)])
def test_every_step_is_that_of_whole_numbers(kind: str, bits: int, integer: int) -> None:
    model = Cells(kind).eval()
    found = planned(model, precision=f"fixed<{bits},{integer}>")
    x = torch.randn(6, STEPS, FEATURES)
    # Fewer fraction bits than the table has are no other case: the gates have ten at least.
    assert found.gates("cells").fractional >= 2 * (bits - integer)
    with torch.no_grad():
        states = deployed(model, found)(x)[:, -1]
    codes = (states * 2 ** (bits - integer)).numpy()
    expected = [whole_numbers(model, row, bits, integer) for row in x.double().numpy()]
    assert codes.tolist() == expected


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_gradients_go_through_tables_and_rounding(kind: str) -> None:
    model = Cells(kind)
    found, x = planned(model, precision="fixed<18,8>"), torch.randn(5, STEPS, FEATURES)
    loss = model(x).square().sum()
    wanted = torch.autograd.grad(loss, list(model.parameters()))
    with fixed_point(model, found):
        ours = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    for a, b in zip(ours, wanted, strict=True):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.98


SETTINGS: dict[str, dict[str, Any]] = {
    "constants": {},
    "turns": {
        "layers": {
            "cells-weight_ih_l0": {"reuse_factor": 2},
            "cells-weight_hh_l0": {"reuse_factor": 9 * UNITS // 3},
        }
    },
    "stream": {"io_type": "io_stream", "precision": "fixed<12,4,RND,SAT>"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("case", SETTINGS)
def test_the_cpp_is_torch_bit_for_bit_and_counts_alike(
    kind: str, case: str, tmp_path: Path
) -> None:
    model = Cells(kind, bias=case != "stream").eval()
    with torch.no_grad():
        # Whole multipliers are pruned, and single weights.
        model.cells.weight_ih_l0[: 2 * UNITS, :2] = 0
        model.cells.weight_hh_l0[UNITS:] *= (
            torch.rand(model.cells.weight_hh_l0[UNITS:].shape)
        ) < 0.3
    found = planned(model, **SETTINGS[case])
    conversion = convert(model, found, tmp_path / "hls")
    code = {each.name: each for each in read_project(conversion.write())}
    for layer in found.layers:
        weight = layer.layer.weight_of(conversion.network)
        runs = weight.detach().numpy().reshape(-1, layer.reuse_factor).any(axis=1)
        assert code[layer.name].reuse_factor == layer.reuse_factor
        if layer.strategy == "resource_unrolled":
            assert code[layer.name].products == int((weight != 0).sum())
            assert code[layer.name].live_multipliers == int(runs.sum())
    x = torch.randn(40, STEPS, FEATURES).double() * 3
    with compiled(conversion) as simulation, torch.no_grad():
        (cpp,) = outputs_of_cpp(simulation, x)
        assert np.array_equal(cpp, deployed(model, found)(x).numpy())
