"""Masked, shrunk and counted networks: three ways to one result."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfprune.edge.kernels import (
    Masks,
    kept_indices,
    load_shrunk,
    masked,
    parameter_masks,
    shrink,
    trace_kernels,
)
from rfprune.edge.kernels.saving import KEPT
from rfprune.errors import NetworkError, UnknownNameError
from rfprune.models import build, save_checkpoint
from rfprune.models.spec import ModelSpec
from tests.edge.kernels.networks import BUILDERS, N_CLASSES, SHAPE, count, images, network

LEVELS = (0, 0.25, 0.5, 0.75, 1)


def fractions(kernels, seed):
    """Draw a level per layer; every second policy removes what can be removed."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(LEVELS, len(kernels.prunable))
    return [
        (1 if layer.removable and seed % 2 else level) if layer.removable or level < 1 else 0.75
        for layer, level in zip(kernels.prunable, drawn, strict=True)
    ]


def random_masks(kernels, seed):
    generator = torch.Generator().manual_seed(seed)
    importance = {
        layer.name: torch.rand(layer.n_kernels, generator=generator) for layer in kernels.prunable
    }
    return kernels.masks(importance, fractions(kernels, seed))


@pytest.mark.parametrize("name", BUILDERS)
def test_masked_and_shrunk_networks_agree_and_are_counted(name):
    model = network(name)
    kernels = trace_kernels(model, SHAPE)
    x = images()
    with torch.no_grad():
        whole = model(x)
        for seed in range(4):
            masks = random_masks(kernels, seed)
            with masked(model, masks):
                expected = model(x)
            smaller = shrink(model, masks)
            assert (smaller(x) - expected).abs().max() <= 1e-5
            assert not torch.allclose(expected, whole, atol=1e-4), "the masks did nothing"
            counts, found = kernels.count(masks.kept), count(smaller, SHAPE)
            assert counts.total_macs == found.total_macs
            assert counts.total_parameters == found.total_parameters
            assert counts.activation_bytes.sum() == found.activation_bytes.sum()
            assert found.total_parameters == sum(p.numel() for p in smaller.parameters())
        assert torch.equal(model(x), whole), "the network is as it was"


@pytest.mark.parametrize("name", BUILDERS)
def test_kept_indices_slice_every_tensor_of_the_smaller_network(name):
    model = network(name)
    masks = random_masks(trace_kernels(model, SHAPE), 3)
    indices, whole = kept_indices(masks), model.state_dict()
    for path, tensor in shrink(model, masks).state_dict().items():
        expected = whole[path]
        for axis, index in enumerate(indices.get(path, ())):
            expected = expected.index_select(axis, index)
        assert torch.equal(tensor, expected), path


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", ["edge_cnn", "mobilenet_v3_small", "squeezenet1_1"])
def test_a_smaller_network_lies_in_memory_as_the_whole_one(name, layout):
    model = network(name).to(memory_format=layout)
    smaller = shrink(model, random_masks(trace_kernels(model, SHAPE), 3))
    for path, weight in smaller.named_parameters():
        if weight.ndim == 4:
            assert weight.is_contiguous(memory_format=layout), path


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "resnet18"])
def test_macs_are_half_of_what_torch_counts(name):
    model = network(name)
    kernels = trace_kernels(model, SHAPE)
    for net in (model, shrink(model, random_masks(kernels, 5))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(images(1))
        assert 2 * count(net, SHAPE).total_macs == counter.get_total_flops()


def test_many_policies_are_counted_at_once():
    model = network("edge_cnn")
    kernels = trace_kernels(model, SHAPE)
    levels = [LEVELS if layer.removable else LEVELS[:-1] for layer in kernels.prunable]
    policies = np.array(list(product(*levels)))
    counts = kernels.count(kernels.kept(policies))
    assert counts.macs.shape == (len(policies), len(counts.layers))
    rng = np.random.default_rng(0)
    for i in rng.choice(len(policies), 12, replace=False):
        masks = kernels.masks(model, policies[i])
        found = count(shrink(model, masks), SHAPE)
        assert counts.total_macs[i] == found.total_macs
        by_layer = dict(zip(counts.layers, counts.parameters[i], strict=True))
        left = dict(zip(found.layers, found.parameters, strict=True))
        assert {name: n for name, n in by_layer.items() if n} == left


def resnet_by_hand(model, x, masks):
    """ResNet-18 with activations set to zero wherever a pruned channel is written."""

    def keep(path, y):
        return y * masks[path].to(y.dtype)[None, :, None, None] if path in masks else y

    stream = "conv1"
    x = model.maxpool(torch.relu(keep(stream, model.bn1(model.conv1(x)))))
    for i, stage in enumerate((model.layer1, model.layer2, model.layer3, model.layer4), start=1):
        stream = "conv1" if i == 1 else f"layer{i}.0.conv2"
        for j, block in enumerate(stage):
            inner = f"layer{i}.{j}.conv1"
            skip = x if block.downsample is None else block.downsample(x)
            y = keep(inner, torch.relu(block.bn1(block.conv1(x))))
            y = block.bn2(block.conv2(y))
            # A branch of which nothing is left adds nothing.
            y = y * float(masks[inner].any())
            x = keep(stream, torch.relu(skip + y))
    return model.fc(torch.flatten(model.avgpool(x), 1))


def test_masks_against_a_network_written_by_hand():
    model = network("resnet18")
    kernels = trace_kernels(model, SHAPE)
    for seed in range(4):
        masks = random_masks(kernels, seed)
        with torch.no_grad(), masked(model, masks):
            found = model(images())
        with torch.no_grad():
            expected = resnet_by_hand(model, images(), masks)
        assert torch.allclose(found, expected, atol=1e-5)


@settings(max_examples=8)
@given(st.lists(st.integers(1, 2**20), min_size=5, max_size=5), st.booleans(), st.booleans())
def test_any_masks_of_edge_cnn(bits, empty_first, empty_second):
    model = network("edge_cnn")
    kernels = trace_kernels(model, SHAPE)
    chosen = {}
    for layer, number in zip(kernels.prunable, bits, strict=True):
        mask = torch.tensor([(number >> (i % 20)) & 1 for i in range(layer.n_kernels)]).bool()
        mask[0] |= not mask.any()
        chosen[layer.name] = mask
    for name, empty in (("residual1.conv1", empty_first), ("residual2.conv1", empty_second)):
        if empty:
            chosen[name][:] = False
    masks = Masks(kernels, chosen)
    with torch.no_grad(), masked(model, masks):
        expected = model(images())
    with torch.no_grad():
        assert (shrink(model, masks)(images()) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("name", ["edge_cnn", "mobilenet_v3_small"])
def test_training_under_masks_trains_the_smaller_network(name, optimizer):
    model = network(name).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    kernels = trace_kernels(model, SHAPE)
    masks = random_masks(kernels, 1)
    before = copy.deepcopy(model.state_dict())
    smaller = shrink(model, masks).train()
    x, y = images(8), torch.arange(8) % N_CLASSES

    def steps(net):
        trained = optimizer(net.parameters(), lr=1e-3, weight_decay=1e-2)
        for _ in range(2):
            trained.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            trained.step()

    steps(smaller)
    with masked(model, masks):
        steps(model)
        for path, mask in parameter_masks(masks).items():
            assert not model.get_parameter(path)[~mask.expand_as(model.get_parameter(path))].any()
    after = shrink(model, masks).eval()
    with torch.no_grad():
        assert torch.allclose(after(x), smaller.eval()(x), atol=1e-3)
    for path, mask in parameter_masks(masks).items():
        pruned = ~mask.expand_as(before[path])
        assert torch.equal(model.state_dict()[path][pruned], before[path][pruned])
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert moved, "nothing was trained"


def test_statistics_of_a_removed_branch_are_put_back():
    model = network("edge_cnn").train()
    kernels = trace_kernels(model, SHAPE)
    norm = model.residual1.bn2
    mean, seen = norm.running_mean.clone(), model.stem_bn.running_mean.clone()
    with masked(model, kernels.masks(model, {"residual1.conv1": 1})):
        model(images(4))
    assert torch.equal(norm.running_mean, mean)
    assert not torch.equal(model.stem_bn.running_mean, seen), "the others go on learning"


def test_a_fault_inside_leaves_the_network_whole():
    model = network("edge_cnn")
    kernels = trace_kernels(model, SHAPE)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ZeroDivisionError), masked(model, kernels.masks(model, [0.5] * 5)):
        _ = 1 / 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    untouched = copy.deepcopy(model)
    for net in (model, untouched):
        net(images()).sum().backward()
    gradients = [net.down1.weight.grad for net in (model, untouched)]
    assert torch.equal(*gradients), "no gradient is masked any more"


def test_shrunk_networks_share_nothing_and_keep_their_paths():
    model = network("mobilenet_v3_small")
    kernels = trace_kernels(model, SHAPE)
    smaller = shrink(model, kernels.masks(model, [0.5] * len(kernels.prunable)))
    assert set(dict(smaller.named_parameters())) == set(dict(model.named_parameters()))
    own = {p.data_ptr() for p in model.parameters()}
    assert own.isdisjoint(p.data_ptr() for p in smaller.parameters())
    conv = smaller.get_submodule("features.5.block.1.0")
    assert conv.groups == conv.in_channels == conv.out_channels == conv.weight.shape[0]
    gone = shrink(model, kernels.masks(model, {"features.5.block.0.0": 1}))
    assert not [n for n, _ in gone.named_parameters() if n.startswith("features.5.")]
    again = trace_kernels(smaller, SHAPE)
    assert [layer.name for layer in again.prunable] == [layer.name for layer in kernels.prunable]


def test_removing_a_branch_does_not_let_others_overwrite_its_input():
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)
            self.inner = nn.Conv2d(4, 6, 1)
            self.back = nn.Conv2d(6, 4, 1)
            self.relu = nn.ReLU(inplace=True)
            self.output = nn.Linear(4, 2)

        def forward(self, x):
            x = self.stem(x)
            y = self.relu(x + self.back(self.inner(x)))
            return self.output((y + x).mean((2, 3)))

    model = PreActivation().eval()
    masks = trace_kernels(model, SHAPE).masks(model, {"inner": 1})
    with torch.no_grad(), masked(model, masks):
        expected = model(images())
    with torch.no_grad():
        assert torch.allclose(shrink(model, masks)(images()), expected, atol=1e-6)


def test_masks_are_checked():
    model = network("edge_cnn")
    kernels = trace_kernels(model, SHAPE)
    with pytest.raises(UnknownNameError, match=r"no prunable layer 'step'. Did you mean 'stem'"):
        Masks(kernels, {"step": torch.ones(16)})
    with pytest.raises(NetworkError, match=r"layer 'stem': its mask has shape \(15,\), expected"):
        Masks(kernels, {"stem": torch.ones(15)})
    with pytest.raises(NetworkError, match=r"without any kernel of stem nothing connects"):
        Masks(kernels, {"stem": torch.zeros(16)})


def save_shrunk(path, smaller, masks, spec, n_outputs):
    """Save a smaller network as a trial does."""
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    save_checkpoint(path, smaller, spec, SHAPE, n_outputs, {KEPT: kept})


@pytest.mark.parametrize("name", ["edge_cnn", "squeezenet1_1"])
def test_shrunk_networks_are_saved_without_code(name, tmp_path):
    model = network(name)
    spec = ModelSpec(name="edge_cnn")
    if name != "edge_cnn":
        spec = ModelSpec(name=name, args={"stem_stride": 1, "width": 0.5})
    kernels = trace_kernels(model, SHAPE)
    masks = random_masks(kernels, 3)
    smaller = shrink(model, masks)
    path = tmp_path / "small.pt"
    save_shrunk(path, smaller, masks, spec, N_CLASSES)
    assert set(torch.load(path, weights_only=True)["extra"]) == {"kept_kernels"}
    loaded = load_shrunk(path)
    with torch.no_grad():
        assert torch.equal(loaded(images()), smaller(images()))
    with pytest.raises(NetworkError, match=r"the weights do not fit"):
        build(ModelSpec(name=str(path)), SHAPE, N_CLASSES)


def test_other_files_are_refused(tmp_path):
    model = network("edge_cnn")
    kernels = trace_kernels(model, SHAPE)
    masks = kernels.masks(model, [0.5] * 5)
    whole, damaged, foreign = (tmp_path / f"{name}.pt" for name in ("whole", "damaged", "foreign"))
    save_checkpoint(whole, model, ModelSpec(name="edge_cnn"), SHAPE, N_CLASSES)
    with pytest.raises(NetworkError, match=r"not one whose kernels were removed"):
        load_shrunk(whole)
    save_shrunk(damaged, shrink(model, masks), masks, ModelSpec(name="edge_cnn"), N_CLASSES)
    wider = ModelSpec(name="edge_cnn", args={"channels": [8, 16, 24]})
    with pytest.raises(NetworkError, match=r"does not fit the network it names"):
        load_shrunk(damaged, wider)
    spec = ModelSpec(name="some.module:function")
    save_shrunk(foreign, shrink(model, masks), masks, spec, N_CLASSES)
    with pytest.raises(NetworkError, match=r"a file must not decide what code is run"):
        load_shrunk(foreign)
    assert load_shrunk(foreign, ModelSpec(name="edge_cnn")) is not None
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(NetworkError, match=r"damaged"):
        load_shrunk(damaged)
