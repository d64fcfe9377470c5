"""Scores against slow, direct formulas."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfprune.groups import Groups, build_groups
from rfprune.network import plan, trace
from rfprune.scores import NORMALIZERS, SCORES, score_groups
from rfprune.spec import HardwareSpec, PruneSpec


@pytest.fixture
def case() -> tuple[nn.Module, Groups, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    planned = plan(
        trace(model, (8,)), HardwareSpec.model_validate({"layers": {"_0": {"reuse_factor": 4}}})
    )
    x, y = torch.randn(12, 8), torch.randint(0, 3, (12,))
    return model, build_groups(planned, PruneSpec()), [(x, y)]


Case = tuple[nn.Module, Groups, list[tuple[Tensor, Tensor]]]


def scored(case: Case, score: str, normalize: str = "none") -> np.ndarray:
    model, groups, batches = case
    return score_groups(model, groups, score, normalize, batches, np.random.default_rng(0))


def per_group(groups: Groups, values: list[Tensor]) -> np.ndarray:
    parts = []
    for layer, value in zip(groups.layers, values, strict=True):
        flat = value.detach().reshape(-1).double()
        parts += [float(flat[layer.label == g].sum()) for g in range(layer.count)]
    return np.array(parts)


def test_norms(case: Case) -> None:
    model, groups, _ = case
    weights = [layer.weight_of(model) for layer in groups.layers]
    np.testing.assert_allclose(scored(case, "l1"), per_group(groups, [w.abs() for w in weights]))
    squares = per_group(groups, [w.double() ** 2 for w in weights])
    np.testing.assert_allclose(scored(case, "l2"), np.sqrt(squares))


def test_taylor(case: Case) -> None:
    model, groups, [(x, y)] = case
    weights = [layer.weight_of(model) for layer in groups.layers]
    gradients = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), weights)
    expected = np.abs(per_group(groups, [w * g for w, g in zip(weights, gradients, strict=True)]))
    np.testing.assert_allclose(scored(case, "taylor"), expected, rtol=1e-5)


def test_fisher_is_the_true_diagonal(case: Case) -> None:
    model, groups, [(x, y)] = case
    weights = [layer.weight_of(model) for layer in groups.layers]
    squares = [torch.zeros_like(w) for w in weights]
    for row, label in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(model(row[None]), label[None])
        for total, gradient in zip(squares, torch.autograd.grad(loss, weights), strict=True):
            total += gradient**2 / len(x)
    saliency = [0.5 * w**2 * s for w, s in zip(weights, squares, strict=True)]
    np.testing.assert_allclose(scored(case, "fisher"), per_group(groups, saliency), rtol=1e-4)


@pytest.mark.parametrize("score", sorted(SCORES))
@pytest.mark.parametrize("normalize", sorted(NORMALIZERS))
def test_shape_sign_and_repeatability(case: Case, score: str, normalize: str) -> None:
    first = scored(case, score, normalize)
    assert first.shape == (len(case[1]),)
    assert (first >= 0).all()
    np.testing.assert_array_equal(first, scored(case, score, normalize))


def test_layer_max_makes_layers_comparable(case: Case) -> None:
    values = scored(case, "l2", "layer_max")
    layer = case[1].layer_index
    assert [values[layer == k].max() for k in (0, 1)] == [1.0, 1.0]


def test_scores_leave_weights_and_mode_alone(case: Case) -> None:
    model, _, _ = case
    before = [p.detach().clone() for p in model.parameters()]
    for score in SCORES:
        scored(case, score)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
