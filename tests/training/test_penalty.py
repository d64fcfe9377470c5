"""Penalties: autograd and the proximal optimum as oracles."""

from typing import Any

import pytest
import torch
from torch import nn

from rfprune.groups import Groups, build_groups
from rfprune.network import plan, trace
from rfprune.spec import HardwareSpec, PruneSpec
from rfprune.training import group_penalty, weight_penalty


def make(reuse_factor: int = 4) -> tuple[nn.Module, Groups]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    planned = plan(trace(model, (16,)), HardwareSpec(reuse_factor=reuse_factor))
    return model, build_groups(planned, PruneSpec())


def strengths(groups: Groups, value: float) -> list[torch.Tensor]:
    return [torch.full((layer.count,), value) for layer in groups.layers]


def test_gradient_form_is_autograd_of_the_formula() -> None:
    model, groups = make()
    for layer in groups.layers:
        layer.weight_of(model).grad = torch.ones_like(layer.weight_of(model))
    group_penalty(model, groups, strengths(groups, 0.3), proximal=False).add_gradient()
    for layer in groups.layers:
        weight = layer.weight_of(model)
        copy = weight.detach().clone().requires_grad_()
        (copy.sum() + 0.3 * copy.reshape(-1, 4).norm(dim=1).sum()).backward()
        torch.testing.assert_close(weight.grad, copy.grad, rtol=1e-4, atol=1e-6)


def test_l1_gradient_is_autograd_of_the_formula() -> None:
    model, groups = make()
    for layer in groups.layers:
        layer.weight_of(model).grad = torch.zeros_like(layer.weight_of(model))
    weight_penalty(model, groups, strengths(groups, 0.3), proximal=False).add_gradient()
    for layer in groups.layers:
        weight = layer.weight_of(model)
        copy = weight.detach().clone().requires_grad_()
        (0.3 * copy.abs().sum()).backward()
        torch.testing.assert_close(weight.grad, copy.grad)


def test_proximal_step_is_the_optimum() -> None:
    """The step minimises ``|u - w|^2 / 2 + lr * s * |u|`` for every group."""
    model, groups = make()
    layer = groups.layers[0]
    before = layer.weight_of(model).detach().clone().reshape(-1, 4)
    group_penalty(model, groups, strengths(groups, 2.0), proximal=True).shrink(0.1)
    after = layer.weight_of(model).detach().reshape(-1, 4)

    def objective(u: torch.Tensor) -> torch.Tensor:
        return ((u - before) ** 2).sum(1) / 2 + 0.2 * u.norm(dim=1)

    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        nearby = after + 0.05 * torch.randn(after.shape, generator=rng)
        assert (objective(after) <= objective(nearby) + 1e-6).all()
    assert (before.norm(dim=1) <= 0.2).sum() == (after.norm(dim=1) == 0).sum()


def test_proximal_reaches_exact_zeros_by_groups() -> None:
    model, groups = make()
    penalty = group_penalty(model, groups, strengths(groups, 5.0), proximal=True)
    for _ in range(10):
        penalty.shrink(0.02)
    for layer in groups.layers:
        zero = (layer.weight_of(model).reshape(-1, 4) == 0).sum(1)
        assert set(zero.tolist()) <= {0, 4}
        assert (zero == 4).any()


def test_l1_soft_threshold() -> None:
    model, groups = make()
    before = model[0].weight.detach().clone()
    weight_penalty(model, groups, strengths(groups, 1.0), proximal=True).shrink(0.05)
    expected = before.sign() * (before.abs() - 0.05).clamp_min(0)
    torch.testing.assert_close(model[0].weight.detach(), expected)


@pytest.mark.parametrize("build", [group_penalty, weight_penalty])
def test_each_layer_has_its_own_strength(build: Any) -> None:
    model, groups = make()
    own = [
        torch.full((layer.count,), value)
        for layer, value in zip(groups.layers, (1.0, 3.0), strict=True)
    ]
    pulls = []
    for chosen in (strengths(groups, 1.0), own):
        for layer in groups.layers:
            layer.weight_of(model).grad = torch.zeros_like(layer.weight_of(model))
        build(model, groups, chosen, False).add_gradient()
        pulls.append([layer.weight_of(model).grad for layer in groups.layers])
    torch.testing.assert_close(pulls[1][0], pulls[0][0])
    torch.testing.assert_close(pulls[1][1], 3 * pulls[0][1])


def test_a_pruned_group_gets_no_pull() -> None:
    model, groups = make()
    layer = groups.layers[0]
    weight = layer.weight_of(model)
    with torch.no_grad():
        weight.zero_()
    for one in groups.layers:
        one.weight_of(model).grad = torch.zeros_like(one.weight_of(model))
    group_penalty(model, groups, strengths(groups, 1.0), False).add_gradient()
    assert weight.grad is not None
    assert (weight.grad == 0).all()
