"""Groups: labels against an emulated HLS loop, exact costs, masks."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfprune.core.quantities import RESOURCES
from rfprune.errors import SpecError
from rfprune.fpga.groups import Groups, live_multipliers
from rfprune.hardware.reuse import valid_reuse_factors
from tests.fpga.groups.conftest import make_groups

WIDTHS = (6, 8, 10, 12, 14, 16, 18, 20, 24, 32)


def emulated_multiplier(n_in: int, n_out: int, rf: int) -> np.ndarray:
    """Return (n_in * n_out,): the multiplier of each weight in HLS order.

    The loop nest of nnet_dense_resource.h: in cycle ``ir`` multiplier ``im`` takes weight
    ``ir + rf * im``.
    """
    multiplier = np.empty(n_in * n_out, dtype=int)
    for ir in range(rf):
        for im in range(n_in * n_out // rf):
            multiplier[ir + rf * im] = im
    return multiplier


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_dense_labels_are_the_hls_loop(n_in: int, n_out: int, data: st.DataObject) -> None:
    factors = [rf for rf in valid_reuse_factors(n_in, n_out) if rf > 1]
    if not factors:
        return
    rf = data.draw(st.sampled_from(factors))
    groups = make_groups(nn.Sequential(nn.Linear(n_in, n_out)), (n_in,), {"reuse_factor": rf})
    assert groups.layers[0].label.tolist() == emulated_multiplier(n_in, n_out, rf).tolist()


@pytest.mark.parametrize("kind", ["conv1d", "conv2d"])
def test_conv_labels_take_channels_fastest(kind: str) -> None:
    model: nn.Module = nn.Conv1d(4, 3, 2) if kind == "conv1d" else nn.Conv2d(4, 3, (2, 3))
    shape = (4, 6) if kind == "conv1d" else (4, 6, 6)
    groups = make_groups(nn.Sequential(model), shape, {"io_type": "io_stream", "reuse_factor": 4})
    label = groups.layers[0].label.reshape(groups.layers[0].plan.layer.weight_shape)
    # One group is four weights that differ in the channel alone.
    for group in range(groups.layers[0].count):
        places = (label == group).nonzero()
        assert len(places) == 4
        assert sorted(places[:, 1].tolist()) == [0, 1, 2, 3]
        rest = torch.cat([places[:, :1], places[:, 2:]], dim=1)
        assert len(rest.unique(dim=0)) == 1


@pytest.mark.parametrize(("io_type", "channels_in_group"), [("io_parallel", 2), ("io_stream", 1)])
def test_first_dense_after_flatten(io_type: str, channels_in_group: int) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 4 * 4, 3))
    groups = make_groups(
        model, (1, 6, 6), {"io_type": io_type, "layers": {"_2": {"reuse_factor": 2}}}
    )
    label = groups.layers[1].label.reshape(3, 2, 16)
    places = (label == 0).nonzero()
    assert len(places[:, 1].unique()) == channels_in_group


def conv_sequence_dense(
    rf: int, width: int, latency: bool, **prune: Any
) -> tuple[nn.Module, Groups]:
    """A network of every kind of layer, its middle one on sequences."""
    which = "latency" if latency else "auto"
    conv = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 8))
    sequence = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Flatten(), nn.Linear(24, 6))
    model, shape = (conv, (4, 6)) if width % 4 else (sequence, (3, 12))
    hardware = {
        "io_type": "io_stream",
        "strategy": which,
        "weight_precision": f"fixed<{width},2>",
        "reuse_factor": rf,
    }
    return model, make_groups(model, shape, hardware, **prune)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["dsp", "bram", "filter", "block"]),
    st.sampled_from(WIDTHS),
    st.sampled_from([1, 2, 3, 4, 6, 12, 24]),
    st.booleans(),
    st.tuples(st.integers(1, 9), st.integers(1, 26)),
    st.integers(0, 2**31),
)
def test_dropping_one_group_frees_exactly_its_cost(
    structure: str, width: int, rf: int, latency: bool, block: tuple[int, int], seed: int
) -> None:
    if structure == "bram" and (latency or rf == 1):
        structure = "weight"
    _, groups = conv_sequence_dense(rf, width, latency, structure=structure, block=block)
    rng = np.random.default_rng(seed)
    dense = groups.dense
    some = rng.random(len(groups)) < 0.5
    np.testing.assert_allclose(groups.used_when(some), groups.used_by(groups.masks(some)))
    for group in rng.permutation(len(groups))[:5]:
        keep = np.ones(len(groups), dtype=bool)
        keep[group] = False
        freed = dense - groups.used_by(groups.masks(keep))
        np.testing.assert_allclose(freed, groups.cost[group], atol=1e-9)
    # Where others are gone already, too; but then a shared memory word can become free as well.
    keep = rng.random(len(groups)) < 0.7
    columns = [0, 1, 2, 3] if structure == "bram" else [0, 2, 3]
    for group in rng.permutation(np.flatnonzero(keep))[:5]:
        without = keep.copy()
        without[group] = False
        freed = groups.used_by(groups.masks(keep)) - groups.used_by(groups.masks(without))
        np.testing.assert_allclose(freed[columns], groups.cost[group][columns], atol=1e-9)
        assert (freed >= groups.cost[group] - 1e-9).all()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 10),
    st.integers(1, 12),
    st.tuples(st.integers(1, 11), st.integers(1, 13)),
    st.data(),
)
def test_blocks_are_rectangles_of_whole_multipliers(
    n_in: int, n_out: int, block: tuple[int, int], data: st.DataObject
) -> None:
    rf = data.draw(st.sampled_from(valid_reuse_factors(n_in, n_out)))
    groups = make_groups(
        nn.Sequential(nn.Linear(n_in, n_out)),
        (n_in,),
        {"reuse_factor": rf},
        structure="block",
        block=block,
    )
    label = groups.layers[0].label.reshape(n_out, n_in).numpy()
    for group in range(groups.layers[0].count):
        rows, columns = np.nonzero(label == group)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height * width == len(rows) <= groups.layers[0].size
        at_edge = rows.max() == n_out - 1, columns.max() == n_in - 1
        assert height >= block[0] or at_edge[0]
        assert width >= block[1] or at_edge[1]
    if rf > 1:
        multiplier = emulated_multiplier(n_in, n_out, rf)
        for served in range(multiplier.max() + 1):
            assert len(np.unique(label.reshape(-1)[multiplier == served])) == 1


def test_a_block_takes_its_shape_from_the_layer() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    groups = make_groups(
        model,
        (8,),
        {"layers": {"_0": {"reuse_factor": 4}}},
        structure="block",
        block=(2, 3),
        layers={"_2": {"block": (4, 2)}},
    )
    first, second = groups.layers
    assert (first.size, first.count) == (8, 8)  # 2 x 4: three columns would cut a multiplier
    assert (second.size, second.count) == (8, 4)
    assert first.label.reshape(8, 8)[:2].tolist() == [[0] * 4 + [1] * 4] * 2
    assert second.label.reshape(4, 8).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 4
    assert first.cost[:, RESOURCES.index("dsp")].tolist() == [2.0] * 8


def test_a_block_needs_a_shape() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    with pytest.raises(SpecError, match=r"_0: structure block needs a shape, e\.g\. prune\.block"):
        make_groups(model, (8,), {"reuse_factor": 4}, structure="block")


@pytest.mark.parametrize("structure", ["dsp", "filter", "block"])
def test_a_memory_budget_needs_groups_that_hold_whole_words(structure: str) -> None:
    model = nn.Sequential(nn.Linear(32, 8))
    prune = {"budget": {"bram18": 0.5}, "structure": structure, "block": (2, 8)}
    with pytest.raises(SpecError, match="9 multipliers of 16 bits share one"):
        make_groups(model, (32,), {"reuse_factor": 4}, **prune)
    wide = {"reuse_factor": 4, "weight_precision": "fixed<36,6>"}
    groups = make_groups(model, (32,), wide, **prune)
    np.testing.assert_allclose(groups.cost.sum(axis=0), groups.dense)


def test_single_weights_free_exactly_their_cost_in_latency() -> None:
    model = nn.Sequential(nn.Linear(6, 4))
    groups = make_groups(model, (6,), {"reuse_factor": 1})
    assert groups.layers[0].structure == "weight"
    keep = np.ones(24, dtype=bool)
    dense = groups.used_by(groups.masks(keep))
    keep[7] = False
    freed = dense - groups.used_by(groups.masks(keep))
    np.testing.assert_array_equal(freed, groups.cost[7])
    assert dense[RESOURCES.index("dsp")] == 24


def test_costs_add_up_to_the_dense_network(mixed: tuple[nn.Module, Groups]) -> None:
    _, groups = mixed
    np.testing.assert_allclose(
        (groups.cost.sum(axis=0) + groups.fixed)[[0, 2, 3]], groups.dense[[0, 2, 3]]
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_bram_groups_free_whole_blocks_for_every_width(width: int) -> None:
    hardware = {"weight_precision": f"fixed<{width},2>", "reuse_factor": 16}
    model = nn.Sequential(nn.Linear(64, 72))
    groups = make_groups(model, (64,), hardware, budget={"bram18": 0.5})
    layer = groups.layers[0]
    assert layer.structure == "bram"
    blocks = layer.cost[:, RESOURCES.index("bram18")]
    assert (blocks[:-1] >= 1).all()
    assert (blocks == np.round(blocks)).all()


def test_masks_keep_whole_groups(mixed: tuple[nn.Module, Groups]) -> None:
    _, groups = mixed
    keep = np.random.default_rng(1).random(len(groups)) < 0.4
    for layer, part in groups.split(keep):
        mask = groups.masks(keep)[layer.plan.name].reshape(-1)
        sums = torch.zeros(layer.count).index_add(0, layer.label, mask)
        sizes = torch.bincount(layer.label, minlength=layer.count)
        assert torch.equal(sums, torch.from_numpy(part).float() * sizes)


def test_norms_against_loops(mixed: tuple[nn.Module, Groups]) -> None:
    model, groups = mixed
    for layer in groups.layers:
        weight = layer.weight_of(model).detach()
        expected = torch.stack(
            [weight.reshape(-1)[layer.label == g].norm() for g in range(layer.count)]
        )
        torch.testing.assert_close(layer.norms(weight), expected)


def test_exempt_and_resource_layers_have_only_a_fixed_cost() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    groups = make_groups(
        model,
        (8,),
        {"reuse_factor": 4, "layers": {"_0": {"strategy": "resource"}}},
        layers={"_2": {"prune": False}},
    )
    assert len(groups.layers) == 0
    assert groups.fixed[0] == 32


def test_structure_that_the_strategy_does_not_have() -> None:
    with pytest.raises(SpecError, match="_0: structure bram needs weights in memory"):
        make_groups(nn.Sequential(nn.Linear(8, 8)), (8,), {"reuse_factor": 1}, structure="bram")


def test_unknown_layer_is_named() -> None:
    with pytest.raises(SpecError, match=r"prune\.layers: the network has no layer 'fc'"):
        make_groups(nn.Sequential(nn.Linear(8, 8)), (8,), {}, layers={"fc": {"floor": 2}})


def test_live_multipliers_of_latency_follow_hls4mls_formula() -> None:
    groups = make_groups(
        nn.Sequential(nn.Linear(8, 8)), (8,), {"reuse_factor": 4, "strategy": "latency"}
    )
    nonzero = np.ones(64, dtype=bool)
    nonzero[:7] = False
    assert live_multipliers(groups.layers[0].plan, nonzero) == 16 - 7 // 4


@pytest.mark.parametrize("part", ["xc7z020", "xcvu13p", "xcvc1902"])
@pytest.mark.parametrize("data_bits", [8, 12, 16, 28, 32])
def test_counted_dsps_are_the_estimators(part: str, data_bits: int) -> None:
    from rfprune.fpga.estimators import estimate
    from rfprune.fpga.estimators.network import design_of
    from rfprune.fpga.layers import fold_batch_norm

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 8))
    for width in (4, 6, 7, 8, 10, 12, 16, 18, 20, 26, 28, 32):
        hardware = {
            "part": part,
            "precision": f"fixed<{data_bits},4>",
            "weight_precision": f"fixed<{width},2>",
            "reuse_factor": 4,
        }
        groups = make_groups(model, (32,), hardware)
        found = estimate(design_of(groups.plan, fold_batch_norm(model, groups.plan.network)))
        assert found.total.dsp == groups.dense[RESOURCES.index("dsp")]
