"""Regularizers: autograd and the proximal optimum as oracles, on hardware groups and kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfprune.fpga.prunable import GroupPrunable
from rfprune.methods import find_method
from rfprune.pruning import GroupedWeight, Session
from rfprune.pruning.regularizers import group_penalty, weight_penalty
from rfprune.spec import TrialSpec
from rfprune.trial.dense import dense_network
from rfprune.trial.prepare import prepare
from tests.edge.conftest import small as small_on_a_device
from tests.pruning.cases import hardware_groups
from tests.trial.conftest import small as small_on_an_fpga


def make(reuse_factor: int = 4) -> tuple[nn.Module, GroupPrunable]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    return model, hardware_groups(model, 16, reuse_factor=reuse_factor)[1]


def strengths(prunable: GroupPrunable, value: float) -> list[Tensor]:
    return [torch.full((int(count),), value) for count in prunable.counts]


def tensors(model: nn.Module, prunable: GroupPrunable) -> list[Tensor]:
    return [weight.of(model) for weight in prunable.weights]


def test_gradient_form_is_autograd_of_the_formula() -> None:
    model, groups = make()
    for weight in tensors(model, groups):
        weight.grad = torch.ones_like(weight)
    group_penalty(model, groups.weights, strengths(groups, 0.3), proximal=False).add_gradient()
    for weight in tensors(model, groups):
        copy = weight.detach().clone().requires_grad_()
        (copy.sum() + 0.3 * copy.reshape(-1, 4).norm(dim=1).sum()).backward()
        torch.testing.assert_close(weight.grad, copy.grad, rtol=1e-4, atol=1e-6)


def test_l1_gradient_is_autograd_of_the_formula() -> None:
    model, groups = make()
    for weight in tensors(model, groups):
        weight.grad = torch.zeros_like(weight)
    weight_penalty(model, groups.weights, strengths(groups, 0.3), proximal=False).add_gradient()
    for weight in tensors(model, groups):
        copy = weight.detach().clone().requires_grad_()
        (0.3 * copy.abs().sum()).backward()
        torch.testing.assert_close(weight.grad, copy.grad)


def test_proximal_step_is_the_optimum() -> None:
    """The step minimises ``|u - w|^2 / 2 + lr * s * |u|`` for every group."""
    model, groups = make()
    weight = tensors(model, groups)[0]
    before = weight.detach().clone().reshape(-1, 4)
    group_penalty(model, groups.weights, strengths(groups, 2.0), proximal=True).shrink(0.1)
    after = weight.detach().reshape(-1, 4)

    def objective(u: Tensor) -> Tensor:
        return ((u - before) ** 2).sum(1) / 2 + 0.2 * u.norm(dim=1)

    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        nearby = after + 0.05 * torch.randn(after.shape, generator=rng)
        assert (objective(after) <= objective(nearby) + 1e-6).all()
    assert (before.norm(dim=1) <= 0.2).sum() == (after.norm(dim=1) == 0).sum()


def test_proximal_reaches_exact_zeros_by_groups() -> None:
    model, groups = make()
    penalty = group_penalty(model, groups.weights, strengths(groups, 5.0), proximal=True)
    for _ in range(10):
        penalty.shrink(0.02)
    for weight in tensors(model, groups):
        zero = (weight.reshape(-1, 4) == 0).sum(1)
        assert set(zero.tolist()) <= {0, 4}
        assert (zero == 4).any()


def test_l1_soft_threshold() -> None:
    model, groups = make()
    before = model[0].weight.detach().clone()
    weight_penalty(model, groups.weights, strengths(groups, 1.0), proximal=True).shrink(0.05)
    expected = before.sign() * (before.abs() - 0.05).clamp_min(0)
    torch.testing.assert_close(model[0].weight.detach(), expected)


@pytest.mark.parametrize("build", [group_penalty, weight_penalty])
def test_each_layer_has_its_own_strength(build: Any) -> None:
    model, groups = make()
    own = [
        torch.full((int(count),), value)
        for count, value in zip(groups.counts, (1.0, 3.0), strict=True)
    ]
    pulls = []
    for chosen in (strengths(groups, 1.0), own):
        for weight in tensors(model, groups):
            weight.grad = torch.zeros_like(weight)
        build(model, groups.weights, chosen, False).add_gradient()
        pulls.append([weight.grad for weight in tensors(model, groups)])
    torch.testing.assert_close(pulls[1][0], pulls[0][0])
    torch.testing.assert_close(pulls[1][1], 3 * pulls[0][1])


def test_a_pruned_group_gets_no_pull() -> None:
    model, groups = make()
    weight = tensors(model, groups)[0]
    with torch.no_grad():
        weight.zero_()
    for one in tensors(model, groups):
        one.grad = torch.zeros_like(one)
    group_penalty(model, groups.weights, strengths(groups, 1.0), False).add_gradient()
    assert weight.grad is not None
    assert (weight.grad == 0).all()


BUILD: dict[str, Any] = {"group": group_penalty, "weight": weight_penalty}


def convolution(weight: Tensor) -> tuple[nn.Module, list[GroupedWeight]]:
    """Return a convolution whose kernels are the groups."""
    n_out, n_in, height, width = weight.shape
    model = nn.Conv2d(n_in, n_out, (height, width), bias=False, dtype=weight.dtype)
    size = n_in * height * width
    with torch.no_grad():
        model.weight.copy_(weight)
    label = torch.arange(n_out).repeat_interleave(size)
    return model, [GroupedWeight("weight", 0, label, size, rows=True)]


@pytest.mark.parametrize("kind", ["group", "weight"])
def test_the_penalty_on_kernels_is_the_gradient_of_its_formula(kind: str) -> None:
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    rows = weight.flatten(1)
    term = rows.norm(dim=1).sum() * 18**0.5 if kind == "group" else rows.abs().sum()
    (expected,) = torch.autograd.grad(0.3 * term, weight)
    model, weights = convolution(weight.detach())
    model.weight.grad = torch.zeros_like(model.weight)
    strength = 0.3 * (18**0.5 if kind == "group" else 1.0)
    full = [torch.full((3,), strength, dtype=torch.float64)]
    BUILD[kind](model, weights, full, False).add_gradient()
    assert torch.allclose(model.weight.grad, expected)


@pytest.mark.parametrize("kind", ["group", "weight"])
def test_the_proximal_step_on_kernels_reaches_zeros_and_keeps_them(kind: str) -> None:
    model, weights = convolution(
        torch.cat([torch.full((1, 2, 3, 3), 1e-4), torch.ones(1, 2, 3, 3)])
    )
    strength = 1e-2 * (18**0.5 if kind == "group" else 1.0)
    penalty = BUILD[kind](model, weights, [torch.full((2,), strength)], True)
    assert penalty.proximal
    for _ in range(2):
        penalty.shrink(0.1)
        assert (model.weight[0] == 0).all()
    assert (model.weight[1] > 0.9).all()
    assert (model.weight[1] < 1).all()


TARGETS = {"fpga": small_on_an_fpga, "edge": small_on_a_device}


def session(home: Path, target: str, **prune: Any) -> Session:
    spec: TrialSpec = TARGETS[target](prune=prune, train={"epochs": 1})
    prepared = prepare(spec, home)
    dense = dense_network(spec, prepared.data, prepared.task, home / "dense", home)
    return prepared.session(dense, prepared.data)


def pulled(case: Session, prices: np.ndarray | None = None) -> dict[str, Tensor]:
    """Return what the regularizer adds to the gradient, by parameter."""
    for parameter in case.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalty = case.penalty(prices)
    assert penalty is not None
    penalty.add_gradient()
    return {name: p.grad.clone() for name, p in case.model.named_parameters() if p.grad is not None}


def norms_by_group(weight: Tensor, group: GroupedWeight, count: int) -> Tensor:
    flat = weight.reshape(-1)
    return torch.stack([flat[group.label == g].norm() for g in range(count)])


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_group_lasso_weighs_groups_by_the_root_of_their_size(
    tmp_path: Path, target: str
) -> None:
    case = session(tmp_path, target, method="greedy", regularizer={"weight": 0.01})
    found = pulled(case)
    for group in case.prunable.weights:
        count = int(case.prunable.counts[group.layer])
        copy = case.model.get_parameter(group.parameter).detach().clone().requires_grad_()
        (0.01 * group.size**0.5 * norms_by_group(copy, group, count).sum()).backward()
        assert copy.grad is not None
        torch.testing.assert_close(found.pop(group.parameter), copy.grad, rtol=1e-3, atol=1e-5)
    assert all((rest == 0).all() for rest in found.values())


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_lasso_of_l1_is_on_single_weights(tmp_path: Path, target: str) -> None:
    assert find_method("l1").penalty == "weight"
    case = session(tmp_path, target, method="l1", regularizer={"weight": 0.01})
    found = pulled(case)
    for group in case.prunable.weights:
        weight = case.model.get_parameter(group.parameter).detach()
        torch.testing.assert_close(found[group.parameter], 0.01 * weight.sign())


def test_prices_press_more_on_what_holds_more(tmp_path: Path) -> None:
    case = session(tmp_path, "fpga", method="knapsack", regularizer={"weight": 0.01})
    assert not case.spec.prune.regularizer.priced
    prices = np.array([2.0, 0.0, np.inf, np.inf])
    plain = pulled(case)
    same = pulled(case, prices)
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    regularizer = case.spec.prune.regularizer.model_copy(update={"priced": True})
    prune = case.spec.prune.model_copy(update={"regularizer": regularizer})
    case.spec = case.spec.model_copy(update={"prune": prune})
    priced = pulled(case, prices)
    worth = case.prunable.cost(np.ones(len(case.prunable.layer_index), dtype=bool))[:, 0]
    factor = torch.from_numpy(1 + worth / worth.mean()).float()
    starts = np.cumsum([0, *case.prunable.counts])
    for group in case.prunable.weights:
        of_weight = factor[group.label + starts[group.layer]]
        expected = plain[group.parameter] * of_weight.reshape(plain[group.parameter].shape)
        torch.testing.assert_close(priced[group.parameter], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_without_a_weight_there_is_no_regularizer(tmp_path: Path, target: str) -> None:
    case = session(tmp_path, target, method="greedy", regularizer={"weight": 0.0})
    assert case.penalty(None) is None
