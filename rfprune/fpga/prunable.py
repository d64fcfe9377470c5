"""The hardware groups of a network on an FPGA, as the pruning loop sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.fixed_point import deployed, fixed_point
from rfprune.fpga.groups import Groups
from rfprune.pruning import GroupedWeight, Masks, Prunable

__all__ = ["GroupPrunable"]


class GroupPrunable(Prunable):
    """Groups of weights that one multiplier, memory word or neuron holds.

    A pruned group is zero among the weights from then on, which is what hls4ml looks at; it may
    grow again where a trial trains without masks in between.
    """

    coupled = False
    zeroes = True

    def __init__(self, groups: Groups, in_fixed_point: bool) -> None:
        """Take the groups of a network, and whether it is trained in its hls4ml types."""
        self.groups = groups
        self.resources = RESOURCES
        self.layers = tuple(layer.plan.name for layer in groups.layers)
        self.sizes = tuple(layer.size for layer in groups.layers)
        self.weights = tuple(
            GroupedWeight(
                f"{layer.plan.layer.path}.{layer.plan.layer.parameter}",
                index,
                layer.label,
                layer.size,
            )
            for index, layer in enumerate(groups.layers)
        )
        self._in_fixed_point = in_fixed_point
        self._cost = groups.cost if groups.layers else np.zeros((0, len(RESOURCES)))
        self._dense = dict(zip(RESOURCES, groups.dense.tolist(), strict=True))

    @property
    def counts(self) -> IntArray:
        """(L,) groups of each layer."""
        return np.array([layer.count for layer in self.groups.layers], dtype=np.int64)

    @property
    def floor(self) -> IntArray:
        """(L,) groups that each layer keeps at least."""
        return self.groups.floor

    @property
    def fixed(self) -> FloatArray:
        """(R,) what the layers hold that cannot drop groups or are exempt."""
        return self.groups.fixed

    @property
    def dense(self) -> dict[str, float]:
        """What the dense network's weights hold, by resource."""
        return self._dense

    @property
    def least(self) -> dict[str, float]:
        """What is left, by resource, when every layer is pruned down to its floor."""
        least = self.groups.fixed.copy()
        for layer in self.groups.layers:
            least += layer.least
        return dict(zip(RESOURCES, least.tolist(), strict=True))

    def counts_all_of(self, resource: str) -> bool:
        """Return whether multipliers and weights hold all of it; much else holds LUTs and FFs."""
        return resource in ("dsp", "bram18")

    def why_not_less(self, resource: str, budget: float) -> str:
        """Return what holds more of a resource than a budget that cannot be reached."""
        held = float(self.fixed[RESOURCES.index(resource)])
        if held > budget:
            return f"{held:g} of them are in layers whose pruned groups would not vanish"
        rest = self.least[resource] - held
        return f"the floors of {len(self.layers)} layers alone hold {rest:g}"

    def cost(self, keep: BoolArray) -> FloatArray:
        """Return (G, R) what each group holds, whichever others are kept."""
        return self._cost

    def used(self, keep: BoolArray) -> FloatArray:
        """Return (R,) what the network holds when the groups in `keep` (G,) stay."""
        return self.groups.used_when(keep)

    def masks(self, keep: BoolArray) -> Masks:
        """Return the weight masks that keep the groups in `keep` (G,), by layer name."""
        return self.groups.masks(keep)

    def kept(self, masks: Masks | None) -> BoolArray:
        """Return (G,) which groups have a weight that a mask leaves; None = all."""
        parts = [np.zeros(0, dtype=bool)]
        for layer in self.groups.layers:
            mask = None if masks is None else masks.get(layer.plan.name)
            if mask is None:
                parts.append(np.ones(layer.count, dtype=bool))
            else:
                left = layer.label[mask.reshape(-1).cpu() != 0].numpy()
                parts.append(np.bincount(left, minlength=layer.count) > 0)
        return np.concatenate(parts)

    def by_parameter(self, masks: Masks) -> dict[str, Tensor]:
        """Return weight masks by the parameter that they are multiplied with."""
        names = dict(zip(self.layers, self.weights, strict=True))
        return {names[name].parameter: mask for name, mask in masks.items()}

    @contextmanager
    def masked(self, model: nn.Module, masks: Masks) -> Iterator[None]:
        """While open, what is pruned is zero; then the weights are what they were."""
        weights = {name: model.get_parameter(name) for name in self.by_parameter(masks)}
        # A copy and not a division afterwards: what is multiplied by 0 is gone.
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        with torch.no_grad():
            try:
                for name, mask in self.by_parameter(masks).items():
                    weights[name].mul_(mask.to(weights[name].device))
                yield
            finally:
                for name, weight in weights.items():
                    weight.copy_(before[name])

    def rounded(self, model: nn.Module) -> AbstractContextManager[Any]:
        """While open, `model` trains in its hls4ml types if the trial asks for that."""
        return fixed_point(model, self.groups.plan, self._in_fixed_point)

    def deployed(self, model: nn.Module) -> nn.Module:
        """Return `model` in its hls4ml types, equal to the generated C++."""
        return deployed(model, self.groups.plan)
