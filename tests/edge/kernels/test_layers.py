"""Which kernels are coupled, which may go, and what is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfprune.edge.kernels import trace_kernels
from rfprune.errors import NetworkError, SpecError, UnknownNameError
from tests.edge.kernels.networks import SHAPE, network


def by_name(kernels):
    return {layer.name: layer for layer in kernels.layers}


class Custom(nn.Module):
    """A network whose forward is given, over two convolutions of eight kernels."""

    def __init__(self, forward):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.output = nn.Linear(8, 4)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self._forward(self, x).mean((2, 3)))


def test_edge_cnn():
    kernels = trace_kernels(network("edge_cnn"), SHAPE)
    assert [(layer.name, layer.n_kernels, layer.removable) for layer in kernels.prunable] == [
        ("stem", 16, False),
        ("down1", 32, False),
        ("residual1.conv1", 32, True),
        ("down2", 64, False),
        ("residual2.conv1", 64, True),
    ]
    down = by_name(kernels)["down1"]
    assert down.convs == ("down1", "residual1.conv2")
    assert down.followers == ("down1_bn", "residual1.bn2")
    # 3x3 kernels over 16 and 32 channels, two norms, and the input of residual1.conv1 and down2.
    assert down.weights_per_kernel == 9 * 16 + 9 * 32 + 4 + 9 * 32 + 9 * 64
    assert down.macs_per_kernel == 16 * 16 * 9 * (16 + 32 + 32) + 8 * 8 * 9 * 64


def test_depthwise_convolutions_and_gates_follow():
    kernels = trace_kernels(network("mobilenet_v3_small"), SHAPE)
    layers = by_name(kernels)
    expand = layers["features.5.block.0.0"]
    assert expand.convs == ("features.5.block.0.0",)
    assert expand.followers == (
        "features.5.block.0.1",
        "features.5.block.1.0",
        "features.5.block.1.1",
        "features.5.block.2.fc2",
    )
    assert expand.removable
    squeeze = layers["features.5.block.2.fc1"]
    assert squeeze.kept_because == "it only weighs other channels (squeeze-excite)"
    stream = layers["features.4.block.3.0"]
    # At half the width the blocks 4 to 8 all have 24 channels, so each is added to the one before.
    assert stream.convs == tuple(f"features.{i}.block.3.0" for i in range(4, 9))
    assert not stream.removable
    # Only blocks with a skip path may go, and block 4 halves the image.
    assert not layers["features.4.block.0.0"].removable


def test_concatenated_branches_are_layers_of_their_own():
    kernels = trace_kernels(network("squeezenet1_1"), SHAPE)
    layers = by_name(kernels)
    assert layers["features.3.expand1x1"].removable
    assert not layers["features.3.expand3x3"].removable, "one of the two has to stay"
    assert not layers["features.3.squeeze"].removable
    assert layers["classifier.1"].kept_because == "its channels are the network's output"


def test_every_convolution_is_in_one_layer():
    for name in ("mobilenet_v3_large", "efficientnet_lite0", "squeezenet1_1", "resnet18"):
        model = network(name)
        kernels = trace_kernels(model, SHAPE)
        found = [path for layer in kernels.layers for path in layer.convs]
        found += [path for layer in kernels.layers for path in layer.followers]
        convs = [n for n, module in model.named_modules() if isinstance(module, nn.Conv2d)]
        assert set(convs) <= set(found)
        assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("forward", "name"),
    [
        (lambda m, x: m.b(m.a(x).flip(1)), "flip"),
        (lambda m, x: m.b(torch.cat(m.a(x).chunk(2, 1)[::-1], 1)), "chunk"),
        (lambda m, x: m.b(m.a(x)[:, ::2].repeat(1, 2, 1, 1)), "getitem"),
        (lambda m, x: m.b(m.a(x).softmax(1)), "softmax"),
        (lambda m, x: (lambda y: m.b(torch.add(y, y.relu(), alpha=3)))(m.a(x)), "add"),
        (lambda m, x: m.b(m.a(x).mean(1, keepdim=True).expand(-1, 8, -1, -1)), "mean"),
        (lambda m, x: m.b(m.a(x).reshape(-1, 8, 32, 32)), "reshape"),
    ],
)
def test_what_mixes_channels_in_an_unknown_way_keeps_them(forward, name):
    layers = by_name(trace_kernels(Custom(forward), SHAPE))
    assert layers["a"].kept_because == f"what '{name}' does to channels is not known"
    assert layers["b"].kept_because is None


def test_a_convolution_that_is_called_twice_keeps_its_channels():
    with pytest.raises(NetworkError, match=r"'a', for one: what 'b' does to channels is not known"):
        trace_kernels(Custom(lambda m, x: m.b(m.b(m.a(x)))), SHAPE)


def test_convolutions_that_share_their_weights_keep_their_channels():
    model = Custom(lambda m, x: m.again(m.b(m.a(x)).relu()))
    model.again = nn.Conv2d(8, 8, 3, padding=1)
    model.again.weight = model.b.weight
    with pytest.raises(NetworkError, match=r"'a', for one: what 'b' does to channels is not known"):
        trace_kernels(model, SHAPE)


def test_functions_and_methods_are_understood():
    def forward(m, x):
        x = torch.relu(m.a(x))
        return torch.nn.functional.max_pool2d(x + m.b(x).relu(), 2)

    (layer,) = trace_kernels(Custom(forward), SHAPE).layers
    assert layer.convs == ("a", "b")
    assert layer.kept_because is None


def test_a_flatten_spreads_a_channel_over_its_pixels():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, padding=1)
            self.fc = nn.Linear(5 * 16, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x).view(x.size(0), -1))

    (layer,) = trace_kernels(Flat(), (3, 4, 4)).layers
    assert layer.weights_per_kernel == 27 + 1 + 2 * 16


def test_what_cannot_be_pruned_is_refused():
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(NetworkError, match=r"Sequential has no convolution and no hidden dense"):
        trace_kernels(mlp, (3, 2, 2))
    with pytest.raises(NetworkError, match=r"does not take samples of shape \(5, 8, 8\)"):
        trace_kernels(network("edge_cnn"), (5, 8, 8))
    branching = Custom(lambda m, x: m.a(x) if x.sum() > 0 else m.a(-x))
    with pytest.raises(NetworkError, match=r"Custom cannot be traced by torch\.fx"):
        trace_kernels(branching, SHAPE)
    only_output = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(NetworkError, match=r"no kernel .* can be pruned; '0', for one: its chan"):
        trace_kernels(only_output, SHAPE)


def test_pruning_can_be_limited_to_layers():
    model = network("edge_cnn")
    kernels = trace_kernels(model, SHAPE, layers=["residual*", "stem"])
    # residual1.conv2 is added to down1, so that layer is named too.
    assert [layer.name for layer in kernels.prunable] == [
        "stem",
        "down1",
        "residual1.conv1",
        "down2",
        "residual2.conv1",
    ]
    kernels = trace_kernels(model, SHAPE, layers=["stem"])
    assert by_name(kernels)["down1"].kept_because == "not in the list of layers"
    with pytest.raises(UnknownNameError, match=r"'stemm' names no convolution. Did you mean 'ste"):
        trace_kernels(model, SHAPE, layers=["stemm"])


def test_tracing_leaves_the_network_alone():
    model = network("mobilenet_v3_small").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace_kernels(model, SHAPE)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_rounding_rule():
    kernels = trace_kernels(Custom(lambda m, x: m.b(m.a(x))), SHAPE, ["a"])
    assert kernels.n_kernels.tolist() == [8]
    fractions = [[0.0], [0.05], [0.0625], [0.25], [0.5], [0.75], [0.9375], [0.99]]
    assert kernels.kept(fractions)[:, 0].tolist() == [8, 8, 7, 6, 4, 2, 1, 1]


def test_fractions_are_checked():
    kernels = trace_kernels(network("edge_cnn"), SHAPE)
    assert kernels.kept({"residual1.conv1": 1, "stem": 0.5}).tolist() == [8, 32, 0, 64, 64]
    with pytest.raises(SpecError, match=r"layer 'stem': a fraction of 1 would cut the network"):
        kernels.kept({"stem": 1})
    with pytest.raises(SpecError, match=r"4 values for the 5 prunable layers"):
        kernels.kept([0.5] * 4)
    with pytest.raises(SpecError, match=r"1\.5 is not a fraction"):
        kernels.kept([0, 0, 0, 0, 1.5])
    with pytest.raises(SpecError, match=r"nan is not a fraction"):
        kernels.kept([0, 0, 0, 0, np.nan])
    with pytest.raises(
        UnknownNameError, match=r"'residual1\.con'\. Did you mean 'residual1\.conv1'"
    ):
        kernels.kept({"residual1.con": 0.5})
    squeeze = trace_kernels(network("squeezenet1_1"), SHAPE)
    with pytest.raises(UnknownNameError, match=r"'classifier\.1' keeps its kernels: its channels"):
        squeeze.kept({"classifier.1": 0.5})


def test_importance_sums_over_coupled_convolutions():
    model = network("edge_cnn")
    kernels = trace_kernels(model, SHAPE)
    first, second = model.down1.weight.detach(), model.residual1.conv2.weight.detach()
    expected = {
        "l1": first.abs().sum((1, 2, 3)) + second.abs().sum((1, 2, 3)),
        "l2": first.flatten(1).norm(dim=1) + second.flatten(1).norm(dim=1),
        "mean": first.abs().mean((1, 2, 3)) + second.abs().mean((1, 2, 3)),
    }
    for by, value in expected.items():
        found = kernels.rank(model, by)
        assert list(found) == [layer.name for layer in kernels.prunable]
        assert torch.allclose(found["down1"], value.double(), rtol=1e-5)
    with pytest.raises(UnknownNameError, match=r"unknown importance 'l1_norm'"):
        kernels.rank(model, "l1_norm")


def test_depthwise_kernels_count_and_gates_do_not():
    model = network("mobilenet_v3_small")
    kernels = trace_kernels(model, SHAPE)
    block = model.features[5].block
    weights = [block[0][0].weight, block[1][0].weight]
    expected = sum(weight.detach().abs().flatten(1).sum(1).double() for weight in weights)
    assert torch.allclose(kernels.rank(model)["features.5.block.0.0"], expected, rtol=1e-5)


def test_masks_keep_the_most_important_kernels():
    model = network("edge_cnn")
    kernels = trace_kernels(model, SHAPE)
    importance = kernels.rank(model, "l2")
    fractions = [0.25, 0.5, 1.0, 0.75, 0.0]
    masks = kernels.masks(importance, fractions)
    assert masks.kept.tolist() == [12, 16, 0, 16, 64]
    assert masks.sparsity == 1 - (12 + 16 + 16 + 64) / (16 + 32 + 32 + 64 + 64)
    for name, mask in masks.items():
        kept, gone = importance[name][mask], importance[name][~mask]
        assert not len(kept) or not len(gone) or kept.min() >= gone.max()
    tighter = kernels.masks(importance, [0.5, 0.75, 1.0, 0.75, 0.25])
    assert all((masks[name] | ~tighter[name]).all() for name in masks), "levels are nested"
    by_l1 = kernels.masks(model, fractions)
    assert all(
        torch.equal(by_l1[name], mask)
        for name, mask in kernels.masks(kernels.rank(model, "l1"), fractions).items()
    )
