"""Losses against torch's own, and what weights of rows mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfprune.tasks import TaskSpec, make_task
from rfprune.tasks.losses import LOSSES, bce, cross_entropy

F = nn.functional
Made = tuple[Tensor, Tensor]


def classes() -> Made:
    return torch.randn(40, 7), torch.randint(7, (40,))


def class_probabilities() -> Made:
    return torch.randn(40, 7), torch.randn(40, 7).softmax(1)


def labels() -> Made:
    return torch.randn(40, 1), torch.randint(2, (40, 1)).float()


def label_probabilities() -> Made:
    return torch.randn(40, 1), torch.rand(40, 1)


def probabilities() -> Made:
    return torch.rand(40, 1), torch.randint(2, (40, 1)).float()


def numbers() -> Made:
    return torch.randn(40, 3), torch.randn(40, 3)


CASES: list[Any] = [
    pytest.param("cross_entropy", {}, classes, F.cross_entropy, id="classes"),
    pytest.param("cross_entropy", {}, class_probabilities, F.cross_entropy, id="soft classes"),
    pytest.param("bce", {}, labels, F.binary_cross_entropy_with_logits, id="logits"),
    pytest.param("bce", {}, label_probabilities, F.binary_cross_entropy_with_logits, id="soft"),
    pytest.param("bce", {"logits": False}, probabilities, F.binary_cross_entropy, id="sigmoid"),
    pytest.param("mse", {}, numbers, F.mse_loss, id="mse"),
    pytest.param("mae", {}, numbers, F.l1_loss, id="mae"),
    pytest.param("huber", {}, numbers, F.huber_loss, id="huber"),
    pytest.param(
        "huber", {"delta": 0.3}, numbers, lambda a, b: F.huber_loss(a, b, delta=0.3), id="delta"
    ),
]


@pytest.mark.parametrize(("name", "arguments", "make", "torchs"), CASES)
def test_a_loss_is_torch_s_with_its_gradient(
    name: str,
    arguments: dict[str, Any],
    make: Callable[[], Made],
    torchs: Callable[[Tensor, Tensor], Tensor],
) -> None:
    output, target = make()
    ours, theirs = (output.clone().requires_grad_() for _ in range(2))
    found, expected = LOSSES[name](ours, target, **arguments), torchs(theirs, target)
    assert found.shape == ()
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(("name", "arguments", "make", "torchs"), CASES)
def test_weights_are_those_of_a_mean_over_rows(
    name: str,
    arguments: dict[str, Any],
    make: Callable[[], Made],
    torchs: Callable[[Tensor, Tensor], Tensor],
) -> None:
    output, target = make()
    weight = torch.rand(40) * (torch.rand(40) > 0.2)
    each = torch.stack([torchs(output[i : i + 1], target[i : i + 1]) for i in range(len(output))])
    expected = (weight * each).sum() / weight.sum()
    torch.testing.assert_close(LOSSES[name](output, target, weight, **arguments), expected)
    equal = LOSSES[name](output, target, torch.full((40,), 2.5), **arguments)
    torch.testing.assert_close(equal, torchs(output, target))


def test_cross_entropy_is_torch_s() -> None:
    logits = torch.randn(40, 7)
    for y in (torch.randint(7, (40,)), torch.randn(40, 7).softmax(1)):
        expected = nn.functional.cross_entropy(logits, y)
        torch.testing.assert_close(cross_entropy(logits, y), expected)


def test_large_logits_have_a_finite_loss_and_gradient() -> None:
    output = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = bce(output, torch.tensor([[0.0], [1.0]]))
    assert float(loss.detach()) == 1e4
    loss.backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("classification", "cross_entropy"),
        ("binary", "bce"),
        ("regression", "mse"),
        ({"name": "regression", "loss": "mae"}, "mae"),
        ({"name": "regression", "loss": "huber", "loss_args": {"delta": 2.0}}, "huber"),
    ],
)
def test_a_task_has_the_loss_that_it_names(task: Any, expected: str) -> None:
    spec = TaskSpec.model_validate(task)
    made = {"classification": classes, "binary": labels, "regression": numbers}[spec.name]
    output, target = made()
    weight = torch.rand(40)
    found = make_task(spec)
    for rows in (None, weight):
        wanted = LOSSES[expected](output, target, rows, **spec.loss_args)
        torch.testing.assert_close(found.loss(output, target, rows), wanted)
