"""Networks with what can be pruned of them: hardware groups, and kernels of convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.edge.costs import EdgeCosts
from rfprune.edge.kernels import trace_kernels
from rfprune.edge.monitor import DEVICES
from rfprune.edge.prunable import KernelPrunable
from rfprune.fpga.groups import Groups, build_groups
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.prunable import GroupPrunable
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.pruning import Prunable
from rfprune.spec import EdgeSpec, HardwareSpec, PruneSpec
from rfprune.tasks import Task, TaskSpec, make_task


class Case(NamedTuple):
    """A network, its groups and rows to score them on.

    Attributes:
        model: the network.
        prunable: what can be pruned of it.
        labels: by parameter name (its shape) the number of each weight's group over all layers,
            -1 for none; found here by another way than the product's.
        batches: rows and labels.
    """

    model: nn.Module
    prunable: Prunable
    labels: dict[str, Tensor]
    batches: list[tuple[Tensor, Tensor]]


CLASSES: Task = make_task(TaskSpec())


def hardware_groups(model: nn.Module, width: int, **hardware: Any) -> tuple[Groups, GroupPrunable]:
    planned = plan(trace(model, (width,)), HardwareSpec.model_validate(hardware))
    groups = build_groups(planned, PruneSpec())
    return groups, GroupPrunable(groups, False)


def groups_case() -> Case:
    """Two dense layers; a group is what one multiplier works off: 4 weights, or a single one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    groups, prunable = hardware_groups(model, 8, layers={"_0": {"reuse_factor": 4}})
    labels, start = {}, 0
    for path, layer in zip(("0", "2"), groups.layers, strict=True):
        weight = model.get_parameter(f"{path}.weight")
        labels[f"{path}.weight"] = layer.label.reshape(weight.shape) + start
        start += layer.count
    x, y = torch.randn(12, 8), torch.randint(0, 3, (12,))
    return Case(model, prunable, labels, [(x, y)])


def kernels_of(model: nn.Module, input_shape: tuple[int, ...]) -> KernelPrunable:
    kernels = trace_kernels(model, input_shape)
    costs = EdgeCosts(kernels, DEVICES["raspberry_pi_4"], EdgeSpec())
    return KernelPrunable(model, costs, np.ones(len(kernels.prunable), np.int64), False)


def kernels_case() -> Case:
    """A small CNN with a residual sum, whose two convolutions lose the same kernels."""
    torch.manual_seed(0)
    model = build(ModelSpec(name="edge_cnn", args={"channels": [4, 6]}), (1, 8, 8), 3).eval()
    prunable = kernels_of(model, (1, 8, 8))
    labels, start = {}, 0
    for layer in prunable.kernels.prunable:
        own = torch.arange(layer.n_kernels) + start
        for path in layer.convs:
            weight = model.get_parameter(f"{path}.weight")
            labels[f"{path}.weight"] = own[:, None, None, None].expand(weight.shape)
        start += layer.n_kernels
    x, y = torch.randn(12, 1, 8, 8), torch.randint(0, 3, (12,))
    return Case(model, prunable, labels, [(x, y)])


CASES = {"groups": groups_case, "kernels": kernels_case}
