"""A layer with several weights: a row of the table makes every one of them a matrix to prune."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.fpga.groups import build_groups
from rfprune.fpga.layers import fold, fold_batch_norm, plan, rules, taken, trace, weight_kinds
from rfprune.fpga.layers.weight_kinds import WEIGHT_KINDS, WeightKind, weights_of
from rfprune.spec import HardwareSpec, PruneSpec

CELL = WeightKind(
    "gru_cell", nn.GRUCell, (0, 1), (1,), convolves=False, weights=("weight_ih", "weight_hh")
)


@pytest.fixture(autouse=True)
def _a_kind_of_two_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (*WEIGHT_KINDS, CELL)
    for module in (weight_kinds, fold, rules):
        monkeypatch.setattr(module, "WEIGHT_KINDS", kinds)
    monkeypatch.setitem(taken.MODULES, nn.GRUCell, rules.weighted)
    monkeypatch.setitem(taken._TYPES, nn.GRUCell, CELL.name)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.GRUCell(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def test_every_weight_is_a_matrix_of_its_own(model: nn.Module) -> None:
    network = trace(model, (4,))
    found = [(x.name, x.operation, x.parameter, x.n_in, x.n_out) for x in network.layers]
    assert found == [
        ("_0-weight_ih", "_0", "weight_ih", 4, 9),
        ("_0-weight_hh", "_0", "weight_hh", 3, 9),
        ("_3", "_3", "weight", 3, 2),
    ]
    assert [op.type for op in network.operations] == ["gru_cell", "batchnorm", "relu", "dense"]
    for layer in network.layers:
        own = model.get_parameter(f"{layer.path}.{layer.parameter}")
        assert layer.weight_of(model) is own
    assert list(weights_of(model[0])) == ["weight_ih", "weight_hh"]
    assert weights_of(model[1]) == {}


def test_each_is_planned_grouped_and_counted_by_itself(model: nn.Module) -> None:
    layers = {"_0-weight_ih": {"reuse_factor": 4}, "_0-weight_hh": {"reuse_factor": 3}}
    planned = plan(trace(model, (4,)), HardwareSpec.model_validate({"layers": layers}))
    groups = build_groups(planned, PruneSpec())
    assert [layer.count for layer in groups.layers] == [9, 9, 6]
    keep = np.ones(len(groups), dtype=bool)
    keep[[0, 1, 10]] = False
    for name, mask in groups.masks(keep).items():
        layer = next(x for x in groups.layers if x.plan.name == name)
        layer.weight_of(model).data.mul_(mask)
    assert groups.live(model) == {"_0-weight_ih": 7, "_0-weight_hh": 8, "_3": 6}


def test_a_batch_norm_stays_behind_a_layer_that_it_cannot_be_folded_into(model: nn.Module) -> None:
    model.eval()
    model[1].running_mean.fill_(0.5)
    assert trace(model, (4,)).folded_norms == set()
    folded = fold_batch_norm(model, trace(model, (4,)))
    assert [type(m) for m in folded.children()] == [nn.GRUCell, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    x = torch.randn(5, 4)
    assert torch.equal(folded(x), model(x))
