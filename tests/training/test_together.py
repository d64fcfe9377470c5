"""Trainings together: each network gets the weights that its own training gives it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfprune.errors import TrialError
from rfprune.models.networks import cnn, mlp
from rfprune.pruning import GroupedWeight
from rfprune.pruning.regularizers import group_penalty, weight_penalty
from rfprune.spec import TrainSpec
from rfprune.tasks import TaskSpec, make_task
from rfprune.training import Fit, fit, in_turns, no_gain, noted_alone
from rfprune.training.together import Training, fit_all, fit_in_turn

K = 4
#: After one epoch: sums in another order, carried along over its updates.
CLOSE = 1e-5


class Residual(nn.Module):
    """No plain sequence, so that it is left to torch.vmap."""

    def __init__(self) -> None:
        super().__init__()
        # No bias before the norm, whose gradient would be rounding alone.
        self.inside, self.last = nn.Linear(12, 12, bias=False), nn.Linear(12, 3)
        self.norm = nn.BatchNorm1d(12)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(x + self.norm(self.inside(x))))
        return found


def flat_network() -> nn.Module:
    return mlp((12,), 3, (16, 8), batch_norm=True)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: mlp((12,), 3, (16, 8)), (12,)),
    "mlp with batch norm": (flat_network, (12,)),
    "cnn with batch norm": (lambda: cnn((2, 8, 8), 3, (4, 6)), (2, 8, 8)),
    "no sequence": (Residual, (12,)),
}


def rows(shape: tuple[int, ...], n: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, *shape, generator=generator)
    return x, x.flatten(1)[:, :3].argmax(1)


def weights_of(model: nn.Module, group: int) -> list[GroupedWeight]:
    """Every kernel, in groups of so many weights that follow each other or lie apart."""
    found: list[GroupedWeight] = []
    for name, value in model.named_parameters():
        n, layer = value.numel(), len(found)
        if value.ndim > 1:
            label = torch.arange(n) // group if layer % 2 else torch.arange(n) % (n // group)
            found.append(GroupedWeight(name, layer, label, group, rows=bool(layer % 2)))
    return found


def job(model: nn.Module, x: Tensor, y: Any, k: int, **changes: Any) -> Training:
    """One of K trainings that differ in masks, strengths, groups and rates."""
    generator = torch.Generator().manual_seed(100 + k)
    kernels = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    masks = {
        name: (torch.rand(p.shape, generator=generator) > 0.2 * k).float()
        for name, p in kernels.items()
    }
    form = changes.pop("form", "proximal")
    build = changes.pop("build", group_penalty)
    train = {"batch_size": 32, **changes.pop("train", {})}
    penalty = None
    if form and k:
        grouped = weights_of(model, changes.pop("group", lambda k: 4)(k))
        counts = [int(weight.label.max()) + 1 for weight in grouped]
        strength = [torch.full((count,), 0.02 * k) for count in counts]
        penalty = build(model, grouped, strength, form == "proximal")
    changes.pop("group", None)
    how = Fit(
        epochs=1,
        learning_rate=3e-3 * (1 + 0.5 * k),
        train=TrainSpec.model_validate(train),
        seed=7,
        masks=masks if k else None,
        penalty=penalty,
    )
    return Training(model, x, y, replace(how, **{n: v(k) for n, v in changes.items()}))


def trained_both_ways(kind: str, **changes: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return K networks as `fit` trains each, and as they are trained together."""
    make, shape = NETWORKS[kind]
    x, y = changes.pop("rows", None) or rows(shape)
    torch.manual_seed(3)
    started = [make() for _ in range(K)]
    alone, together = copy.deepcopy(started), copy.deepcopy(started)
    for k, model in enumerate(alone):
        one = job(model, x, y, k, **dict(changes))
        fit(model, x, y, one.how)
    jobs = [job(model, x, y, k, **dict(changes)) for k, model in enumerate(together)]
    fit_all(jobs)
    assert [one.error for one in jobs] == [None] * K
    assert [one.alone for one in jobs] == [""] * K
    return alone, together


def assert_equal(pair: tuple[list[nn.Module], list[nn.Module]]) -> None:
    for k, (alone, together) in enumerate(zip(*pair, strict=True)):
        found = together.state_dict()
        assert not together.training
        for name, wanted in alone.state_dict().items():
            where = f"network {k}, {name}"
            assert torch.allclose(found[name], wanted, rtol=CLOSE, atol=CLOSE), where
            # What is masked, or shrunk away, is so in both.
            assert torch.equal(found[name] == 0, wanted == 0), where


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("optimizer", "form"), [("adam", "proximal"), ("sgd", "gradient")])
def test_masks_regularizers_and_rates_may_differ(kind: str, optimizer: str, form: str) -> None:
    assert_equal(trained_both_ways(kind, form=form, train={"optimizer": optimizer}))


def teacher(k: int) -> Tensor:
    generator = torch.Generator().manual_seed(50 + k)
    return torch.randn(200, 3, generator=generator)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": lambda k: k},
        {"group": lambda k: 2 if k % 2 else 8},
        {"build": weight_penalty},
        {"build": weight_penalty, "form": "gradient", "train": {"optimizer": "sgd"}},
        {"train": {"optimizer": "adamw", "weight_decay": 0.1}},
        {"train": {"optimizer": "sgd", "weight_decay": 0.1, "clip_norm": 0.05}},
        {"train": {"learning_rate_schedule": "cosine", "clip_norm": 0.5}},
        {"teacher": teacher, "distillation": lambda k: 0.2 * (k + 1)},
        {"weight": lambda k: torch.arange(200) % 3 + 0.5},
        {"seed": lambda k: k, "weight": lambda k: (torch.arange(200) % (k + 2)).float()},
        {"task": lambda k: make_task(TaskSpec.model_validate({"loss": f"{__name__}:own_loss"}))},
        {"penalty": lambda k: None, "masks": lambda k: None},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_whatever_else_may_differ(changes: dict[str, Any]) -> None:
    assert_equal(trained_both_ways("mlp", **changes))


def own_loss(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """A loss that is no mean over rows."""
    return nn.functional.cross_entropy(output, target).exp()


def test_images_are_shifted_for_each_order_of_the_rows() -> None:
    train = {"augment": {"crop_padding": 1, "flip": True}}
    assert_equal(trained_both_ways("cnn with batch norm", train=train, seed=lambda k: k % 3))


def test_a_task_that_looks_at_the_rows() -> None:
    spec = TaskSpec.model_validate({"name": "anomaly", "loss": "reconstruction"})
    x, _ = rows((12,))
    usual = torch.zeros(200, 1)
    torch.manual_seed(3)
    alone = [mlp((12,), 12, (6,)) for _ in range(K)]
    together = copy.deepcopy(alone)
    tasks = {"task": lambda k: make_task(spec)}
    for k, model in enumerate(alone):
        fit(model, x, usual, job(model, x, usual, k, **tasks).how)
    fit_all([job(model, x, usual, k, **tasks) for k, model in enumerate(together)])
    assert_equal((alone, together))


def test_one_that_does_not_stay_finite_fails_by_itself() -> None:
    x, y = rows((12,))
    torch.manual_seed(3)
    alone = [mlp((12,), 3, (16, 8)) for _ in range(K)]
    together = copy.deepcopy(alone)
    rates = {"learning_rate": lambda k: 1e30 if k == 2 else 1e-2, "train": {"optimizer": "sgd"}}
    for k, model in enumerate(alone):
        if k != 2:
            fit(model, x, y, job(model, x, y, k, **dict(rates)).how)
    jobs = [job(model, x, y, k, **dict(rates)) for k, model in enumerate(together)]
    fit_all(jobs)
    assert [type(one.error) for one in jobs] == [type(None)] * 2 + [TrialError, type(None)]
    for k in (0, 1, 3):
        for name, wanted in alone[k].state_dict().items():
            assert torch.equal(together[k].state_dict()[name], wanted)


class Dropping(nn.Module):
    """Drops out without a layer of its own, which only torch.vmap finds."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.output(nn.functional.dropout(x, 0.5, self.training))
        return found


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Sequential(nn.Dropout(0.2), nn.Linear(12, 3)), "draws random numbers"),
        (Dropping, "torch.vmap cannot compute it"),
    ],
)
def test_what_draws_random_numbers_is_trained_alone(
    make: Callable[[], nn.Module], words: str
) -> None:
    x, y = rows((12,))
    torch.manual_seed(3)
    alone = [make() for _ in range(2)]
    shared = copy.deepcopy(alone)
    told: list[str] = []

    def work(k: int) -> None:
        fit_in_turn(shared[k], x, y, job(shared[k], x, y, k).how)
        told.extend(noted_alone())

    for k, model in enumerate(alone):
        fit(model, x, y, job(model, x, y, k).how)
    assert in_turns([lambda k=k: work(k) for k in range(2)]) == [None, None]  # type: ignore[misc]
    assert len(told) == 2
    assert all(words in one for one in told)
    for model, other in zip(shared, alone, strict=True):
        for name, wanted in other.state_dict().items():
            assert torch.equal(model.state_dict()[name], wanted)


@pytest.mark.parametrize(
    ("kind", "most"), [("mlp", 1024), ("cnn with batch norm", 128), ("no sequence", 64)]
)
def test_what_gains_nothing_on_a_cpu_is_trained_alone_there(kind: str, most: int) -> None:
    model, cpu, gpu = NETWORKS[kind][0](), torch.device("cpu"), torch.device("cuda")
    assert no_gain(model, cpu, most) == ""
    assert f"gains up to {most}" in no_gain(model, cpu, most + 1)
    assert no_gain(model, gpu, most + 1) == ""
