"""Scores against slow, direct formulas, of hardware groups and of kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfprune.pruning.scores import NORMALIZERS, SCORES, score_groups
from rfprune.tasks import Task, TaskSpec, make_task
from tests.edge.kernels.networks import SHAPE, network
from tests.pruning.cases import CASES, CLASSES, Case, kernels_of


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def scored(case: Case, score: str, normalize: str = "none", task: Task = CLASSES) -> np.ndarray:
    rng = np.random.default_rng(0)
    return score_groups(case.model, case.prunable, score, normalize, case.batches, rng, task=task)


def by_group(case: Case, values: dict[str, Tensor]) -> np.ndarray:
    """Return (G,) the sums of values, by parameter, over the weights of each group."""
    n_groups = int(case.prunable.counts.sum())
    return sum((tensor_by_group(case, name, value, n_groups) for name, value in values.items()))


def tensor_by_group(case: Case, name: str, value: Tensor, n_groups: int) -> np.ndarray:
    flat, label = value.detach().double(), case.labels[name]
    return np.array([float(flat[label == group].sum()) for group in range(n_groups)])


def weights_of(case: Case) -> dict[str, Tensor]:
    return {name: case.model.get_parameter(name) for name in case.labels}


def test_every_weight_that_can_go_is_in_its_group(case: Case) -> None:
    found = {weight.parameter: weight for weight in case.prunable.weights}
    assert set(found) == set(case.labels)
    starts = np.cumsum([0, *case.prunable.counts])
    for name, weight in found.items():
        label = weight.label + int(starts[weight.layer])
        assert torch.equal(label, case.labels[name].reshape(-1))
        assert weight.size == int(torch.bincount(weight.label).max())


def test_norms(case: Case) -> None:
    weights = weights_of(case)
    absolute = {name: w.abs() for name, w in weights.items()}
    np.testing.assert_allclose(scored(case, "l1"), by_group(case, absolute))
    n_groups = int(case.prunable.counts.sum())
    # Of coupled convolutions the sum of their norms.
    norms = [
        np.sqrt(tensor_by_group(case, name, w.double() ** 2, n_groups))
        for name, w in weights.items()
    ]
    np.testing.assert_allclose(scored(case, "l2"), np.sum(norms, axis=0))


def test_taylor(case: Case) -> None:
    (x, y) = case.batches[0]
    weights = weights_of(case)
    loss = nn.functional.cross_entropy(case.model.eval()(x), y)
    gradients = torch.autograd.grad(loss, list(weights.values()))
    products = {name: w * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
    expected = np.abs(by_group(case, products))
    np.testing.assert_allclose(scored(case, "taylor"), expected, rtol=1e-5, atol=1e-9)


def test_taylor_adds_up_over_batches(case: Case) -> None:
    (x, y) = case.batches[0]
    halves = [(x[:7], y[:7]), (x[7:], y[7:])]
    whole = scored(case._replace(batches=halves), "taylor")
    parts = [scored(case._replace(batches=[half]), "taylor") for half in halves]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0))


def test_fisher_is_the_true_diagonal(case: Case) -> None:
    (x, y) = case.batches[0]
    weights = weights_of(case)
    squares = {name: torch.zeros_like(w) for name, w in weights.items()}
    for row, label in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(case.model.eval()(row[None]), label[None])
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for total, gradient in zip(squares.values(), gradients, strict=True):
            total += gradient**2 / len(x)
    saliency = {name: 0.5 * w**2 * squares[name] for name, w in weights.items()}
    np.testing.assert_allclose(scored(case, "fisher"), by_group(case, saliency), rtol=1e-4)


@pytest.mark.parametrize("score", ["taylor", "fisher"])
def test_gradients_are_of_the_loss_of_the_task(case: Case, score: str) -> None:
    (x, _) = case.batches[0]
    y = torch.randn_like(case.model.eval()(x))
    regression = make_task(TaskSpec.model_validate({"name": "regression", "loss": "mae"}))
    given = case._replace(batches=[(x, y)])
    weights = weights_of(case)
    rows = (
        [(x, y)] if score == "taylor" else [(a[None], b[None]) for a, b in zip(x, y, strict=True)]
    )
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    for inputs, wanted in rows:
        loss = nn.functional.l1_loss(case.model.eval()(inputs), wanted)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for (name, w), g in zip(weights.items(), gradients, strict=True):
            total[name] += w * g if score == "taylor" else 0.5 * w**2 * g**2 / len(x)
    expected = np.abs(by_group(case, total))
    found = scored(given, score, task=regression)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("score", sorted(SCORES))
@pytest.mark.parametrize("normalize", sorted(NORMALIZERS))
def test_shape_sign_and_repeatability(case: Case, score: str, normalize: str) -> None:
    first = scored(case, score, normalize)
    assert first.shape == (int(case.prunable.counts.sum()),)
    assert (first >= 0).all()
    np.testing.assert_array_equal(first, scored(case, score, normalize))


def test_normalizers_scale_each_layer_as_they_say(case: Case) -> None:
    plain, layer = scored(case, "l2"), case.prunable.layer_index
    for k, size in enumerate(case.prunable.sizes):
        own = plain[layer == k]
        for name, scale in (
            ("layer_max", own.max()),
            ("layer_mean", own.mean()),
            ("size", size**0.5),
        ):
            found = scored(case, "l2", name)[layer == k]
            np.testing.assert_allclose(found, own / scale)


def test_layer_max_makes_layers_comparable(case: Case) -> None:
    values = scored(case, "l2", "layer_max")
    layer = case.prunable.layer_index
    assert all(values[layer == k].max() == 1.0 for k in range(len(case.prunable.layers)))


def test_scores_leave_weights_and_mode_alone(case: Case) -> None:
    model = case.model
    for training in (True, False):
        model.train(training)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for score in SCORES:
            scored(case, score)
        assert model.training is training
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "densenet"])
@pytest.mark.parametrize("by", ["l1", "l2"])
def test_norms_of_kernels_are_their_ranks_where_depthwise_layers_and_gates_follow(
    name: str, by: str
) -> None:
    model = network(name)
    prunable = kernels_of(model, SHAPE)
    rng = np.random.default_rng(0)
    found = score_groups(model, prunable, by, "none", [], rng, task=CLASSES)
    ranks = prunable.kernels.rank(model, by)
    expected = torch.cat([ranks[layer] for layer in prunable.layers]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradients_are_not_asked_of_depthwise_convolutions() -> None:
    model = network("mobilenet_v3_small")
    x, y = torch.randn(4, *SHAPE), torch.randint(7, (4,))
    prunable = kernels_of(model, SHAPE)
    kernels = prunable.kernels
    rng = np.random.default_rng(0)
    found = score_groups(model, prunable, "taylor", "none", [(x, y)], rng, task=CLASSES)
    paths = [f"{path}.weight" for layer in kernels.prunable for path in layer.convs]
    weights = [model.get_parameter(path) for path in paths]
    gradients = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), weights)
    change = {
        path: (w * g).detach().flatten(1).sum(dim=1).double()
        for path, w, g in zip(paths, weights, gradients, strict=True)
    }
    expected = [
        sum(change[f"{path}.weight"] for path in layer.convs).abs() for layer in kernels.prunable
    ]
    np.testing.assert_allclose(found, torch.cat(expected).numpy(), rtol=1e-3, atol=1e-7)
