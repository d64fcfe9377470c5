"""Operations that are not taken: one sentence with the true reason, and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfprune.errors import NetworkError
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.layers.taken import REFUSED, list_layers
from rfprune.spec import HardwareSpec

Way = Callable[[nn.Module, Tensor], Any]


class Layer(nn.Module):
    """A Linear layer, and whatever is done with it."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way, self.fc = way, nn.Linear(8, 8)
        self.trained = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Any:
        return self.way(self, x)


WAYS: dict[str, tuple[Way, str]] = {
    "flip of rows": (lambda m, x: m.fc(x).flip(0), "rows of a minibatch change places"),
    "mean of rows": (lambda m, x: m.fc(x) - x.mean(0), "over the rows"),
    "sum of all": (lambda m, x: m.fc(x) * x.sum(), "mean|rows"),
    "divided by data": (lambda m, x: m.fc(x) / x, "hls4ml has no division"),
    "a cube": (lambda m, x: m.fc(x) ** 3, "exponent 3"),
    "softmax": (lambda m, x: F.softmax(m.fc(x), dim=1), "Leave it out: the outputs are logits"),
    "log softmax": (lambda m, x: F.log_softmax(m.fc(x), dim=1), "the outputs are logits"),
    "gelu": (lambda m, x: F.gelu(m.fc(x)), "take ReLU"),
    "exp": (lambda m, x: torch.exp(m.fc(x)), "hls4ml 1.3 has no such layer"),
    "matmul": (lambda m, x: m.fc(x) @ m.fc.weight, "Of a weight take nn.Linear"),
    "largest": (lambda m, x: m.fc(x).max(dim=1).values, "max is not taken"),
    "clip elsewhere": (lambda m, x: torch.clamp(m.fc(x), -1, 1), r"from -1 to 1"),
    "threshold with a value": (lambda m, x: F.threshold(m.fc(x), 0.5, 2.0), "value=2"),
    "weight of nobody": (lambda m, x: F.linear(x, m.fc.weight * 2, m.fc.bias), "computed first"),
    "computed constant": (
        lambda m, x: m.fc(x) + torch.exp(m.trained),
        "computed from a trained parameter",
    ),
    "no number": (lambda m, x: m.fc(x) * float("nan"), "not a finite number"),
    "branch": (lambda m, x: m.fc(x) if x.sum() > 0 else x, "cannot trace"),
    "nothing": (lambda m, x: (m.fc(x), None), "is not a tensor"),
    "a number": (lambda m, x: (m.fc(x), 3), "is not a tensor"),
    "not of the input": (lambda m, x: (m.fc(x), m.trained), "does not depend on its input"),
    "twice": (lambda m, x: m.fc(torch.relu(m.fc(x))), "called twice"),
    "alpha": (lambda m, x: torch.sub(m.fc(x), x, alpha=3), "alpha=3"),
    "cumsum": (lambda m, x: torch.cumsum(m.fc(x), 1), "cumsum is not taken"),
    "unknown": (lambda m, x: torch.erfinv(m.fc(x)), "no way to build it.*list layers"),
}


@pytest.mark.parametrize("case", WAYS)
def test_operations(case: str) -> None:
    way, words = WAYS[case]
    with pytest.raises(NetworkError, match=words) as refused:
        trace(Layer(way), (8,))
    assert "\n" not in str(refused.value)


MODULES: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "rnn": (nn.Sequential(nn.Linear(4, 4), nn.RNN(4, 3)), (5, 4), "take GRU or LSTM"),
    "gru": (nn.Sequential(nn.Linear(4, 4), nn.GRU(4, 3)), (5, 4), "take batch_first=True"),
    "gru of rows": (nn.Sequential(nn.GRU(4, 3, batch_first=True)), (4,), "steps and features"),
    "all of it": (
        nn.Sequential(nn.GRU(4, 3, batch_first=True)),
        (5, 4),
        "Take one of them: out, h",
    ),
    "layer norm": (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), (4,), "BatchNorm1d"),
    "prelu": (nn.Sequential(nn.Linear(4, 4), nn.PReLU()), (4,), "one slope"),
    "transposed": (nn.Sequential(nn.ConvTranspose1d(2, 2, 3)), (2, 8), "no such layer"),
    "grouped": (nn.Sequential(nn.Conv1d(4, 8, 1, groups=2)), (4, 8), "groups=2"),
    "same with a stride": (
        nn.Sequential(nn.Conv1d(2, 2, 3, padding="valid", dilation=2)),
        (2, 8),
        "dilation",
    ),
    "bilinear": (
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear")),
        (1, 4, 4),
        "mode='bilinear'",
    ),
    "half as large": (
        nn.Sequential(nn.Conv1d(1, 2, 1), nn.Upsample(scale_factor=1.5)),
        (1, 4),
        "whole multiples",
    ),
    "padding with ones": (
        nn.Sequential(nn.ConstantPad1d(1, 1.0), nn.Conv1d(2, 2, 1)),
        (2, 8),
        "value=1",
    ),
    "table of what is computed": (
        nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Flatten(), nn.Softmin(1)),
        (4,),
        "Softmin",
    ),
}


@pytest.mark.parametrize("case", MODULES)
def test_modules(case: str) -> None:
    model, shape, words = MODULES[case]
    with pytest.raises(NetworkError, match=words):
        trace(model, shape)


@pytest.mark.parametrize(("model", "words"), [(None, "a NoneType"), (nn.Linear, "a type")])
def test_what_is_no_network(model: Any, words: str) -> None:
    with pytest.raises(NetworkError, match=f"model is {words}; a torch.nn.Module"):
        trace(model, (8,))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.fc(torch.cat([first, second], 1))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"first": (4,), "other": (2,)}, "takes no argument 'other'.*first, second"),
        ({"first": (4,), "second": (3,)}, "does not take an input of shape"),
        ({"first": (4,)}, "missing 1 required"),
    ],
)
def test_inputs_by_name(shape: Any, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        trace(TwoInputs(), shape)


def test_an_input_that_is_not_used() -> None:
    model = TwoInputs()
    model.forward = None
    network = trace(TwoInputs(), {"first": (4,), "second": (2,)})
    assert list(network.inputs) == ["first", "second"]


def test_depthwise_convolutions_are_built_as_constants_alone() -> None:
    network = trace(nn.Sequential(nn.Conv1d(4, 4, 3, groups=4)), (4, 8))
    assert network.sizes("io_stream")["_0"].largest == 1
    plan(network, HardwareSpec())


def test_the_list_of_layers_names_every_reason() -> None:
    rows = dict(list_layers())
    assert rows["Linear"].startswith("taken")
    assert rows["mean"].startswith("becomes the same as average pooling")
    assert all(rows[name].startswith("refused: ") for name in REFUSED if name not in ("flatten",))
