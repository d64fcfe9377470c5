"""Training through fixed point: forward on the grid, gradients straight through."""

import torch
from torch import nn

from rfprune.fpga.fixed_point import fixed_point, fixed_point_graph, round_graph, through
from rfprune.fpga.layers import fold_batch_norm, plan, trace
from rfprune.hardware.precision import FixedType
from rfprune.spec import HardwareSpec, TrainSpec
from rfprune.training import Fit, evaluate, fit


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


def test_saturation_stops_the_gradient_and_wrapping_does_not() -> None:
    x = torch.tensor([0.3, 5.0, -7.0], requires_grad=True)
    clipped = through(x, FixedType.parse("fixed<4,2,RND,SAT>"))
    assert clipped.tolist() == [0.25, 1.75, -2.0]
    clipped.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, 0.0]
    wrapped = through(x, FixedType.parse("fixed<4,2>"))
    assert wrapped.tolist() == [0.25, 1.0, 1.0]


def test_activations_are_rounded_and_saturated_to_their_layers_type() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    hardware = HardwareSpec.model_validate(
        {"precision": "fixed<16,6>", "layers": {"_0": {"precision": "fixed<5,2,RND,SAT>"}}}
    )
    graph = fixed_point_graph(model, plan(trace(model, (6,)), hardware))
    x = 20 * torch.randn(50, 6)
    seen: list[torch.Tensor] = []
    graph.get_submodule("fixed__2").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    graph(x)
    kind = FixedType.parse("fixed<5,2,RND,SAT>")
    assert torch.equal(seen[0], kind.quantize(seen[0]))
    assert seen[0].max() == kind.max == 1.875


def test_batch_norm_is_rounded_where_it_is_folded_to() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )
    for _ in range(3):
        model(3 * torch.randn(32, 2, 4, 4) + 1)
    hardware = HardwareSpec(precision="fixed<10,5>", weight_precision="fixed<6,2>")
    planned = plan(trace(model, (2, 4, 4)), hardware)
    folded = fold_batch_norm(model, planned.network)
    x = torch.randn(20, 2, 4, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    with fixed_point(model, planned):
        inside = model(x)
        inside.sum().backward()
    assert torch.equal(inside, round_graph(folded, planned)(x))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model[1].parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


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
