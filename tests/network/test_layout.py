"""What hls4ml would build wrongly without a word is refused before training."""

import pytest
import torch
from torch import Tensor, nn

from rfprune.errors import NetworkError
from rfprune.network import plan, trace
from rfprune.spec import HardwareSpec


class Residual(nn.Module):
    """The input, or a feature map, is read twice."""

    def __init__(self, of_input: bool) -> None:
        super().__init__()
        self.of_input = of_input
        self.first, self.second = nn.Conv1d(3, 3, 3, padding=1), nn.Conv1d(3, 3, 3, padding=1)
        self.out = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.of_input else torch.relu(self.first(x))
        return self.out(torch.flatten(x + self.second(x), 1))


class TwoScales(nn.Module):
    """A feature map is flattened as it is and after pooling."""

    def __init__(self, flatten_first: bool) -> None:
        super().__init__()
        self.flatten_first = flatten_first
        self.conv, self.pool, self.flatten = nn.Conv1d(2, 4, 3), nn.MaxPool1d(2), nn.Flatten()
        self.fine, self.coarse = nn.Linear(24, 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.flatten_first:
            fine = self.fine(self.flatten(x))
            return fine + self.coarse(self.flatten(self.pool(x)))
        coarse = self.coarse(self.flatten(self.pool(x)))
        return coarse + self.fine(self.flatten(x))


def check(model: nn.Module, shape: tuple[int, ...], io_type: str) -> None:
    plan(trace(model, shape), HardwareSpec.model_validate({"io_type": io_type}))


def test_an_input_that_two_layers_read() -> None:
    with pytest.raises(NetworkError, match=r"add reads the same features as second.*io_stream"):
        check(Residual(of_input=True), (3, 8), "io_parallel")
    check(Residual(of_input=True), (3, 8), "io_stream")


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_features_that_two_layers_read(io_type: str) -> None:
    check(Residual(of_input=False), (3, 8), io_type)
    check(TwoScales(flatten_first=True), (2, 8), io_type)
    with pytest.raises(NetworkError, match=r"reads the same features as pool.*flatten it first"):
        check(TwoScales(flatten_first=False), (2, 8), io_type)


def test_a_flatten_that_keeps_an_axis() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(2), nn.Conv1d(2, 2, 1), nn.Flatten())
    with pytest.raises(NetworkError, match=r"1: flattens \(2, 3, 4\) to \(2, 12\)"):
        check(model, (1, 3, 4), "io_parallel")


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.MaxPool2d(2, padding=1), "1: .*maxpool layer with padding=1"),
        (nn.AvgPool2d(3, stride=1), "1: .*avgpool layer with stride=1 other than its kernel 3"),
        (nn.Conv2d(2, 2, (1, 3), stride=(2, 1)), r"1: .*kernel \(1, 3\) and stride=\(2, 1\)"),
    ],
)
def test_what_a_stream_cannot_take(layer: nn.Module, words: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), layer, nn.Flatten())
    with pytest.raises(NetworkError, match=words):
        check(model, (1, 6, 6), "io_stream")
    check(model, (1, 6, 6), "io_parallel")


def test_overlapping_pooling_of_sequences_streams() -> None:
    check(nn.Sequential(nn.Conv1d(1, 2, 1), nn.MaxPool1d(3, 2), nn.Flatten()), (1, 8), "io_stream")
