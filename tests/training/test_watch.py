"""What a training looks at beside the loss: validation rows, weights of rows, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfprune.spec import TrainSpec
from rfprune.tasks import TaskSpec, make_task
from rfprune.training import Fit, Validation, fit, measure

TASK = make_task(TaskSpec.model_validate({"name": "regression", "metrics": ["rmse"]}))


def rows(seed: int, n: int = 120, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    return x, x[:, :1] + noise * torch.randn(n, 1, generator=generator)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 1))


def how(validation: Validation | None = None, epochs: int = 60, **train: Any) -> Fit:
    spec = TrainSpec.model_validate({"batch_size": 32, **train})
    return Fit(epochs, 1e-2, spec, seed=1, task=TASK, validation=validation)


def scores(epochs: int, validation: tuple[Tensor, Tensor]) -> list[float]:
    """Return the score after 1, 2, ... epochs, each of a training of its own."""
    found = []
    for count in range(1, epochs + 1):
        model = network()
        fit(model, *rows(0), how(epochs=count))
        found.append(measure(model, *validation, TASK)["rmse"])
    return found


@pytest.mark.parametrize("monitor", ["score", "loss"])
def test_training_ends_when_it_gets_no_better_and_the_best_epoch_is_kept(monitor: str) -> None:
    validation = rows(9)
    expected = scores(30, validation)
    best = min(range(30), key=expected.__getitem__)
    assert 0 < best < 25, "the case neither overfits nor learns"
    first_end = next(e for e in range(30) if e - min(range(e + 1), key=expected.__getitem__) >= 4)
    kept = min(range(first_end + 1), key=expected.__getitem__)
    model, seen = network(), []
    model.register_forward_hook(lambda *_: seen.append(model.training))
    stopping = {"patience": 4, "monitor": monitor}
    fit(model, *rows(0), how(Validation(*validation), early_stopping=stopping))
    # 120 rows are 4 minibatches an epoch.
    assert sum(seen) == 4 * (first_end + 1)
    assert measure(model, *validation, TASK)["rmse"] == pytest.approx(expected[kept], rel=1e-6)


def test_the_rate_falls_on_a_plateau_and_no_lower_than_asked(monkeypatch: Any) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noted(self: Any, *args: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    plateau = {"patience": 2, "factor": 0.1, "least": 5e-5, "min_delta": 100.0}
    fit(network(), *rows(0), how(Validation(*rows(9)), epochs=9, plateau=plateau))
    # Nothing is better by 100: the first epoch counts, then the rate falls after every second one.
    by_epoch = rates[::4]
    assert by_epoch == pytest.approx([1e-2] * 3 + [1e-3] * 2 + [1e-4] * 2 + [5e-5] * 2)


def test_without_validation_rows_nothing_is_watched() -> None:
    one, two = network(), network()
    fit(one, *rows(0), how(epochs=5, early_stopping=1))
    fit(two, *rows(0), how(epochs=5))
    assert torch.equal(one[0].weight, two[0].weight)


def test_gradients_are_clipped_to_a_norm() -> None:
    x, y = rows(0)
    sgd = {"optimizer": "sgd", "batch_size": 120}
    moved = []
    for clip in (None, 1e-3):
        model = network()
        before = [p.detach().clone() for p in model.parameters()]
        fit(model, x, y, how(epochs=1, clip_norm=clip, **sgd))
        change = [
            (p.detach() - b).square().sum() for p, b in zip(model.parameters(), before, strict=True)
        ]
        moved.append(float(torch.stack(change).sum().sqrt()))
    assert moved[1] == pytest.approx(1e-2 * 1e-3, rel=1e-3)
    assert moved[0] > 10 * moved[1]


def test_rows_of_weight_0_teach_nothing() -> None:
    x, y = rows(0)
    half = torch.cat([torch.ones(60), torch.zeros(60)])
    wrong = torch.cat([y[:60], y[60:] + 50])
    model = network()
    spec = how(epochs=30)
    fit(model, x, wrong, Fit(30, 1e-2, spec.train, 1, task=TASK, weight=half))
    assert measure(model, x[:60], y[:60], TASK)["rmse"] < 1.5
    assert measure(model, x, wrong, TASK, half)["rmse"] == pytest.approx(
        measure(model, x[:60], y[:60], TASK)["rmse"], rel=1e-6
    )


def test_equal_weights_change_nothing() -> None:
    x, y = rows(0)
    one, two = network(), network()
    fit(one, x, y, how(epochs=3))
    fit(two, x, y, Fit(3, 1e-2, how().train, 1, task=TASK, weight=torch.ones(120)))
    torch.testing.assert_close(one[0].weight, two[0].weight, rtol=1e-4, atol=1e-6)
