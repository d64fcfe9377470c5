"""Trainings together: each network gets the weights that its own training gives it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfprune.core.turns import current
from rfprune.errors import TrialError
from rfprune.models.networks import cnn, mlp
from rfprune.pruning import GroupedWeight
from rfprune.pruning.regularizers import group_penalty, weight_penalty
from rfprune.spec import TrainSpec
from rfprune.tasks import TaskSpec, make_task
from rfprune.training import Fit, fit, in_turns, noted_alone
from rfprune.training.together import Job, fit_all, fit_in_turn

K = 4
#: After one epoch: sums in another order, carried along over its updates.
CLOSE = 1e-5


class Residual(nn.Module):
    """No plain sequence, so that it is left to torch.vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.last = nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(x + self.inside(x)))
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


def job(model: nn.Module, x: Tensor, y: Any, k: int, **changes: Any) -> Job:
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
    return Job(model, x, y, replace(how, **{n: v(k) for n, v in changes.items()}))


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
    for before, model in zip(started, together, strict=True):
        assert not torch.equal(before.state_dict()["output.weight"], model.get_parameter(
            "output.weight")) if "output.weight" in before.state_dict() else True
    return alone, together


def assert_equal(pair: tuple[list[nn.Module], list[nn.Module]]) -> None:
    for k, (alone, together) in enumerate(zip(*pair, strict=True)):
        found = together.state_dict()
        assert not together.training
        for name, wanted in alone.state_dict().items():
            torch.testing.assert_close(
                found[name], wanted, rtol=CLOSE, atol=CLOSE, msg=lambda m, k=k, n=name: f"{k} {n}: {m}"
            )
            assert torch.equal(found[name] == 0, wanted == 0) or "bias" in name or "running" in name


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("form", ["proximal", "gradient"])
def test_masks_regularizers_and_rates_may_differ(kind: str, optimizer: str, form: str) -> None:
    assert_equal(trained_both_ways(kind, form=form, train={"optimizer": optimizer}))
