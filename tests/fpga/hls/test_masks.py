"""Masks of groups survive folding, saving and reloading, and stand in hls4ml's own arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.fpga.groups import build_groups
from rfprune.fpga.hls import convert
from rfprune.fpga.layers import fold_batch_norm, plan, trace
from rfprune.spec import HardwareSpec, PruneSpec


def cnn() -> tuple[nn.Module, tuple[int, ...]]:
    layers = (nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(96, 8), nn.BatchNorm1d(8)), (2, 6, 6)


def sequence() -> tuple[nn.Module, tuple[int, ...]]:
    layers = (nn.Linear(8, 6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 8), nn.BatchNorm1d(8))
    return nn.Sequential(*layers), (4, 8)


@pytest.mark.parametrize("make", [cnn, sequence])
@pytest.mark.parametrize("structure", ["dsp", "bram", "filter", "block"])
@pytest.mark.parametrize("io_type", ["io_stream", "io_parallel"])
def test_masks_survive(make: Any, structure: str, io_type: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, shape = make()
    model(torch.randn(16, *shape))
    hardware = HardwareSpec.model_validate({"io_type": io_type, "reuse_factor": 2})
    planned = plan(trace(model, shape), hardware)
    groups = build_groups(
        planned, PruneSpec.model_validate({"structure": structure, "block": (2, 5)})
    )
    masks = groups.masks(np.random.default_rng(0).random(len(groups)) < 0.5)
    for layer in groups.layers:
        layer.weight_of(model).data.mul_(masks[layer.plan.name])
    live = groups.live(model)

    torch.save(model.state_dict(), tmp_path / "weights.pt")
    again, _ = make()
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    folded = fold_batch_norm(again, planned.network)
    assert groups.live(again) == groups.live(folded) == live
    conversion = convert(again, planned, tmp_path / "hls")
    for layer in groups.layers:
        mask = masks[layer.plan.name]
        assert torch.equal(layer.weight_of(folded) != 0, mask.bool())
        theirs = conversion.graph.graph[layer.plan.name].weights["weight"].data.reshape(-1)
        assert np.array_equal(theirs != 0, mask.numpy().reshape(-1)[layer.plan.order] != 0)
        assert conversion.live_multipliers()[layer.plan.name] == live[layer.plan.name]
