"""Folding batch norm keeps outputs and exact zeros."""

import pytest
import torch
from torch import nn

from rfprune.fpga.layers import fold_batch_norm, trace
from rfprune.models import build
from rfprune.models.spec import ModelSpec


def _with_statistics(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    model.train()
    for _ in range(3):
        model(torch.randn(32, *shape))
    return model.eval()


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [("cnn", {}, (1, 8, 8)), ("mlp", {"batch_norm": True}, (16,)), ("lenet", {}, (1, 28, 28))],
)
def test_same_outputs_without_batch_norm(
    name: str, args: dict[str, object], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model = _with_statistics(build(ModelSpec(name=name, args=args), shape, 5), shape)
    folded = fold_batch_norm(model, trace(model, shape))
    kinds = {type(module).__name__ for module in folded.modules()}
    assert not kinds & {"BatchNorm1d", "BatchNorm2d", "Dropout", "Identity"}
    x = torch.randn(20, *shape)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-5)


def test_zeros_stay_and_the_original_is_untouched() -> None:
    torch.manual_seed(0)
    model = _with_statistics(nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6)), (8,))
    model[0].weight.data[:, ::2] = 0
    before = model[0].weight.detach().clone()
    folded = fold_batch_norm(model, trace(model, (8,)))
    weight = folded.get_submodule("0").weight
    assert torch.equal(weight == 0, before == 0)
    assert torch.equal(model[0].weight, before)


def test_a_batch_norm_that_follows_nothing_stays() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    folded = fold_batch_norm(model, trace(model, (4,)))
    kinds = [type(module).__name__ for module in folded.modules()]
    assert "BatchNorm1d" in kinds


def test_a_layer_with_two_readers_is_not_folded() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.bn = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.fc(x)
            return self.bn(y) + y

    torch.manual_seed(0)
    model = _with_statistics(Residual(), (4,))
    x = torch.randn(5, 4)
    torch.testing.assert_close(fold_batch_norm(model, trace(model, (4,)))(x), model(x))
