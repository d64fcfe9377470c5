"""Which weights HLS still sees, against the network that is left without the dead neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.fpga.estimators import estimate
from rfprune.fpga.estimators.live_weights import live_weights
from rfprune.fpga.estimators.network import design_of
from tests.fpga.groups.conftest import make_groups

LATENCY = {"reuse_factor": 1, "strategy": "latency", "part": "xcvu13p"}


def three_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def seen(model: nn.Sequential, hardware: dict[str, object]) -> list[np.ndarray]:
    plan = make_groups(model, (6,), hardware).plan
    return list(live_weights(plan, model).weights.values())


def test_a_neuron_that_nobody_reads_takes_its_inputs_along() -> None:
    model = three_layers()
    with torch.no_grad():
        model[4].weight[:, 1] = 0
        model[2].weight[[0, 2, 3], 4] = 0  # only the unread neuron 1 reads neuron 4
    first, second, third = seen(model, LATENCY)
    assert not first[4].any()
    assert not second[1].any()
    assert np.count_nonzero(first) == 4 * 6
    assert np.count_nonzero(second) == 3 * 4
    assert np.count_nonzero(third) == 3 * 3


def test_a_neuron_without_inputs_is_a_constant_for_the_next_layer() -> None:
    model = three_layers()
    with torch.no_grad():
        model[0].weight[:4] = 0
        model[2].weight[2:, 4] = 0  # neurons 2 and 3 are left with constant inputs only
    first, second, third = seen(model, LATENCY)
    assert np.count_nonzero(first) == 6
    assert np.count_nonzero(second) == 2
    assert np.flatnonzero(third.any(axis=0)).tolist() == [0, 1]


def test_weights_in_memory_stay() -> None:
    model = three_layers()
    with torch.no_grad():
        model[4].weight[:, 1] = 0
    _, second, _ = seen(model, {"reuse_factor": 1, "strategy": "resource"})
    assert second[1].any()


def test_a_network_with_dead_neurons_costs_what_the_smaller_one_costs() -> None:
    model = three_layers()
    with torch.no_grad():
        model[4].weight[:, 2:] = 0
    small = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2), nn.ReLU(), nn.Linear(2, 3))
    with torch.no_grad():
        small[0].load_state_dict(model[0].state_dict())
        for name in ("weight", "bias"):
            getattr(small[2], name).copy_(getattr(model[2], name)[:2])
        small[4].weight.copy_(model[4].weight[:, :2])
        small[4].bias.copy_(model[4].bias)
    whole, rest = (
        estimate(design_of(make_groups(m, (6,), LATENCY).plan, m)) for m in (model, small)
    )
    assert whole == rest


def test_a_network_without_living_neurons_is_its_ports() -> None:
    model = three_layers()
    with torch.no_grad():
        model[0].weight.zero_()
    found = estimate(design_of(make_groups(model, (6,), LATENCY).plan, model))
    assert found.hls is not None
    assert (found.hls.dsp, found.hls.bram18, found.hls.lut) == (0, 0, 0)
    assert [layer.type for layer in found.layers] == ["dense"] * 3
    # Six inputs of 16 bits, and the word of constants between two layers.
    assert found.hls.ff == 16 * (6 + 2)


@pytest.mark.parametrize("changed", [{"io_type": "io_stream"}, {"strategy": "resource"}])
def test_processes_are_built_whole_whoever_reads_them(changed: dict[str, object]) -> None:
    """Between two processes there is a FIFO: only a neuron's own weights are gone with it."""
    model = three_layers()
    with torch.no_grad():
        model[4].weight[:, 2:] = 0
    plan = make_groups(model, (6,), LATENCY | changed).plan
    alive = live_weights(plan, model)
    assert not alive.outputs
    assert all(np.count_nonzero(alive.weights[name]) for name in ("_0", "_2"))
    assert np.count_nonzero(alive.weights["_2"]) == 4 * 5
    sizes = [(layer.n_in, layer.n_out) for layer in design_of(plan, model).layers]
    assert sizes == [(6, 5), (5, 5), (5, 4), (4, 4), (4, 3)]
