"""The method ebops: gradients of bits, the graph bit for bit, a ladder from training to its RTL."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.errors import SpecError
from rfprune.fpga.adders.bits import BitNumbers, to_bits
from rfprune.fpga.adders.chain import Chain, chain_of
from rfprune.fpga.adders.graph import build_graph
from rfprune.fpga.adders.numbers import Circuit, calibrate
from rfprune.fpga.layers import trace
from rfprune.models import load_checkpoint
from rfprune.spec import TrialSpec
from rfprune.trial import prepare
from tests.fpga.adders.test_adders import run, small
from tests.fpga.values.test_values import proven

pytest.importorskip("da4ml", reason="the package da4ml is not installed")


def learned(seed: int = 0) -> tuple[nn.Module, Chain, BitNumbers]:
    """Return a network with bits at random."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4))
    chain = chain_of(trace(model, (6,)))
    numbers = BitNumbers.widest(chain, 4, 7)
    assert isinstance(numbers, BitNumbers)
    numbers.begin(6)
    numbers.weight_bits = [torch.rand(part.shape) * 7 for part in numbers.weight_bits]
    numbers.read_bits = [torch.rand(part.shape) * 6 for part in numbers.read_bits]
    numbers.settle()
    return model, chain, numbers


def test_rounding_has_the_gradient_of_its_error() -> None:
    x = torch.tensor([0.3, -0.8, 1.4], requires_grad=True)
    bits = torch.tensor([1.2, 0.0, 2.0], requires_grad=True)
    value = to_bits(x, bits, down=False)
    assert value.tolist() == pytest.approx([0.5, -1.0, 1.5])
    value.sum().backward()
    assert x.grad is not None
    assert bits.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 1.0]
    expected = [math.log(2) * error for error in (0.3 - 0.5, -0.8 + 1.0, 1.4 - 1.5)]
    assert bits.grad.tolist() == pytest.approx(expected, abs=1e-6)
    down = to_bits(x.detach(), torch.tensor(1.0), down=True)
    assert down.tolist() == [0.0, -1.0, 1.0]


def test_operations_are_bits_times_bits() -> None:
    model, chain, numbers = learned()
    numbers.integer = [torch.full_like(part, 2) for part in numbers.integer]
    total = 0.0
    for index, layer in enumerate(chain.layers):
        value = numbers.weight(index, layer.of(model)).detach().abs().double().numpy()
        behind = np.round(numbers.weight_bits[index].numpy())
        with np.errstate(divide="ignore"):
            before = np.floor(np.log2(value)) + 1
        bits = np.where(value > 0, np.maximum(before + behind, 1), 0)
        read = numbers.bits(index, layer.signed)
        total += float((bits * read).sum()) + 1.5 * float(read.sum()) * (index > 0)
    assert float(numbers.operations(chain, model)) == pytest.approx(total)
    for part in (*numbers.weight_bits, *numbers.read_bits):
        part.requires_grad_(True)
    numbers.operations(chain, model).backward()
    # One bit more costs the bits of what is read; of what is zero, nothing.
    grad, zero = numbers.weight_bits[0].grad, numbers.weight(0, chain.layers[0].of(model)) == 0
    assert grad is not None
    assert bool((grad[zero] == 0).all())
    assert bool((grad[~zero] >= 0).all())


@pytest.mark.parametrize("seed", range(3))
def test_the_graph_is_the_network_bit_for_bit(seed: int) -> None:
    model, chain, numbers = learned(seed)
    x = torch.randn(300, 6)
    calibrate(chain, model, numbers, x[:100])
    wide = torch.cat([x, 3 * x]).double()
    with torch.no_grad():
        expected = Circuit(chain, copy.deepcopy(model).double(), numbers)(wide).numpy()
    assert np.array_equal(build_graph(chain, model, numbers).predict(wide.numpy()), expected)


def test_bits_survive_a_checkpoint() -> None:
    _, chain, numbers = learned(4)
    numbers.price = 3e-5
    other = BitNumbers.widest(chain, 4, 7)
    other.take(numbers.saved())
    for name, part in numbers.saved().items():
        assert torch.equal(part, other.saved()[name])


LADDER: dict[str, Any] = {
    "method": "ebops",
    "steps": 2,
    "budget": {"lut": 600},
    "tolerance": 1.0,
    # So few updates have to go farther.
    "ebops": {"rate": 0.2},
}


@pytest.mark.slow
def test_a_ladder_of_learned_bits_from_training_to_rtl(tmp_path: Path) -> None:
    spec = small(prune={**LADDER, "epochs_per_step": 16})
    whole = run(tmp_path / "whole", spec)
    steps = whole.steps()
    assert steps[2].values["lut"] < steps[1].values["lut"] < 4000
    assert steps[2].values["lut"] < 1200
    assert steps[2].gaps == []
    assert steps[2].prices["lut"] > 0
    # Cut off after the first rung, it ends the same.
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", spec, on_step=_interrupted)
    cut = run(tmp_path / "cut", spec)
    one, other = (load_checkpoint(each.checkpoint(2)) for each in (whole, cut))
    for name, part in one.extra["values"].items():
        assert torch.equal(part, other.extra["values"][name])
    assert ("torch", "graph") in proven(whole, tmp_path / "out")


def _interrupted(record: Any) -> None:
    if record.step == 1:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune": {**LADDER, "budget": {"dsp": 1}}}, "budget.dsp: method ebops takes"),
        ({"hardware": {"strategy": "latency"}}, "ebops learns the bits of graphs"),
        ({"hardware": {"backend": "alkaid"}}, "ebops learns the bits of graphs"),
    ],
)
def test_what_has_no_meaning_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    spec = TrialSpec.model_validate(small(**{"prune": LADDER, **changes}).canonical())
    with pytest.raises(SpecError, match=message):
        prepare(spec, tmp_path)
