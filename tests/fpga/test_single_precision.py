"""What is measured in single precision where that is exact is what double precision gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rfprune.fpga.fixed_point as fixed_point
from rfprune.core.named import Named
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.layers.plan import Plan
from rfprune.fpga.single_precision import Grid, is_exact_on, split_at
from rfprune.hardware.precision import FixedType
from rfprune.spec import HardwareSpec

TYPES = [
    *("fixed<16,6>", "fixed<8,3>", "fixed<5,2>", "fixed<18,8>", "fixed<24,8>", "fixed<30,12>"),
    *("fixed<12,4,RND,SAT>", "fixed<9,3,RND_CONV,SAT_SYM>", "fixed<7,2,RND_ZERO,SAT_ZERO>"),
]


class Everything(nn.Module):
    """One of each operation that hands numbers on, sums them or goes a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.each = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.wide = nn.Conv2d(8, 6, 3, stride=2)
        self.pool, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        x = torch.cat([self.pool(self.each(x) + x), self.mean(x)], dim=1)
        x = torch.flatten(torch.relu(self.wide(x)), 1)
        y = torch.tanh(self.fc1(x))
        y = torch.maximum(torch.relu(self.fc2(y)), y * y) - y
        out: Tensor = torch.sigmoid(self.fc3(y))
        return out


class TwoInputs(nn.Module):
    """Several inputs, one of them numbers of rows, and several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc1, self.fc2 = nn.Embedding(9, 3), nn.Linear(5, 6), nn.Linear(15, 2)

    def forward(self, x: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.fc1(x))
        rows = torch.flatten(self.table(kind.long()), 1)
        return self.fc2(torch.cat([hidden, rows], 1)), (hidden * hidden).sum(1, keepdim=True)


def both(
    model: nn.Module, planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> tuple[fixed_point.Deployed, fixed_point.Deployed]:
    """Return the network as it is measured, and all in double precision."""
    found = fixed_point.deployed(model, planned)
    with monkeypatch.context() as patch:
        patch.setattr(fixed_point, "is_exact_on", lambda device: False)
        return found, fixed_point.deployed(model, planned)


def planned(model: nn.Module, shape: Any, precision: str, **more: Any) -> Plan:
    settings = {"precision": precision, "strategy": "latency", "reuse_factor": 1, **more}
    return plan(trace(model, shape), HardwareSpec.model_validate(settings))


def layers(built: fixed_point.Deployed) -> list[Any]:
    return [part for part in built.modules() if isinstance(part, fixed_point._WeightLayer)]


@pytest.mark.parametrize("precision", TYPES)
def test_every_bit_is_that_of_double_precision(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = Everything()
    model(torch.randn(64, 3, 6, 6))  # statistics of the batch norm
    found, wide = both(model.eval(), planned(model, (3, 6, 6), precision), monkeypatch)
    # Far enough for every type to wrap or to saturate now and then.
    x = 4 * torch.randn(200, 3, 6, 6)
    with torch.no_grad():
        output, expected = found(x), wide(x)
    assert output.dtype == torch.float64
    assert torch.equal(output, expected)
    assert len(output.unique()) > 1
    if FixedType.parse(precision).width <= 12:
        assert not any(part.is_wide for part in layers(found)[:3])


@pytest.mark.parametrize("precision", ["fixed<16,6>", "fixed<6,3,RND,SAT>"])
def test_several_inputs_and_outputs(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = TwoInputs().eval()
    shape = {"x": (5,), "kind": (3,)}
    found, wide = both(model, planned(model, shape, precision), monkeypatch)
    rows = Named({"x": 3 * torch.randn(40, 5), "kind": torch.randint(0, 9, (40, 3)).float()})
    with torch.no_grad():
        outputs, expected = found(**rows.parts), wide(**rows.parts)
    assert all(map(torch.equal, outputs, expected))
    assert all(part.dtype == torch.float64 for part in outputs)


def test_weights_and_data_at_the_ends_of_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    # The largest sums there are, where one bit too few shows: 2^24 and a bit, in 16 and 12 bits.
    for precision, inputs in (("fixed<16,6>", 9), ("fixed<12,6>", 4), ("fixed<13,6>", 1)):
        kind = FixedType.parse(precision)
        model = nn.Sequential(nn.Conv1d(inputs, 2, 3), nn.Flatten())
        with torch.no_grad():
            ends = torch.tensor([kind.min, kind.max])
            model[0].weight.copy_(ends[torch.randint(0, 2, model[0].weight.shape)])
            model[0].weight[0] = kind.max
        found, wide = both(
            model, planned(model, (inputs, 5), precision, io_type="io_stream"), monkeypatch
        )
        x = ends[torch.randint(0, 2, (300, inputs, 5))]
        x[0], x[1] = kind.max, kind.min
        with torch.no_grad():
            assert torch.equal(found(x), wide(x)), precision


def test_convolutions_that_need_more_bits_are_cut_in_two() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    conv, linear = layers(
        fixed_point.deployed(model, planned(model, (3, 6, 6), "fixed<16,6>", io_type="io_stream"))
    )
    assert conv._cut is not None
    assert not conv.is_wide
    assert linear._cut is None
    assert linear.is_wide
    conv, linear = layers(
        fixed_point.deployed(model, planned(model, (3, 6, 6), "fixed<8,3>", io_type="io_stream"))
    )
    assert not conv.is_wide
    assert not linear.is_wide
    assert conv._cut is None


def test_where_numbers_are_cut_leaves_both_parts_exact() -> None:
    kind = FixedType.parse("fixed<16,6>")
    data = Grid.of(kind)
    weights = torch.full((1, 40), 0.5)
    cut = split_at(data, weights, kind.step)
    assert cut is not None
    upper, lower = Grid(cut * kind.step, 20 * (32 + cut)), Grid(kind.step**2, 20 * cut)
    assert upper.is_single
    assert lower.is_single
    assert not Grid(kind.step**2, 20 * 32).is_single
    # 24 bits times 24 bits are more than two parts hold.
    wide = FixedType.parse("fixed<24,8>")
    assert split_at(Grid.of(wide), weights, wide.step) is None
    assert split_at(data, torch.zeros(1, 4), kind.step) is None


def test_a_grid_knows_what_single_precision_holds() -> None:
    assert Grid(1.0, 2.0**24).is_single
    assert not Grid(1.0, 2.0**24 + 1).is_single
    assert not Grid(2.0**-120, 2.0**-110).is_single  # products of such numbers lose bits
    integer = FixedType.parse("int<8>")
    # A half of a step is added to round, and half the range to wrap.
    assert Grid(1.0, 2.0**22).is_rounded_in_single(integer)
    assert not Grid(1.0, 2.0**23).is_rounded_in_single(integer)


def test_single_precision_is_taken_only_where_products_keep_their_bits() -> None:
    assert is_exact_on(torch.device("cpu"))
    assert not is_exact_on(torch.device("cuda"))
    try:
        torch.set_float32_matmul_precision("medium")
        assert not is_exact_on(torch.device("cpu"))
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.filterwarnings("ignore:TF32")
def test_winograd_is_off_while_it_is_measured() -> None:
    # Without oneDNN, torch would take NNPACK for such a convolution, which rounds.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1))
    built = fixed_point.deployed(
        model, planned(model, (16, 8, 8), "fixed<8,3>", io_type="io_stream")
    )
    x = 2 * torch.randn(64, 16, 8, 8)
    with torch.no_grad():
        expected = built(x)
        with torch.backends.mkldnn.flags(enabled=False):
            assert torch.equal(built(x), expected)
