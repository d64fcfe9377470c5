"""Ranges of a network's numbers, and the types that would hold them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.number_ranges import number_notes, number_ranges
from rfprune.hardware.precision import FixedType
from rfprune.spec import HardwareSpec


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()


def ranges_of(model: nn.Module, x: torch.Tensor, trained: bool = True, **hardware):
    planned = plan(trace(model, tuple(x.shape[1:])), HardwareSpec.model_validate(hardware))
    return {each.place: each for each in number_ranges(model, planned, x, trained)}


def test_an_input_that_overflows_is_named_with_a_type_that_holds_it() -> None:
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(1))
    x[:50] *= 100
    found = ranges_of(network(), x, precision="fixed<10,4>")
    (name,) = (place for place in found if place.startswith("input "))
    own = found[name]
    assert own.overflow == pytest.approx(float(((x < -8) | (x >= 8)).double().mean()))
    assert (own.low, own.high) == pytest.approx((float(x.min()), float(x.max())))
    assert own.proposal is not None
    better = FixedType.parse(own.proposal)
    assert better.fractional == 6
    assert better.min <= own.low <= own.high <= better.max
    # One bit less would not do.
    assert max(-own.low, own.high) > better.max / 2
    (note, *_) = number_notes([own], len(x), trained=False)
    assert note.startswith(f"{name}: fixed<10,4> is too narrow for the network before training")


def test_what_a_proposal_holds_is_not_complained_of_again() -> None:
    x = 20 * torch.randn(500, 4, generator=torch.Generator().manual_seed(1))
    hardware = {"precision": "fixed<6,2>"}
    for _ in range(4):
        found = ranges_of(network(), x, **hardware)
        narrow = [each for each in found.values() if each.proposal]
        if not narrow:
            break
        kinds = [FixedType.parse(each.proposal or "") for each in narrow]
        integer = max(kind.integer for kind in kinds)
        fraction = max(kind.fractional for kind in kinds)
        hardware = {"precision": f"fixed<{integer + fraction},{integer}>"}
    assert not narrow
    assert number_notes(list(found.values()), len(x), trained=True) == []


def test_weights_are_those_after_folding() -> None:
    model = network()
    model[1].weight.data.fill_(100.0)
    found = ranges_of(model, torch.randn(50, 4), precision="fixed<16,6>")
    assert found["weights of _0"].high > 32
    assert found["weights of _0"].overflow > 0
    assert found["weights of _3"].overflow == 0


def test_saturating_types_may_clip_more_than_wrapping_ones() -> None:
    x = torch.zeros(1000, 4)
    x[:20, 0] = 100.0
    wraps = ranges_of(network(), x, precision="fixed<16,6>")
    clips = ranges_of(network(), x, precision="fixed<16,6,RND,SAT>")
    (name,) = (place for place in wraps if place.startswith("input "))
    assert wraps[name].overflow == clips[name].overflow == 0.005
    assert wraps[name].proposal == "fixed<18,8>"
    assert clips[name].proposal is None


def test_weights_that_are_rounded_away_are_named() -> None:
    x = torch.rand(200, 4)
    found = ranges_of(network(), x, precision="fixed<16,6>", weight_precision="fixed<5,4>")
    own = found["weights of _3"]
    assert own.overflow == 0
    assert own.noise > 0.5
    assert own.proposal is not None
    assert FixedType.parse(own.proposal).integer == 4
    (note,) = number_notes([own], len(x), trained=True)
    assert "rounding takes away" in note
    assert "too narrow for the dense network on 200 training rows" in note


class Score(nn.Module):
    """An autoencoder that puts out the squared distance of two numbers that are nearly equal."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.back = nn.Linear(4, 6), nn.Linear(6, 6)
        with torch.no_grad():
            self.back.weight.copy_(torch.eye(6) + 1e-3 * torch.randn(6, 6))
            self.back.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.f(x))
        gap = self.back(features) - features
        return (gap * gap).sum(dim=1, keepdim=True)


def test_a_rounding_that_is_little_there_and_much_in_the_outputs_is_named_with_its_key() -> None:
    torch.manual_seed(0)
    model, x = Score().eval(), torch.randn(400, 4)
    found = ranges_of(model, x, precision="fixed<16,6>", part="zcu102")
    own = found["weights of back"]
    assert own.noise < 0.01
    assert own.moved > 0.25
    assert own.key == "hardware.layers.back.weight_precision"
    assert own.proposal is not None
    assert found["output of relu"].key == "hardware.layers.f.precision"
    assert found["input x"].key == "hardware.precision"
    (note,) = number_notes([own], len(x), trained=True)
    assert "rounding them moves the outputs by" in note
    assert f"{own.key}: {own.proposal} would do" in note
    # Before training outputs hardly differ between rows: nothing follows for the trained network.
    untrained = ranges_of(model, x, trained=False, precision="fixed<16,6>", part="zcu102")
    assert untrained["weights of back"].moved == own.moved
    assert untrained["weights of back"].proposal is None
    # A square of what is rounded already, and the sum of such squares, lose nothing more.
    assert "output of mul" not in found
    assert "output of sum_1" not in found


def test_what_is_proposed_gives_the_scores_back() -> None:
    torch.manual_seed(0)
    model, x = Score().eval(), torch.randn(400, 4)
    hardware: dict[str, Any] = {"precision": "fixed<12,5>", "part": "zcu102", "layers": {}}
    before = model(x).detach()

    def error() -> float:
        planned = plan(trace(model, (4,)), HardwareSpec.model_validate(hardware))
        gap = deployed(model, planned)(x) - before
        return float(gap.square().mean().sqrt() / before.std())

    assert error() > 10
    for each in ranges_of(model, x, **hardware).values():
        *layer, name = each.key.removeprefix("hardware.").removeprefix("layers.").split(".")
        if each.proposal and layer:
            hardware["layers"].setdefault(layer[0], {})[name] = each.proposal
        elif each.proposal:
            hardware[name] = each.proposal
    assert error() < 0.5
    assert not any(each.proposal for each in ranges_of(model, x, **hardware).values())


def test_several_heads_and_a_head_that_says_nothing() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 1)
            nn.init.zeros_(self.b.weight)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"a": self.a(x), "b": self.b(x)}

    found = ranges_of(Heads().eval(), torch.randn(50, 4), precision="fixed<16,6>")
    assert all(0 <= each.moved < 0.05 for each in found.values())
    assert found["weights of b"].moved == 0
