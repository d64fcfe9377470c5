"""Grouped convolutions, slices, permutations, transposed convolutions and dense layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from rfprune.edge.kernels import Masks, kept_indices, masked, shrink, trace_kernels
from rfprune.edge.kernels.layers import KernelMap
from rfprune.errors import NetworkError
from rfprune.pruning.scores import score_groups
from tests.edge.kernels.networks import count

SHAPE = (3, 12, 12)


class Grouped(nn.Module):
    """Groups of four channels, after a concatenation whose parts they divide."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 16, 1)
        self.grouped = nn.Conv2d(24, 12, 3, padding=1, groups=6)
        self.norm = nn.BatchNorm2d(12)
        self.last = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.a(x), self.b(x)], 1).relu()
        return self.last(self.norm(self.grouped(x))).mean((2, 3))


class Split(nn.Module):
    """Half of a convolution goes on by itself, as in cross stage partial networks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip, x = self.stem(x).relu().split([4, 8], dim=1)
        x = torch.cat([self.inner(x).relu() + x, skip], 1)[:, :12]
        return self.last(x).mean((2, 3))


class Permuted(nn.Module):
    """The block of ConvNeXt: dense layers on the last axis, between permutations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.wide, self.back = nn.Linear(8, 20), nn.Linear(20, 8)
        self.hidden, self.out = nn.Linear(8, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(x.permute(0, 2, 3, 1))
        y = self.back(functional.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return self.out(self.hidden((x + y).mean((2, 3))).relu())


class Upsampling(nn.Module):
    """A small U-net: transposed convolutions, one of them depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.deep = nn.Conv2d(8, 10, 3, padding=1, stride=2)
        self.up = nn.ConvTranspose2d(10, 8, 2, stride=2)
        self.each = nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x).relu()
        x = self.up(self.deep(x).relu()) + x
        return self.last(self.each(x.relu()))


NETWORKS: tuple[type[nn.Module], ...] = (Grouped, Split, Permuted, Upsampling)


def drawn_masks(kernels: KernelMap, seed: int) -> Masks:
    """Return masks that keep some kernels of every layer at random."""
    rng = np.random.default_rng(seed)
    chosen = {}
    for layer in kernels.prunable:
        mask = rng.random(layer.n_kernels) < 0.6
        mask[rng.integers(layer.n_kernels)] = True
        chosen[layer.name] = torch.from_numpy(mask)
    return Masks(kernels, chosen)


@pytest.mark.parametrize("network", NETWORKS)
def test_masked_shrunk_and_counted_agree(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = network().eval()
    kernels = trace_kernels(model, SHAPE)
    x = torch.randn(2, *SHAPE)
    for seed in range(3):
        masks = drawn_masks(kernels, seed)
        with torch.no_grad(), masked(model, masks):
            expected = model(x)
        smaller = shrink(model, masks)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            assert torch.allclose(smaller(x), expected, atol=1e-5)
        counts, found = kernels.count(masks.kept), count(smaller, SHAPE)
        assert 2 * 2 * counts.total_macs == counter.get_total_flops(), "two rows were counted"
        assert counts.total_macs == found.total_macs
        assert counts.total_parameters == sum(p.numel() for p in smaller.parameters())
        indices, whole = kept_indices(masks), model.state_dict()
        for path, tensor in smaller.state_dict().items():
            taken = whole[path]
            for axis, index in enumerate(indices.get(path, ())):
                taken = taken.index_select(axis, index)
            assert torch.equal(tensor, taken), path


def by_hand(model: Grouped, x: Tensor, gone: list[int]) -> Tensor:
    """Compute with zeros where a group of four channels, and its two outputs, are gone."""
    x = torch.cat([model.a(x), model.b(x)], 1).relu()
    y = model.norm(model.grouped(x))
    for group in gone:
        y[:, 2 * group : 2 * group + 2] = 0
    return model.last(y).mean((2, 3))


def test_a_grouped_convolution_loses_whole_groups() -> None:
    torch.manual_seed(0)
    model = Grouped().eval()
    kernels = trace_kernels(model, SHAPE)
    layers = {layer.name: layer for layer in kernels.prunable}
    assert {name: layer.n_kernels for name, layer in layers.items()} == {"a": 2, "b": 4}
    assert layers["b"].followers == ("grouped", "norm")
    # Four kernels of 1 x 1 x 3 with bias; two of 3 x 3 x 4 with bias and norm; two inputs of five.
    assert layers["b"].weights_per_kernel == 4 * 4 + 2 * (9 * 4 + 1 + 2) + 2 * 5
    masks = Masks(kernels, {"a": torch.tensor([True, False]), "b": torch.tensor([1, 0, 1, 1])})
    smaller = shrink(model, masks)
    grouped = smaller.get_submodule("grouped")
    assert (grouped.in_channels, grouped.out_channels, grouped.groups) == (16, 8, 4)
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.allclose(smaller(x), by_hand(model, x, [1, 3]), atol=1e-5)


def test_the_parts_of_a_split_are_layers_of_their_own() -> None:
    kernels = trace_kernels(Split().eval(), SHAPE)
    layers = {layer.name: layer for layer in kernels.layers}
    # What is added to the second part is coupled with it, and with it alone.
    assert layers["stem.0-3"].convs == ("stem",)
    assert layers["stem.4-11"].convs == ("stem", "inner")
    assert (layers["stem.0-3"].n_kernels, layers["stem.4-11"].n_kernels) == (4, 8)
    only = trace_kernels(Split().eval(), SHAPE, ["stem.0-3"])
    assert [layer.name for layer in only.prunable] == ["stem.0-3"]


def test_hidden_dense_layers_are_pruned_and_norms_over_channels_are_not() -> None:
    layers = {layer.name: layer for layer in trace_kernels(Permuted().eval(), SHAPE).layers}
    assert layers["stem"].kept_because == "what 'norm' does to channels is not known"
    assert "out" not in layers
    assert [layers[name].kept_because for name in ("wide", "hidden")] == [None, None]
    # 12 x 12 positions, eight inputs and eight outputs of each hidden neuron.
    assert layers["wide"].macs_per_kernel == 144 * 16
    assert layers["hidden"].macs_per_kernel == 8 + 5


def test_a_transposed_convolution_is_counted_by_what_it_reads() -> None:
    model = Upsampling().eval()
    counts = count(model, SHAPE)
    macs = dict(zip(counts.layers, counts.macs.tolist(), strict=True))
    # On 3 x 3 and on 6 x 6 positions, 2 x 2 weights for each of them.
    assert macs["up"] == 9 * 4 * 10 * 8
    assert macs["each"] == 36 * 4 * 8


def test_groups_that_do_not_fit_keep_their_channels() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
            self.grouped = nn.Conv2d(12, 12, 1, groups=3)

        def forward(self, x: Tensor) -> Tensor:
            return self.grouped(torch.cat([self.a(x), self.b(x)], 1))

    with pytest.raises(NetworkError, match="the groups of 'grouped' do not fit the channels"):
        trace_kernels(Odd(), SHAPE)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_kernel_is_worth_the_weights_that_make_it(network: type[nn.Module]) -> None:
    """The L1 score against sums over the outputs of the modules, without labels."""
    from rfprune.edge.costs import EdgeCosts
    from rfprune.edge.monitor import find_device
    from rfprune.edge.prunable import KernelPrunable
    from rfprune.spec import EdgeSpec
    from rfprune.tasks import TaskSpec, make_task

    torch.manual_seed(0)
    model = network().eval()
    kernels = trace_kernels(model, SHAPE)
    costs = EdgeCosts(kernels, find_device("raspberry_pi_4"), EdgeSpec())
    groups = KernelPrunable(model, costs, np.ones(len(kernels.prunable), np.int64), False)
    task, rng = make_task(TaskSpec()), np.random.default_rng(0)
    found = score_groups(model, groups, "l1", "none", [], rng, task=task)
    ranked = torch.cat([*kernels.rank(model).values()]).numpy()
    # The depthwise transposed convolution has a say in scores, and none in the ranking.
    expected = ranked.copy()
    if network is Upsampling:
        names = [layer.name for layer in kernels.prunable]
        begin = int(kernels.n_kernels[: names.index("down")].sum())
        expected[begin : begin + 8] += model.each.weight.abs().sum((1, 2, 3)).detach().numpy()
    assert np.allclose(found, expected, rtol=1e-6)
