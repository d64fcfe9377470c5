"""Costs on a device: counted, additive where they must be, and never above the dense network's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.edge.costs import EDGE_RESOURCES, EdgeCosts
from rfprune.edge.kernels import KernelCounts, shrink, trace_kernels
from rfprune.edge.monitor import DEVICES, DeviceProfile
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.spec import EdgeSpec
from tests.edge.kernels.networks import count

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return build(ModelSpec(name="edge_cnn", args={"channels": [6, 8]}), SHAPE, 10)


def costs_of(model: nn.Module, **edge: Any) -> EdgeCosts:
    kernels = trace_kernels(model, SHAPE)
    return EdgeCosts(kernels, DEVICES["raspberry_pi_4"], EdgeSpec.model_validate(edge))


def test_costs_are_those_of_the_smaller_network(model: nn.Module) -> None:
    costs = costs_of(model, batch_size=4)
    masks = costs.kernels.masks(model, {"stem": 0.5, "residual1.conv1": 1.0})
    smaller = count(shrink(model, masks), SHAPE)
    found = dict(zip(EDGE_RESOURCES, costs.resources(masks.kept), strict=True))
    assert found["macs"] == smaller.total_macs
    assert found["kernels"] == masks.kept.sum()
    expected = by_hand(costs.device, smaller, batch_size=4)
    assert costs.readings(masks.kept).time.value == pytest.approx(expected[0], rel=1e-12)
    assert found["energy_mj"] == pytest.approx(expected[1], rel=1e-12)


def by_hand(device: DeviceProfile, counts: KernelCounts, batch_size: int) -> tuple[float, float]:
    """Return seconds and millijoule of an image, layer by layer."""
    parts, seconds, picojoule = device.fp32_efficiency, 0.0, 0.0
    shares = {"dense": parts.dense, "pointwise": parts.pointwise, "grouped": parts.grouped}
    for macs, weights, outputs, inputs, kind in zip(
        counts.macs.tolist(),
        counts.parameters.tolist(),
        counts.activation_bytes.tolist(),
        counts.inputs.tolist(),
        counts.kinds,
        strict=True,
    ):
        part = shares.get(kind, 1.0)
        if kind != "grouped" and macs:
            part *= inputs / (inputs + parts.half_inputs)
        read = 4 * weights / batch_size
        seconds += max(
            macs / part / device.fp32_macs_per_second, read / device.dram_bytes_per_second
        )
        seconds += 2 * outputs * parts.cache_ns_per_byte * 1e-9
        picojoule += macs / part * device.fp32_pj_per_mac + read * device.dram_pj_per_byte
        picojoule += 2 * outputs * device.cache_pj_per_byte
    return seconds, device.static_mw * seconds + picojoule * 1e-9


def test_marginal_costs_are_differences(model: nn.Module) -> None:
    costs = costs_of(model)
    kept = np.array([3, 8, 1])
    less = np.array([[2, 8, 1], [3, 7, 1], [3, 8, 2]])
    expected = np.abs(costs.resources(less) - costs.resources(kept))
    assert np.allclose(costs.marginal(kept), expected, rtol=1e-9)


def test_at_a_fixed_rate_a_smaller_network_draws_less_power(model: nn.Module) -> None:
    costs = costs_of(model, images_per_second=10.0)
    dense, half = costs.kernels.n_kernels, costs.kernels.n_kernels // 2
    rate, device = 10.0, costs.device
    for kept in (dense, half):
        found = costs.readings(kept)
        busy = found.energy.value - device.static_mw * found.time.value
        assert found.power.value == pytest.approx(device.static_mw + busy * rate)
    assert costs.share(half) < costs.share(dense) == 1.0


def test_without_a_rate_the_agent_lowers_energy(model: nn.Module) -> None:
    costs = costs_of(model)
    half = costs.kernels.n_kernels // 2
    at = EDGE_RESOURCES.index("energy_mj")
    assert costs.share(half) == pytest.approx(costs.resources(half)[at] / costs.dense[at])


def test_int8_costs_less(model: nn.Module) -> None:
    at = EDGE_RESOURCES.index("energy_mj")
    assert costs_of(model, precision="int8").dense[at] < costs_of(model).dense[at]


@pytest.mark.parametrize("device", sorted(DEVICES))
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pruning_more_never_takes_longer(model: nn.Module, device: str, precision: str) -> None:
    kernels = trace_kernels(model, SHAPE)
    costs = EdgeCosts(kernels, DEVICES[device], EdgeSpec.model_validate({"precision": precision}))
    rng = np.random.default_rng(0)
    for _ in range(20):
        kept = rng.integers(1, kernels.n_kernels + 1)
        fewer = np.maximum(kept - rng.integers(0, 3, len(kept)), 1)
        more, less = costs.readings(kept), costs.readings(fewer)
        assert less.time.value <= more.time.value
        assert less.energy.value <= more.energy.value
        assert 0 < less.idle_share.value <= 1
