"""A level is the masked network, and the smaller network, with norms of its own."""

import pytest
import torch
from torch import nn

from rfprune.edge.adaptive import (
    Levels,
    SlimmableNetwork,
    make_levels,
    recalibrate,
)
from rfprune.edge.kernels import Masks, masked, shrink, trace_kernels
from rfprune.errors import NetworkError, SpecError
from tests.edge.adaptive.made import FRACTIONS, SHAPE, images, level_power, network, slimmable
from tests.edge.kernels import networks as published

ALL = range(len(FRACTIONS))


def with_own_norms(net, level):
    """Return level 0's structure with the norms of a level where they are, and the masks."""
    whole, masks = shrink(net.network, net.levels.masks[0]), net.levels.masks[level]
    kept = net.levels.kernels.channels
    by_group = masks.by_group
    norms = {op.path: op for op in kept.operations if op.kind.name == "NORM"}
    for path, module in net.at(level).named_modules():
        if isinstance(module, nn.BatchNorm2d):
            indices = kept.spread(norms[path], by_group)
            target = whole.get_submodule(path)
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(target, name).data[indices] = getattr(module, name).detach()
    return whole


@pytest.mark.parametrize("level", ALL)
def test_a_level_is_the_masked_and_the_shrunk_network(level):
    net, (x, _) = slimmable(), images(8)
    masks = net.levels.masks[level]
    with torch.no_grad(), masked(net.network, masks):
        expected = net.network(x)
    with torch.no_grad():
        assert (net(x, level) - expected).abs().max() <= 1e-5
        assert (net(x, level) - shrink(net.network, masks)(x)).abs().max() <= 1e-5


@pytest.mark.parametrize("level", ALL)
def test_a_level_with_statistics_of_its_own_is_the_masked_network_with_these(level):
    net, (x, _) = slimmable(), images(60)
    recalibrate(net, x, batch_size=20)
    whole = with_own_norms(net, level)
    with torch.no_grad(), masked(whole, net.levels.masks[level]):
        expected = whole(x)
    with torch.no_grad():
        assert (net(x, level) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "resnet18"])
def test_published_networks_have_levels_too(name):
    model = published.network(name)
    kernels = trace_kernels(model, published.SHAPE)
    net, x = SlimmableNetwork(model, make_levels(model, kernels, (0, 0.5))), published.images()
    with torch.no_grad():
        with masked(model, net.levels.masks[1]):
            expected = model(x)
        assert (net(x, 1) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("level", ALL)
def test_training_mode_computes_with_the_shared_weights(level):
    net, (x, _) = slimmable(), images(8)
    shared = net.network.get_submodule("down1").weight
    norm = next(m for m in net.at(level).modules() if isinstance(m, nn.BatchNorm2d))
    net.train()
    net(x, level).sum().backward()
    kept = net.levels.masks[level]["down1"]
    assert shared.grad[kept].abs().sum() > 0
    assert (shared.grad[~kept] == 0).all()
    assert norm.weight.grad.abs().sum() > 0
    assert norm.num_batches_tracked == 1
    with torch.no_grad():
        shared.mul_(2)
        norm.weight.mul_(3)
    net.eval()
    with torch.no_grad():
        whole = with_own_norms(net, level)
        with masked(whole, net.levels.masks[level]):
            expected = whole(x)
        assert (net(x, level) - expected).abs().max() <= 1e-5


def test_only_norms_are_parameters_of_a_smaller_level():
    net = slimmable()
    trained = [name for name, p in net.named_parameters() if p.requires_grad]
    assert {name for name in trained if not name.startswith("network.")} == {
        name for name in trained if name.startswith("sliced.") and ("bn" in name)
    }
    assert len(trained) == len([*net.network.parameters()]) + sum(
        2 for part in net.sliced for m in part.modules() if isinstance(m, nn.BatchNorm2d)
    )


def test_statistics_after_recalibration_are_those_of_the_rows():
    net, (x, _) = slimmable(), images(60)
    stem = net.network.get_submodule("stem")
    recalibrate(net, x, batch_size=60)
    with torch.no_grad():
        out = stem(x)
    for level in ALL:
        norm = net.at(level).get_submodule("stem_bn")
        kept = net.levels.masks[level]["stem"]
        torch.testing.assert_close(norm.running_mean, out.mean(dim=(0, 2, 3))[kept])
        assert norm.momentum == 0.1
        assert not norm.training


def test_levels_nest_and_cost_less_and_less():
    _, levels = network()
    for more, fewer in zip(levels.masks, levels.masks[1:], strict=False):
        assert all((more[name] | ~fewer[name]).all() for name in more)
    assert levels.sparsity == FRACTIONS
    assert levels.fractions.tolist() == [[f] * len(levels.kernels.prunable) for f in FRACTIONS]
    watts = [p.value for p in level_power(levels)]
    assert watts == sorted(watts, reverse=True)
    net = slimmable()
    assert list(net.memory_bytes) == sorted(net.memory_bytes, reverse=True)


def test_a_removable_layer_may_go_entirely():
    model, _ = network()
    kernels = trace_kernels(model, SHAPE)
    gone = [layer.name for layer in kernels.prunable if layer.removable]
    levels = make_levels(model, kernels, (0, dict.fromkeys(gone, 0.5), dict.fromkeys(gone, 1.0)))
    net, (x, _) = SlimmableNetwork(model, levels), images(24)
    assert gone
    with torch.no_grad():
        with masked(model, levels.masks[2]):
            expected = model(x)
        assert (net(x, 2) - expected).abs().max() <= 1e-5
    net.train()
    net(x, 2).sum().backward()
    assert model.get_submodule("stem").weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0,), "at least 2"),
        ((0.25, 0.5), "prunes 25%"),
        ((0, 0.5, 0.25), "level 2 keeps kernels of layer 'stem' that level 1 prunes"),
        ((0, 0.5, 0.5), "2 and 1 keep the same kernels"),
        ((0, 1.5), "is not a fraction"),
    ],
)
def test_wrong_levels_are_one_sentence(fractions, message):
    model, levels = network()
    with pytest.raises(SpecError, match=message):
        make_levels(model, levels.kernels, fractions)


def test_masks_of_another_ranking_do_not_nest():
    _, levels = network()
    mask = ~levels.masks[2]["stem"]
    other = Masks(levels.kernels, {**levels.masks[2], "stem": mask})
    with pytest.raises(SpecError, match="level 2 keeps kernels of layer 'stem'"):
        Levels(levels.kernels, (levels.masks[0], levels.masks[2], other))


def test_a_level_that_is_not_there():
    with pytest.raises(SpecError, match=r"level: 4\. Allowed: 0 to 3"):
        slimmable().at(4)


def test_a_network_without_convolutions():
    with pytest.raises(NetworkError, match="no convolution"):
        trace_kernels(nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), SHAPE)


def test_refresh_after_a_change_from_outside():
    net, (x, _) = slimmable(), images(4)
    with torch.no_grad():
        net.network.get_submodule("output").bias.add_(5)
        before = net(x, 2)
        net.refresh()
        torch.testing.assert_close(net(x, 2), before + 5)
