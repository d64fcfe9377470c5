"""Costs on a device: counted, additive where they must be, and never above the dense network's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.edge import EdgeCosts
from rfprune.edge.penalty import kernel_penalty
from rfprune.kernels import count, shrink, trace_kernels
from rfprune.models import ModelSpec, build
from rfprune.monitor import DEVICES, Workload, energy
from rfprune.quantities import EDGE_RESOURCES
from rfprune.spec import EdgeSpec

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
    seconds = costs.readings(masks.kept).time.value
    work = Workload(
        macs=float(smaller.total_macs),
        dram_bytes=4 * float(smaller.total_parameters) / 4,
        cache_bytes=2 * float(smaller.total_activation_bytes),
    )
    expected = energy(costs.device, work, seconds).value
    assert found["energy_mj"] == pytest.approx(expected, rel=1e-12)


def test_marginal_costs_are_differences(model: nn.Module) -> None:
    costs = costs_of(model)
    kept = np.array([3, 8, 1])
    less = np.array([[2, 8, 1], [3, 7, 1], [3, 8, 2]])
    expected = np.abs(costs.resources(less) - costs.resources(kept))
    assert np.array_equal(costs.marginal(kept), expected)


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


@pytest.mark.parametrize("kind", ["group", "weight"])
def test_the_penalty_is_the_gradient_of_its_formula(kind: str) -> None:
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    rows = weight.flatten(1)
    term = rows.norm(dim=1).sum() * 18**0.5 if kind == "group" else rows.abs().sum()
    (expected,) = torch.autograd.grad(0.3 * term, weight)
    weight.grad = torch.zeros_like(weight)
    kernel_penalty([weight], 0.3, kind, "gradient").add_gradient()
    assert torch.allclose(weight.grad, expected)


@pytest.mark.parametrize("kind", ["group", "weight"])
def test_the_proximal_step_reaches_zeros_and_keeps_them(kind: str) -> None:
    weight = torch.cat([torch.full((1, 2, 3, 3), 1e-4), torch.ones(1, 2, 3, 3)])
    penalty = kernel_penalty([weight], 1e-2, kind, "proximal")
    assert penalty.proximal
    penalty.shrink(0.1)
    assert (weight[0] == 0).all()
    assert (weight[1] > 0.9).all()
    assert (weight[1] < 1).all()
