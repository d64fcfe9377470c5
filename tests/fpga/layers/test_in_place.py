"""Networks that change tensors in place, stack them, pad them, or put out objects of their own."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfprune.errors import NetworkError
from rfprune.fpga.layers import trace
from rfprune.fpga.layers.lowering import lower
from rfprune.fpga.layers.plan import plan
from rfprune.fpga.rehearsal import check_called
from rfprune.spec import HardwareSpec


class Net(nn.Module):
    """Three layers, and whatever is done with them."""

    def __init__(self, way: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.way = way
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.way(self, x)


def assigned(net: Any, x: Tensor) -> Tensor:
    y = net.a(x)
    y += net.b(x)
    z = y.relu_()  # y is z from here on
    y.mul_(0.5).add_(z)
    return net.c(y - 1)


def rectified(net: Any, x: Tensor) -> Tensor:
    y = net.a(x)
    F.relu(y, inplace=True)
    return net.c(F.relu6(net.b(y).sub_(0.25), inplace=True).neg_())


def tail(net: Any, x: Tensor) -> Tensor:
    return net.out(torch.flatten(x, 1))


TAKEN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "modules in place": (
        lambda: nn.Sequential(
            nn.Linear(8, 6), nn.ReLU(inplace=True), nn.Dropout(0.2, inplace=True), nn.Linear(6, 3)
        ),
        (8,),
    ),
    "a convolution behind": (
        lambda: nn.Sequential(
            *(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Flatten()),
            nn.Linear(24, 3),
        ),
        (3, 8),
    ),
    "operators and methods": (lambda: Net(assigned), (8,)),
    "functions": (lambda: Net(rectified), (8,)),
    "stack of vectors": (
        lambda: Net(lambda m, x: m.c(torch.stack([m.a(x), torch.relu(m.b(x))], 1).sum(1))),
        (8,),
    ),
    "stack behind": (
        lambda: Net(lambda m, x: tail(m, torch.stack([m.a(x), x], -1)), out=nn.Linear(16, 2)),
        (8,),
    ),
    "stack of sequences": (
        lambda: Net(lambda m, x: tail(m, torch.stack([x, x * 2, x], 2)), out=nn.Linear(72, 2)),
        (3, 8),
    ),
    "stack of sequences behind": (
        lambda: Net(lambda m, x: tail(m, torch.stack([x, x * 2], dim=-1)), out=nn.Linear(48, 2)),
        (3, 8),
    ),
    "padded sequence": (
        lambda: Net(lambda m, x: tail(m, F.pad(x, (1, 2))), out=nn.Linear(33, 2)),
        (3, 8),
    ),
    "padded image": (
        lambda: Net(lambda m, x: tail(m, F.pad(x, (1, 0, 0, 2))), out=nn.Linear(60, 2)),
        (3, 2, 4),
    ),
    "image padded in width": (
        lambda: Net(lambda m, x: tail(m, F.pad(x, [0, 1])), out=nn.Linear(30, 2)),
        (3, 2, 4),
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_lowered_computes_what_its_user_calls(case: str) -> None:
    torch.manual_seed(0)
    make, shape = TAKEN[case]
    model = make().eval()
    rows = torch.randn(9, *shape)
    before = rows.clone()
    with torch.no_grad():
        torch.testing.assert_close(lower(model, shape)(rows), model(rows))
    assert torch.equal(rows, before)
    planned = plan(trace(model, shape), HardwareSpec(strategy="latency", reuse_factor=1))
    check_called(model, planned, rows)


def test_a_named_tuple_is_a_tuple() -> None:
    pair = namedtuple("pair", "label pt")
    model = Net(lambda m, x: pair(m.c(x), m.a(x))).eval()
    outputs = lower(model, (8,))(rows := torch.randn(5, 8))
    assert type(outputs) is tuple
    assert all(map(torch.equal, outputs, model(rows)))
    assert trace(model, (8,)).n_outputs == 10


@dataclasses.dataclass
class Answer:
    """An object of a user's own."""

    label: Tensor
    pt: Tensor


def half_written(net: Any, x: Tensor) -> Tensor:
    y = net.a(x)
    y[:, 0] = 0
    return net.c(y)


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], tuple[int, ...], str]] = {
    "an object": (
        lambda m, x: Answer(m.c(x), m.a(x)),
        (8,),
        "Net: forward.. returns a Answer; return tensors",
    ),
    "a part that is written": (half_written, (8,), "a: forward.. writes into a part of a tensor"),
    "padding of vectors": (lambda m, x: m.c(F.pad(m.a(x), (1, -1))), (8,), "beside the positions"),
    "padding with ones": (
        lambda m, x: m.c(F.pad(x, (0, 1), value=1.0)),
        (3, 7),
        "with value=1.0 .zeros alone",
    ),
    "reflected": (lambda m, x: m.c(F.pad(x, (0, 1), "reflect")), (3, 7), "mode='reflect'"),
    "cut by padding": (lambda m, x: m.c(F.pad(x, (0, -1))), (3, 9), "none below 0"),
    "stack of rows": (lambda m, x: m.c(torch.stack([x, x], 0)), (8,), "mixes the rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case: str) -> None:
    way, shape, words = REFUSED[case]
    with pytest.raises(NetworkError, match=words):
        trace(Net(way), shape)


def test_a_network_that_changes_its_input_would_change_the_data() -> None:
    def centred(net: Any, x: Tensor) -> Tensor:
        x -= 1
        return net.c(x)

    model = Net(centred).eval()
    planned = plan(trace(model, (8,)), HardwareSpec(strategy="latency", reuse_factor=1))
    with pytest.raises(NetworkError, match="changes its input in place, and so the data"):
        check_called(model, planned, torch.randn(4, 8))


def test_a_network_that_fails_on_rows_of_the_data_is_told() -> None:
    model = nn.Sequential(nn.Embedding(4, 2), nn.Flatten(), nn.Linear(6, 2)).eval()
    planned = plan(trace(LongFirst(model), (3,)), HardwareSpec(strategy="latency", reuse_factor=1))
    with pytest.raises(NetworkError, match="fails on rows of the data: index out of range"):
        check_called(LongFirst(model), planned, torch.full((2, 3), 7.0))


class LongFirst(nn.Module):
    """Reads rows of a table."""

    def __init__(self, inner: nn.Sequential) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.long())
        return out
