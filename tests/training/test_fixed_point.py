"""Training through fixed point: forward on the grid, gradients straight through."""

import torch
from torch import nn

from rfprune.hardware.precision import FixedType
from rfprune.network import plan, trace
from rfprune.spec import HardwareSpec, TrainSpec
from rfprune.training import Fit, evaluate, fit, fixed_point
from rfprune.training.fixed_point import through


def test_straight_through() -> None:
    x = torch.tensor([0.3, -1.2], requires_grad=True)
    y = through(x, FixedType.parse("fixed<4,2>"))
    assert y.tolist() == [0.25, -1.25]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]


def test_forward_uses_the_grid_and_is_undone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    planned = plan(trace(model, (6,)), HardwareSpec(precision="fixed<6,3>"))
    kind = FixedType.parse("fixed<6,3>")
    x = torch.randn(10, 6)
    plain = model(x)
    with fixed_point(model, planned):
        inside = model(x)
    hidden = nn.functional.linear(
        kind.quantize(x), kind.quantize(model[0].weight), kind.quantize(model[0].bias)
    ).relu()
    expected = nn.functional.linear(
        kind.quantize(hidden), kind.quantize(model[2].weight), kind.quantize(model[2].bias)
    )
    torch.testing.assert_close(inside, expected)
    torch.testing.assert_close(model(x), plain)


def test_fine_tuning_in_fixed_point_recovers_accuracy() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 8, generator=generator)
    y = (x[:, :3].sum(1) > 0).long() + (x[:, 3:6].sum(1) > 0).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    how = Fit(30, 1e-2, TrainSpec(batch_size=64), seed=0)
    fit(model, x, y, how)
    hardware = HardwareSpec(precision="fixed<10,5>", weight_precision="fixed<3,2>")
    planned = plan(trace(model, (8,)), hardware)
    with fixed_point(model, planned):
        rounded = evaluate(model, x, y)
        fit(model, x, y, how)
        tuned = evaluate(model, x, y)
    assert tuned > rounded + 0.02
