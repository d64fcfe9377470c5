"""hls4ml as the oracle: what our groups say is live is what it generates."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.errors import ConversionError, ReportError
from rfprune.fpga.groups import Groups, build_groups
from rfprune.fpga.hls import convert, read_project
from rfprune.fpga.layers import Plan, plan, trace
from rfprune.hardware.reuse import valid_reuse_factors
from rfprune.spec import HardwareSpec, PruneSpec


def random_network(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...], str]:
    """Return a small random network: dense, convolutional, or dense on sequences."""
    makers = (random_mlp, random_cnn, random_sequence_network)
    model, shape = makers[rng.integers(len(makers))](rng)
    return model, shape, str(rng.choice(["io_stream", "io_parallel"]))


def random_mlp(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    sizes = [int(n) for n in rng.integers(3, 25, size=rng.integers(2, 5))]
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1]), (sizes[0],)


def random_cnn(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    channels, filters, kernel = (int(n) for n in rng.integers([1, 2, 1], [5, 7, 4]))
    size = int(rng.integers(kernel + 1, 9))
    out = size - kernel + 1
    if rng.random() < 0.5:
        conv: nn.Module = nn.Conv1d(channels, filters, kernel)
        features, shape = filters * out, (channels, size)
    else:
        conv = nn.Conv2d(channels, filters, kernel)
        features, shape = filters * out * out, (channels, size, size)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(features, 4)), shape


def random_sequence_network(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    positions = tuple(int(n) for n in rng.integers(2, 5, size=rng.integers(1, 3)))
    features, first, second = (int(n) for n in rng.integers(3, 13, size=3))
    layers = (
        nn.Linear(features, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * math.prod(positions), 4),
    )
    return nn.Sequential(*layers), (*positions, features)


def random_plan(rng: np.random.Generator) -> tuple[nn.Module, Plan]:
    """Return a random network with a random valid reuse factor and width per layer."""
    model, shape, io_type = random_network(rng)
    network = trace(model, shape)
    layers: dict[str, Any] = {}
    for layer in network.layers:
        factors = valid_reuse_factors(layer.n_in, layer.n_out, "auto")
        if io_type == "io_parallel" and layer.kind.convolves:
            factors = [1]
        width = int(rng.choice([6, 8, 12, 16, 18]))
        layers[layer.name] = {
            "reuse_factor": int(rng.choice(factors)),
            "weight_precision": f"fixed<{width},3>",
        }
    hardware = HardwareSpec.model_validate({"io_type": io_type, "layers": layers})
    return model, plan(network, hardware)


def random_structure(rng: np.random.Generator) -> PruneSpec:
    structure = str(rng.choice(["auto", "filter", "block"]))
    rows, columns = (int(n) for n in rng.integers(1, 7, size=2))
    return PruneSpec.model_validate({"structure": structure, "block": (rows, columns)})


def prune_randomly(model: nn.Module, groups: Groups, rng: np.random.Generator) -> None:
    keep = rng.random(len(groups)) < rng.uniform(0.1, 0.9)
    for layer in groups.layers:
        layer.weight_of(model).data.mul_(groups.masks(keep)[layer.plan.name])


def check_against_hls4ml(seed: int, folder: Path) -> None:
    """Live groups are the multiplier limits (RF <= n_in); product lines the non-zero weights."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model, planned = random_plan(rng)
    groups = build_groups(planned, random_structure(rng))
    prune_randomly(model, groups, rng)
    conversion = convert(model, planned, folder)
    conversion.write()
    live = groups.live(model)
    code = {layer.name: layer for layer in read_project(folder)}
    assert set(code) == set(live)
    for layer in planned.layers:
        found = code[layer.name]
        weight = model.get_submodule(layer.layer.path).weight
        nonzero = int((weight != 0).sum())
        assert (found.strategy, found.reuse_factor) == (layer.strategy, layer.reuse_factor)
        assert found.live_multipliers == live[layer.name]
        if layer.strategy == "resource_unrolled":
            assert found.products == nonzero
            if layer.reuse_factor <= layer.layer.n_in:
                assert found.multiplier_limit == live[layer.name]
        else:
            assert found.multiplier_limit == nonzero


@pytest.mark.parametrize("seed", range(8))
def test_generated_code_bears_our_counts(seed: int, tmp_path: Path) -> None:
    check_against_hls4ml(seed, tmp_path / "hls")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8, 40))
def test_generated_code_bears_our_counts_for_many(seed: int, tmp_path: Path) -> None:
    check_against_hls4ml(seed, tmp_path / "hls")


def test_the_limit_above_n_in_is_too_high_by_the_known_amount(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 12))
    planned = plan(trace(model, (16,)), HardwareSpec(reuse_factor=32))
    groups = build_groups(planned, PruneSpec())
    keep = np.array([True, False, True, False, True, False])
    groups.layers[0].weight_of(model).data.mul_(groups.masks(keep)["_0"])
    convert(model, planned, tmp_path).write()
    (layer,) = read_project(tmp_path)
    assert (layer.live_multipliers, layer.multiplier_limit) == (3, 3 + 12 - 6)
    assert layer.products == 3 * 32


def test_values_that_only_round_to_zero_are_not_skipped(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].weight.data.fill_(1e-7)
    planned = plan(trace(model, (4,)), HardwareSpec(reuse_factor=2))
    assert convert(model, planned, tmp_path).live_multipliers() == {"_0": 8}


def test_a_fallback_is_an_error(tmp_path: Path) -> None:
    """A plan that claims another strategy than hls4ml builds must not pass."""
    from dataclasses import replace

    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    planned = plan(
        trace(model, (1, 5, 5)), HardwareSpec(reuse_factor=3, strategy="resource_unrolled")
    )
    assert planned.layers[0].kept_because is not None
    convert(model, planned, tmp_path)
    claimed = replace(planned, layers=(replace(planned.layers[0], kept_because=None),))
    with pytest.raises(ConversionError, match="_0: asked for strategy resource_unrolled"):
        convert(model, claimed, tmp_path)


def test_a_wrong_weight_order_is_an_error(tmp_path: Path) -> None:
    from dataclasses import replace

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4))
    planned = plan(trace(model, (4,)), HardwareSpec(reuse_factor=2))
    turned = replace(planned.layers[0], order=planned.layers[0].order[::-1].copy())
    with pytest.raises(ConversionError, match="order of hls4ml's weights"):
        convert(model, replace(planned, layers=(turned,)), tmp_path)


def test_a_folder_without_a_project(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"parameters\.h: is not a readable hls4ml project"):
        read_project(tmp_path)
