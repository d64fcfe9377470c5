"""The C++ simulation equals torch in fixed point, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.groups import build_groups
from rfprune.hls import compare, convert
from rfprune.network import plan, trace
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


CASES: list[tuple[Any, dict[str, Any]]] = [
    (dense, {"layers": {"_0": {"reuse_factor": 4}, "_2": {"reuse_factor": 20}}}),
    (dense, {"reuse_factor": 1, "weight_precision": "fixed<8,2>"}),
    (conv2d, {"io_type": "io_stream", "layers": {"_0": {"reuse_factor": 9}}}),
    (conv2d, {"io_type": "io_parallel", "layers": {"_4": {"reuse_factor": 6}}}),
    (conv1d, {"io_type": "io_stream", "layers": {"_4": {"reuse_factor": 8}}}),
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
    x = torch.randn(50, *shape)
    parity, logits = compare(conversion, x, torch.zeros(50, dtype=torch.int64))
    assert logits.shape == (50, planned.network.n_outputs)
    assert parity.agreement == 1.0
    assert parity.largest_error <= parity.step
