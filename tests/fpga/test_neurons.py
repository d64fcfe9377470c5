"""Sorting hidden neurons: the function stays, the strong ones come first."""

import pytest
import torch
from torch import Tensor, nn

from rfprune.fpga.layers import trace
from rfprune.fpga.neurons import sort_neurons
from rfprune.models.networks import cnn, lenet, mlp


class Residual(nn.Module):
    """Two layers around an addition: the neurons that the addition reads must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.inner = nn.Linear(8, 12)
        self.outer = nn.Linear(12, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(x + self.outer(torch.relu(self.inner(x))))


def sequence() -> nn.Module:
    """Linear layers on (T, C), then a Flatten."""
    layers = [nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(15, 3))


NETWORKS = {
    "mlp": (lambda: mlp((9,), 3, (8, 7)), (9,)),
    "batch norm": (lambda: mlp((9,), 3, (8, 7), batch_norm=True), (9,)),
    "lenet": (lambda: lenet((1, 28, 28), 10), (1, 28, 28)),
    "cnn": (lambda: cnn((3, 16, 16), 4), (3, 16, 16)),
    "residual": (Residual, (6,)),
    "sequence": (sequence, (3, 4)),
}


def make(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    model = build()
    # Statistics that differ by channel, as training leaves them.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return model.eval(), shape


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_computes_the_same(name: str) -> None:
    model, shape = make(name)
    x = torch.randn(20, *shape)
    before = model(x)
    old = [p.detach().clone() for p in model.parameters()]
    sort_neurons(model, trace(model, shape))
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    assert any(not torch.equal(p, q) for p, q in zip(model.parameters(), old, strict=True))


def test_the_strongest_come_first() -> None:
    model, shape = make("mlp")
    sort_neurons(model, trace(model, shape))
    for first, second in (("fc1", "fc2"), ("fc2", "output")):
        incoming = model.get_submodule(first).weight.norm(dim=1)  # type: ignore[operator]
        outgoing = model.get_submodule(second).weight.norm(dim=0)  # type: ignore[operator]
        strength = (incoming * outgoing).tolist()
        # fc2 is sorted after fc1, which changes no norm of what fc1's neurons write or read.
        assert strength == pytest.approx(sorted(strength, reverse=True))


def test_neurons_of_a_residual_connection_stay() -> None:
    model, shape = make("residual")
    names = ("first", "outer")
    before = [model.get_submodule(name).bias.clone() for name in names]  # type: ignore[operator]
    inner = model.get_submodule("inner").bias.clone()  # type: ignore[operator]
    sort_neurons(model, trace(model, shape))
    for name, bias in zip(names, before, strict=True):
        assert torch.equal(model.get_submodule(name).bias, bias)  # type: ignore[arg-type]
    assert not torch.equal(model.get_submodule("inner").bias, inner)  # type: ignore[arg-type]
    assert sorted(model.get_submodule("inner").bias.tolist()) == sorted(inner.tolist())  # type: ignore[operator]


def test_sorting_twice_changes_nothing() -> None:
    model, shape = make("lenet")
    sort_neurons(model, trace(model, shape))
    once = {name: value.clone() for name, value in model.state_dict().items()}
    sort_neurons(model, trace(model, shape))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, once[name])
