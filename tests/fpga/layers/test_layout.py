"""Where features lie in what is built, and what a stream cannot take."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfprune.errors import NetworkError
from rfprune.fpga.layers import Plan, plan, trace
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


class MeanOverSteps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.first(x)).mean(1))


class Behind(nn.Module):
    """Something behind a layer, and a layer behind that."""

    def __init__(self, way: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.way, self.first = way, nn.Linear(8, 8)
        self.out = nn.Linear(way(torch.zeros(1, 8)).shape[1], 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.way(torch.relu(self.first(x))))


def check(model: nn.Module, shape: tuple[int, ...], io_type: str) -> Plan:
    return plan(trace(model, shape), HardwareSpec.model_validate({"io_type": io_type}))


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_features_that_two_layers_read(io_type: str) -> None:
    check(Residual(of_input=True), (3, 8), io_type)
    check(Residual(of_input=False), (3, 8), io_type)
    check(TwoScales(flatten_first=True), (2, 8), io_type)
    check(TwoScales(flatten_first=False), (2, 8), io_type)


@pytest.mark.parametrize("between", [(), (nn.Dropout(), nn.Identity()), (nn.ReLU(),)])
def test_weights_behind_a_flatten_lie_in_the_order_of_the_features(
    between: tuple[nn.Module, ...],
) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), *between, nn.Linear(2 * 4 * 4, 3))
    dense = check(model, (1, 6, 6), "io_parallel").layers[1]
    torch_index = np.arange(3 * 32).reshape(3, 2, 4, 4)
    assert np.array_equal(dense.order, np.moveaxis(torch_index, 1, -1).reshape(-1))
    # A stream is put into torch's order before it.
    assert np.array_equal(check(model, (1, 6, 6), "io_stream").layers[1].order, np.arange(96))


@pytest.mark.parametrize("shape", [(2, 4), (1, 4, 3), (2, 4, 3)])
def test_an_input_that_is_only_flattened_is_not_turned(shape: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(math.prod(shape), 2))
    for io_type in ("io_parallel", "io_stream"):
        planned = check(model, shape, io_type)
        assert all(read.order is None for read in planned.layout.placed["_2"].reads)
        assert np.array_equal(planned.layers[0].order, np.arange(planned.layers[0].order.size))


def test_a_flatten_that_keeps_an_axis() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(2), nn.Conv1d(2, 2, 1), nn.Flatten())
    assert check(model, (1, 3, 4), "io_parallel").layout.placed["_2"].reads[0].order is None


def test_a_mean_over_positions_of_a_sequence_needs_no_other_order() -> None:
    model = MeanOverSteps()
    placed = check(model, (5, 4), "io_parallel").layout.placed
    assert [read.order for name in placed for read in placed[name].reads] == [None] * 4


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (lambda x: x[:, ::2], "reads features in another order.*io_stream"),
        (lambda x: (x * x).sum(1, keepdim=True), "'sum' in io_stream"),
        (lambda x: torch.cat([x, x[:, :4]], 1)[:, 2:10], "another order"),
    ],
)
def test_what_a_stream_cannot_reorder(way: Callable[[Tensor], Tensor], words: str) -> None:
    model = Behind(way)
    with pytest.raises(NetworkError, match=words):
        check(model, (8,), "io_stream")
    check(model, (8,), "io_parallel")


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
