"""Which weights HLS still sees, against the network that is left without the dead neurons."""

from __future__ import annotations

import numpy as np
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
    return list(live_weights(plan, model).values())


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
    assert [layer.dsp for layer in whole.layers] == [layer.dsp for layer in rest.layers]
    assert whole.total.dsp == rest.total.dsp
    assert whole.layers[0].lut == rest.layers[0].lut
    assert whole.layers[2].lut == rest.layers[2].lut
