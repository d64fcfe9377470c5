"""Tracing: names, shapes, and refusal of what hls4ml cannot take."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rfprune.errors import NetworkError
from rfprune.fpga.layers import trace
from rfprune.hardware.reuse import LayerSize
from rfprune.models import build
from rfprune.models.spec import ModelSpec


def test_mlp_layers() -> None:
    network = trace(build(ModelSpec(name="mlp"), (16,), 5), (16,))
    assert network.sizes("io_parallel") == {
        "fc1": LayerSize(16, 64),
        "fc2": LayerSize(64, 32),
        "fc3": LayerSize(32, 32),
        "output": LayerSize(32, 5),
    }
    assert network.n_outputs == 5
    assert all(layer.positions == 1 for layer in network.layers)


def test_lenet_positions() -> None:
    network = trace(build(ModelSpec(name="lenet"), (1, 28, 28), 10), (1, 28, 28))
    by_name = {layer.name: layer for layer in network.layers}
    assert by_name["conv1"].positions == 28 * 28
    assert by_name["conv2"].positions == 10 * 10


@pytest.mark.parametrize(("shape", "positions"), [((5, 8), 5), ((2, 3, 8), 6)])
def test_linear_on_a_sequence(shape: tuple[int, ...], positions: int) -> None:
    model = nn.Sequential(
        nn.Linear(8, 6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * positions, 3), nn.BatchNorm1d(3)
    )
    network = trace(model, shape)
    first, last = network.layers
    assert (first.kind.name, first.n_in, first.n_out, first.positions) == (
        "pointwise",
        8,
        6,
        positions,
    )
    assert (last.kind.name, last.positions) == ("dense", 1)
    assert not network.turns_inputs
    assert [operation.type for operation in network.operations[:2]] == ["pointwise", "relu"]


def test_names_are_hls4mls() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 2)))
    assert [layer.name for layer in trace(model, (4,)).layers] == ["_0", "_2_0"]


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if x.sum() > 0 else self.fc(-x)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fc(x))


class Exotic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(self.fc(x), dim=1)


class Adding(nn.Module):
    def __init__(self, how: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.how, self.fc = how, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.fc(x), x)


class Viewing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.view(-1, 4))


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), (4, 6, 6), "0: .*groups=2"),
        (nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2)), (1, 6, 6), "dilation"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")),
            (1, 6, 6),
            "padding_mode='reflect'",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, ceil_mode=True)),
            (1, 6, 6),
            "1: .*ceil_mode",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2, divisor_override=3)),
            (1, 6, 6),
            "1: .*divisor_override=3",
        ),
        (
            nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, track_running_stats=False)),
            (4,),
            "1: .*track_running_stats=False",
        ),
        (
            nn.Sequential(nn.Linear(4, 2), nn.GELU()),
            (4,),
            "1: GELU is not taken: .* take ReLU",
        ),
        (
            nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)),
            (4,),
            "1: .* Softmax as an output. Leave it out",
        ),
        (Adding(lambda a, b: torch.add(a, b, alpha=2)), (4,), "add: .* alpha=2"),
        (Adding(lambda a, _: a - a), (4,), "sub: .* of a tensor and itself"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(3)), (1, 6, 6), "unlike sizes"),
        (
            nn.Sequential(nn.Linear(4, 2)),
            (2, 2, 3, 4),
            r"0: .* Linear on an input of shape \(2, 2, 3, 4\)",
        ),
        (nn.Sequential(nn.Linear(4, 2)), (5,), r"does not take an input of shape \(5,\)"),
        (nn.Sequential(nn.Flatten()), (4, 4), "no Linear"),
        (Branching(), (4,), "cannot trace"),
        (Shared(), (4,), "called twice"),
        (Exotic(), (4,), "cumsum"),
        (Viewing(), (2, 4), "view: 'view' mixes the rows"),
    ],
)
def test_refused(model: nn.Module, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        trace(model, shape)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_without_weights() -> None:
    with pytest.raises(NetworkError, match=r"0: holds no weights.*\(0, 4\)"):
        trace(nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 2)), (4,))


def test_a_wrong_shape_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NetworkError):
        trace(nn.Sequential(nn.Linear(4, 2)), (5,))
    assert capsys.readouterr() == ("", "")


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, (4,))
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
