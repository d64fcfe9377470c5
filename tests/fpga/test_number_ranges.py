"""Ranges of a network's numbers, and the types that would hold them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfprune.fpga.layers import plan, trace
from rfprune.fpga.number_ranges import number_notes, number_ranges
from rfprune.hardware.precision import FixedType
from rfprune.spec import HardwareSpec


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()


def ranges_of(model: nn.Module, x: torch.Tensor, **hardware):
    planned = plan(trace(model, tuple(x.shape[1:])), HardwareSpec.model_validate(hardware))
    return {each.place: each for each in number_ranges(model, planned, x)}


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
