"""Training: masks stay exact, seeds repeat, faults are told."""

import pytest
import torch
from torch import Tensor, nn

from rfprune.errors import TrialError
from rfprune.spec import TrainSpec
from rfprune.tasks import TaskSpec, make_task
from rfprune.tasks.losses import cross_entropy
from rfprune.training import Fit, evaluate, fit, teacher_of
from rfprune.training.fit import batches


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 8, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def how(**changes: object) -> Fit:
    values: dict[str, object] = {
        "epochs": 5,
        "learning_rate": 1e-2,
        "train": TrainSpec(batch_size=32),
        "seed": 1,
    }
    return Fit(**{**values, **changes})  # type: ignore[arg-type]


def test_it_learns() -> None:
    x, y = data()
    model = network()
    before = evaluate(model, x, y)
    fit(model, x, y, how(epochs=20))
    assert evaluate(model, x, y) > max(0.8, before)


def test_a_loss_of_its_own_is_what_is_made_small() -> None:
    x, y = data()
    model = network()
    always_two = how(epochs=20, loss=lambda model, x, y, weight: cross_entropy(model(x), 0 * y + 2))
    fit(model, x, y, always_two)
    assert evaluate(model, x, 0 * y + 2) == 1


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_masked_weights_stay_exactly_zero(optimizer: str, schedule: str) -> None:
    x, y = data()
    model = network()
    mask = (torch.arange(128).reshape(16, 8) % 3 != 0).float()
    train = TrainSpec.model_validate(
        {
            "batch_size": 32,
            "optimizer": optimizer,
            "weight_decay": 1e-2,
            "learning_rate_schedule": schedule,
        }
    )
    fit(model, x, y, how(train=train, masks={"0.weight": mask}))
    assert (model[0].weight[mask == 0] == 0).all()
    assert (model[0].weight[mask == 1] != 0).all()


def test_equal_seeds_give_equal_weights() -> None:
    x, y = data()
    weights = []
    for seed in (1, 1, 2):
        model = network()
        fit(model, x, y, how(seed=seed))
        weights.append(model[0].weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_batches_cover_every_row_once_and_avoid_single_rows() -> None:
    seen = list(batches(torch.zeros(65, 1), 32, torch.Generator().manual_seed(0)))
    assert [len(index) for index in seen] == [32, 32]
    seen = list(batches(torch.zeros(64, 1), 30, torch.Generator().manual_seed(0)))
    assert sorted(torch.cat(seen).tolist()) == list(range(64))


def test_distillation_mixes_labels_and_teacher() -> None:
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    mixed = make_task(TaskSpec()).taught(torch.tensor([0, 2]), teacher, 0.5)
    torch.testing.assert_close(mixed, torch.tensor([[0.85, 0.1, 0.05], [0.15, 0.15, 0.7]]))
    x, y = data()
    model = network()
    fit(model, x, y, how(epochs=20))
    student = network(seed=3)
    fit(
        student,
        x,
        y,
        how(epochs=20, teacher=teacher_of(model, x, make_task(TaskSpec())), distillation=1.0),
    )
    agreement = (student(x).argmax(1) == model(x).argmax(1)).float().mean()
    assert agreement > 0.9


def test_a_diverging_loss_is_a_sentence() -> None:
    x, y = data()
    x = x.clone()
    x[:] = float("inf")
    with pytest.raises(TrialError, match="the training loss is nan after epoch 1"):
        fit(network(), x, y, how())


def test_evaluate_keeps_the_mode() -> None:
    x, y = data()
    model = network().train()
    assert 0 <= evaluate(model, x, y) <= 1
    assert model.training
