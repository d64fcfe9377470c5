"""Networks with mixed layers for the tests of groups."""

from typing import Any

import pytest
import torch
from torch import nn

from rfprune.fpga.groups import Groups, build_groups
from rfprune.fpga.layers import plan, trace
from rfprune.spec import HardwareSpec, PruneSpec


def make_groups(
    model: nn.Module, shape: tuple[int, ...], hardware: dict[str, Any], **prune: Any
) -> Groups:
    planned = plan(trace(model, shape), HardwareSpec.model_validate(hardware))
    return build_groups(planned, PruneSpec.model_validate(prune))


@pytest.fixture
def mixed() -> tuple[nn.Module, Groups]:
    """A network with conv, flatten and dense layers, each with another reuse factor."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 12), nn.ReLU(), nn.Linear(12, 5)
    )
    layers = {"_0": {"reuse_factor": 9}, "_3": {"reuse_factor": 8}, "_5": {"reuse_factor": 1}}
    hardware = {"io_type": "io_stream", "layers": layers}
    return model, make_groups(model, (2, 6, 6), hardware)
