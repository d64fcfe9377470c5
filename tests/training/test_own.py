"""A training of the user's own: what it is handed, and that masks hold whatever it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfprune.data import Dataset, DataSpec, load
from rfprune.errors import SpecError, TrialError, UnknownNameError
from rfprune.spec import TrainSpec
from rfprune.tasks import TaskSpec, make_task
from rfprune.training import Fit, Hook, Settings, TrainingRows, measure, trainer_of
from rfprune.training.own import rehearse
from rfprune.training.penalty import Penalty

TASK = make_task(TaskSpec())

OWN = """
import torch
from torch import nn

def fit(model, data, hook, settings):
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate)
    for _ in range(settings.epochs):
        optimizer.zero_grad()
        settings.loss(model, data.x_train, data.y_train, data.w_train).backward()
        hook.after_backward()
        optimizer.step()
        hook.after_step(settings.learning_rate)
    return model

def forgets_the_hook(model, data, hook, settings):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    return model

def empties_the_hook(model, data, hook, settings):
    for value in list(vars(hook).values()):
        if hasattr(value, "clear"):
            value.clear()
    return forgets_the_hook(model, data, hook, settings)

def another_of_the_same(model, data, hook, settings):
    other = nn.Sequential(*(nn.Linear(m.in_features, m.out_features) if isinstance(m, nn.Linear)
                            else nn.ReLU() for m in model))
    with torch.no_grad():
        for p in other.parameters():
            p.fill_(0.5)
    return other

def new_parameters(model, data, hook, settings):
    for m in model:
        if isinstance(m, nn.Linear):
            m.weight = nn.Parameter(torch.ones_like(m.weight))
    return model

def freezes(model, data, hook, settings):
    for p in model.parameters():
        p.requires_grad_(False)
    return forgets_the_hook(model, data, hook, settings)

def wider(model, data, hook, settings):
    model[0] = nn.Linear(4, 99)
    return model

def wraps(model, data, hook, settings):
    return nn.Sequential(model, nn.Identity())

def hooks(model, data, hook, settings):
    model.register_forward_hook(lambda *args: args[-1] * 0)
    return model

def parametrizes(model, data, hook, settings):
    return nn.utils.parametrizations.weight_norm(model[0]) and model

def replaces_forward(model, data, hook, settings):
    model.forward = lambda x: x
    return model

def half(model, data, hook, settings):
    return model.half()

def nothing(model, data, hook, settings):
    return None

def not_finite(model, data, hook, settings):
    with torch.no_grad():
        model[0].bias.fill_(float("nan"))
    return model

def changes_the_rows(model, data, hook, settings):
    data.x_train.zero_()
    return model

def fails(model, data, hook, settings):
    raise RuntimeError("out of luck")

value = 3
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_training.py").write_text(OWN)
    return folder


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return load(DataSpec(name="digits", train_rows=300, test_rows=50))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


MASK = (torch.arange(8 * 64).reshape(8, 64) % 3 == 0).float()


def how(**changes: Any) -> Fit:
    return Fit(30, 0.2, TrainSpec(), 1, masks={"0.weight": MASK}, task=TASK, **changes)


def trained(own: Path, name: str, rows: Dataset, **changes: Any) -> nn.Module:
    model = network()
    train = trainer_of(TrainSpec(function=f"own_training:{name}"), own)
    train(model, rows, how(**changes))
    return model


def test_it_is_handed_all_that_training_takes(own: Path, rows: Dataset) -> None:
    model = trained(own, "fit", rows)
    before = measure(network(), rows.x_train, rows.y_train, TASK)["accuracy"]
    assert measure(model, rows.x_train, rows.y_train, TASK)["accuracy"] > before + 0.1
    assert not model.training
    assert bool((model[0].weight[MASK == 0] == 0).all())
    assert bool((model[0].weight[MASK == 1] != 0).all())


def test_the_regularizer_is_in_the_hook(own: Path, rows: Dataset) -> None:
    called: list[str] = []
    gradient = Penalty(lambda: called.append("gradient"), lambda rate: None, proximal=False)
    trained(own, "fit", rows, penalty=gradient)
    assert called == ["gradient"] * 30
    called.clear()
    shrinks = Penalty(lambda: None, lambda rate: called.append(f"{rate:g}"), proximal=True)
    trained(own, "fit", rows, penalty=shrinks)
    assert called == ["0.2"] * 30


def test_test_rows_are_not_handed_over() -> None:
    assert not [name for name in TrainingRows.__dataclass_fields__ if "test" in name]
    assert "masks" not in Settings.__dataclass_fields__


HOSTILE = [
    "forgets_the_hook",
    "empties_the_hook",
    "another_of_the_same",
    "new_parameters",
    "freezes",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_masked_weights_stay_masked_whatever_it_does(own: Path, rows: Dataset, name: str) -> None:
    model = trained(own, name, rows)
    weight = model[0].weight.detach()
    assert bool((weight[MASK == 0] == 0).all())
    assert bool((weight[MASK == 1] != 0).all())
    assert not torch.equal(weight, network()[0].weight * MASK), "nothing was trained"
    assert all(parameter.requires_grad for parameter in model.parameters())


REFUSED = {
    "wider": "returned another network: '0.weight' is not what it was",
    "wraps": "returned another network: module '0'",
    "hooks": "returned another network: module ''",
    "parametrizes": "returned another network: module '0'",
    "replaces_forward": "returned another network: module ''",
    "half": "returned another network: '0.weight'",
    "nothing": "returned a NoneType, expected the network",
    "not_finite": "left values in '0.bias' that are not finite",
    "changes_the_rows": "changed the rows in place",
    "fails": r"failed on 255 training rows: RuntimeError: out of luck",
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_network_is_refused_in_one_sentence(own: Path, rows: Dataset, name: str) -> None:
    kept = rows.x_train.clone()
    with pytest.raises(TrialError, match=REFUSED[name]) as caught:
        trained(own, name, rows)
    assert f"own_training:{name}" in str(caught.value)
    assert "\n" not in str(caught.value)
    rows.x_train.copy_(kept)


def test_what_cannot_be_called_is_refused_before_anything_is_trained(own: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"train\.function: .* has no 'fitt'"):
        trainer_of(TrainSpec(function="own_training:fitt"), own)
    with pytest.raises(SpecError, match=r"'own_training:value' is an int, not a function"):
        trainer_of(TrainSpec(function="own_training:value"), own)


def test_a_hook_without_masks_does_nothing(rows: Dataset) -> None:
    model = network()
    hook = Hook(model, Fit(1, 0.1, TrainSpec(), 0))
    hook()
    hook.after_backward()
    hook.after_step(0.1)
    assert torch.equal(model[0].weight, network()[0].weight)


def test_only_functions_of_the_users_are_rehearsed(rows: Dataset) -> None:
    def never(x: Tensor) -> Tensor:
        raise AssertionError("a network was run")

    model = network()
    model.forward = never  # type: ignore[method-assign]
    rehearse(model, rows, TASK)
