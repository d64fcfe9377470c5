"""The C++ simulation equals torch in fixed point, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.groups import build_groups
from rfprune.fpga.hls import compare, convert
from rfprune.fpga.layers import plan, trace
from rfprune.spec import HardwareSpec, PruneSpec

pytestmark = pytest.mark.slow


def dense() -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4)), (12,)


def conv2d() -> tuple[nn.Module, tuple[int, ...]]:
    layers = (nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 4))
    return nn.Sequential(*layers), (2, 8, 8)


def conv1d() -> tuple[nn.Module, tuple[int, ...]]:
    layers = (nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))
    return nn.Sequential(*layers), (3, 8)


def sequence() -> tuple[nn.Module, tuple[int, ...]]:
    per_step = (nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())
    return nn.Sequential(*per_step, nn.Flatten(), nn.Linear(20, 3)), (5, 6)


def grid() -> tuple[nn.Module, tuple[int, ...]]:
    layers = (nn.Linear(6, 4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))
    return nn.Sequential(*layers), (2, 3, 6)


def image_mlp() -> tuple[nn.Module, tuple[int, ...]]:
    layers = (nn.Flatten(), nn.Dropout(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 3))
    return nn.Sequential(*layers), (2, 4, 3)


class TwoHeads(nn.Module):
    """A Flatten that two layers read, written with a keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.left, self.right = nn.Conv1d(2, 3, 3), nn.Linear(12, 3), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(torch.relu(self.conv(x)), start_dim=1)
        return torch.relu(self.left(x)) + self.right(x)


def two_heads() -> tuple[nn.Module, tuple[int, ...]]:
    return TwoHeads(), (2, 6)


class Residual(nn.Module):
    """Every operation that hls4ml rounds, a batch norm that stays, and one that is folded."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.conv1_norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.average, self.largest = nn.AvgPool2d(2), nn.MaxPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)
        self.leaky = nn.LeakyReLU(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.conv1_norm(self.conv1(self.norm(x))))
        pooled = self.largest(self.average(torch.relu(self.conv2(inner) + inner)))
        out: torch.Tensor = self.fc3(self.leaky(self.fc2(self.fc1(torch.flatten(pooled, 1)))))
        return out


def residual() -> tuple[nn.Module, tuple[int, ...]]:
    return Residual(), (2, 4, 4)


class Tables(nn.Module):
    """Activations that hls4ml reads from tables, and means over three, four and nine values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.mean3, self.mean2 = nn.AvgPool2d(3), nn.AvgPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 2)
        self.tanh, self.elu, self.sigmoid = nn.Tanh(), nn.ELU(0.7), nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mean2(self.conv2(self.mean3(self.tanh(self.conv1(x)))))
        x = self.elu(self.fc1(torch.flatten(x, 1)))
        out: torch.Tensor = self.sigmoid(self.fc3(self.tanh(self.fc2(x))))
        return out


def tables() -> tuple[nn.Module, tuple[int, ...]]:
    return Tables(), (2, 6, 6)


class Branches(nn.Module):
    """A sequence that two convolutions read, of which only the second one is padded."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv1d(2, 3, 1), nn.Conv1d(2, 3, 3, padding=1)
        self.fc = nn.Linear(36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([self.narrow(x), self.wide(x)], 1)
        out: torch.Tensor = self.fc(torch.flatten(both, 1))
        return out


def branches() -> tuple[nn.Module, tuple[int, ...]]:
    return Branches(), (2, 6)


SATURATED = {
    "precision": "fixed<10,4,RND,SAT>",
    "weight_precision": "fixed<6,2>",
    "layers": {"fc1": {"precision": "fixed<9,4>"}, "conv2": {"precision": "fixed<12,5>"}},
}
CASES: list[tuple[Any, dict[str, Any]]] = [
    (dense, {"layers": {"_0": {"reuse_factor": 4}, "_2": {"reuse_factor": 20}}}),
    (dense, {"reuse_factor": 1, "weight_precision": "fixed<8,2>"}),
    (conv2d, {"io_type": "io_stream", "layers": {"_0": {"reuse_factor": 9}}}),
    (conv2d, {"io_type": "io_parallel", "layers": {"_4": {"reuse_factor": 6}}}),
    (conv1d, {"io_type": "io_stream", "layers": {"_4": {"reuse_factor": 8}}}),
    (sequence, {"io_type": "io_stream", "layers": {"_0": {"reuse_factor": 3}}}),
    (sequence, {"io_type": "io_parallel", "layers": {"_5": {"reuse_factor": 5}}}),
    (image_mlp, {"io_type": "io_parallel", "layers": {"_2": {"reuse_factor": 4}}}),
    (image_mlp, {"io_type": "io_stream", "layers": {"_2": {"reuse_factor": 8}}}),
    (two_heads, {"io_type": "io_parallel", "layers": {"left": {"reuse_factor": 4}}}),
    (two_heads, {"io_type": "io_stream", "layers": {"right": {"reuse_factor": 6}}}),
    (sequence, {"backend": "Vivado", "io_type": "io_stream", "reuse_factor": 2}),
    (residual, {"io_type": "io_stream", **SATURATED}),
    (residual, {"io_type": "io_parallel", **SATURATED}),
    (grid, {"io_type": "io_stream", "layers": {"_0": {"reuse_factor": 12}}}),
    (branches, {"io_type": "io_stream"}),
    (dense, {"layers": {"_2": {"output_precision": "fixed<9,4,RND,SAT>"}}}),
    (tables, {"io_type": "io_parallel", "precision": "fixed<14,5>"}),
    (tables, {"io_type": "io_stream", "precision": "fixed<9,4>"}),
]


@pytest.mark.parametrize(("make", "hardware"), CASES)
def test_bit_exact(make: Any, hardware: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, shape = make()
    model(torch.randn(16, *shape))
    planned = plan(trace(model, shape), HardwareSpec.model_validate(hardware))
    groups = build_groups(planned, PruneSpec())
    keep = np.random.default_rng(0).random(len(groups)) < 0.5
    for layer in groups.layers:
        layer.weight_of(model).data.mul_(groups.masks(keep)[layer.plan.name])
    conversion = convert(model.eval(), planned, tmp_path)
    conversion.write()
    # Twice as far as usual, so that types wrap and tables end.
    x = 2 * torch.randn(50, *shape)
    parity, compared = compare(conversion, x, torch.zeros(50, dtype=torch.int64))
    assert compared.cpp[""].shape == (50, planned.network.n_outputs)
    assert parity.agreement == 1.0
    assert parity.largest_error == 0.0
    assert {layer.name for layer in planned.layers} <= {layer.name for layer in parity.layers}
    assert all(layer.largest_error == 0.0 for layer in parity.layers)
    assert parity.holds
    # What decides in a sweep is computed from the network as it is trained: not folded, in floats.
    with torch.no_grad():
        measured = deployed(model, planned)(x).numpy()
    np.testing.assert_array_equal(measured, compared.cpp[""])
