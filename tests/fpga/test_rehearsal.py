"""What would fail after training is found before it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfprune.errors import NetworkError
from rfprune.fpga import rehearsal
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.rehearsal import check_called, rehearse
from rfprune.spec import HardwareSpec


class Auxiliary(nn.Module):
    """Two outputs in training, one in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        h = torch.relu(self.a(x))
        return (self.b(h), self.c(h)) if self.training else self.b(h)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def check(model: nn.Module) -> None:
    check_called(model, plan(trace(model, (6,)), HardwareSpec()), torch.randn(8, 6))


def test_a_hook_that_only_looks_is_no_fault_and_draws_nothing() -> None:
    model, seen = nn.Sequential(mlp(), nn.Dropout()), []
    model[0].register_forward_hook(lambda _, args, out: seen.append(out.shape))
    torch.manual_seed(1)
    x, expected = torch.randn(8, 6), torch.rand(1)
    torch.manual_seed(1)
    x = torch.randn(8, 6)
    check_called(model, plan(trace(model, (6,)), HardwareSpec()), x)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("pre", [False, True])
def test_a_hook_that_changes_something(pre: bool) -> None:
    model = mlp()
    if pre:
        model[2].register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    else:
        model[0].register_forward_hook(lambda _, args, out: out * 2)
    with pytest.raises(NetworkError, match=r"something else when it is called.*hooks at [02]"):
        check(model)


def test_auxiliary_heads() -> None:
    with pytest.raises(NetworkError, match=r"puts out 2 \(0, 1\) in training and one tensor in"):
        check(Auxiliary())


def test_a_layer_that_nothing_calls() -> None:
    model = Auxiliary().eval()
    model.spare = nn.Linear(99, 3)
    network = trace(model, (6,))
    assert [layer.name for layer in network.layers] == ["a", "b"]


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"reuse_factor": 1}, "16,384 products, all at once.*XFORM 203-504.*reuse factor of 4"),
        ({"reuse_factor": 2}, "8,192 multipliers at RF 2"),
        ({"reuse_factor": 4}, None),
    ],
)
def test_what_the_vendors_tool_stops_at_is_named(
    hardware: dict[str, Any], words: str | None
) -> None:
    model = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 4))
    notes = plan(trace(model, (256,)), HardwareSpec.model_validate(hardware)).notes()
    assert len(notes) == (0 if words is None else 1)
    if words is not None:
        assert re.search(words, notes[0])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
def test_once_for_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, x = mlp(), torch.randn(8, 6)
    planned = plan(trace(model, (6,)), HardwareSpec())
    assert "is torch's on 8 rows (" in rehearse(model, planned, x)
    assert "compared before" in rehearse(model, planned, x)
    assert len(list((tmp_path / "rfprune" / "rehearsals").iterdir())) == 1


def test_a_cache_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    # The comparison itself is `test_once_for_a_network`.
    monkeypatch.setattr(rehearsal, "_converted", lambda *given: None)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/g++")
    model, x = mlp(), torch.randn(8, 6)
    for _ in range(2):
        assert "is torch's on 8 rows (" in rehearse(
            model, plan(trace(model, (6,)), HardwareSpec()), x
        )


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    model = mlp()
    planned = plan(trace(model, (6,)), HardwareSpec())
    assert rehearse(model, planned, torch.randn(8, 6)).startswith("g++ was not found")
