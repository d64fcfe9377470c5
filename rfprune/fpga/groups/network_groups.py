"""All groups of a network: labels, costs, norms, masks.

Axes: G groups, L layers, R resources (`rfprune.core.quantities.RESOURCES`), N weights of one layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.core.quantities import RESOURCES
from rfprune.errors import SpecError
from rfprune.fpga.groups.count import group_costs, live_multipliers, used, word_owners
from rfprune.fpga.groups.structure import Block, default_structure, group_labels, group_size
from rfprune.fpga.groups.unit_costs import unit_cost
from rfprune.fpga.layers.plan import LayerPlan, Plan, check_layer_names
from rfprune.spec.pruning import PruneSpec

__all__ = ["Groups", "LayerGroups", "Masks", "build_groups", "layer_used"]

#: Layer name to a weight mask in torch's shape; 1 = kept, 0 = pruned.
Masks = dict[str, Tensor]


@dataclass(frozen=True)
class LayerGroups:
    """The groups of one layer.

    Attributes:
        plan: the layer with its hardware.
        structure: weight, dsp, bram, filter or block.
        size: weights in a full group (the last one, or those at the edge, may have fewer).
        label: (N,) group of each weight, in flat torch order, from 0 in each layer.
        cost: (G_l, R) what each group holds: what `count.used` falls by when it alone goes.
        floor: groups that are kept at least.
    """

    plan: LayerPlan
    structure: str
    size: int
    label: Tensor
    cost: FloatArray
    floor: int

    @property
    def count(self) -> int:
        """Groups in this layer."""
        return int(self.cost.shape[0])

    @property
    def least(self) -> FloatArray:
        """(R,) what the layer still holds when only its floor of the cheapest groups is left."""
        keep = np.zeros(self.count, dtype=bool)
        keep[np.argsort(self.cost.sum(axis=1), kind="stable")[: self.floor]] = True
        return self.used(keep)

    def used(self, keep: BoolArray) -> FloatArray:
        """Return (R,) what the layer holds when the groups in `keep` (G_l,) stay."""
        return used(self.plan, keep[self.label.numpy()][self.plan.order])

    def weight_of(self, model: nn.Module) -> Tensor:
        """Return this layer's weight in `model`."""
        return self.plan.layer.weight_of(model)

    def norms(self, weight: Tensor, order: int = 2) -> Tensor:
        """Return (G_l,) the L1 or L2 norm of each group, differentiable."""
        flat = weight.reshape(-1)
        zeros = flat.new_zeros(self.count)
        label = self.label.to(flat.device)
        if order == 1:
            return zeros.index_add(0, label, flat.abs())
        return zeros.index_add(0, label, flat * flat).sqrt()

    def mask(self, keep: BoolArray) -> Tensor:
        """Return the weight mask, in the weight's shape, that keeps the groups in `keep` (G_l,)."""
        kept = torch.from_numpy(np.ascontiguousarray(keep))
        return kept[self.label].reshape(self.plan.layer.weight_shape).to(torch.float32)

    def nonzero(self, weight: Tensor) -> BoolArray:
        """Return (N,) in HLS order: True where the weight is not exactly zero."""
        flat = weight.detach().cpu().reshape(-1).numpy() != 0
        return np.ascontiguousarray(flat[self.plan.order])


@dataclass(frozen=True)
class Groups:
    """The groups of every layer; layers that cannot drop groups have none and only a fixed cost.

    G groups of all layers, L layers, R resources (dsp, bram18, lut, ff; counts). Example::

        from rfprune.spec import HardwareSpec, PruneSpec

        planned = rfprune.plan(rfprune.trace(net, (8,)), HardwareSpec(reuse_factor=4))
        found = rfprune.build_groups(planned, PruneSpec())
        found.cost, found.dense, found.floor, found.layer_index
        keep = np.arange(len(found)) % 2 == 0
        found.used_when(keep) < found.dense
        masks = found.masks(keep)  # 0 and 1 in the shapes of torch's weights
        found.used_by(masks), found.live(net)
        [(layer.plan.name, part.sum()) for layer, part in found.split(keep)]

    Attributes:
        plan: the network on its FPGA.
        layers: the layers that are pruned.
        fixed: (R,) what no pruning frees: the layers that cannot drop groups or are exempt.
    """

    plan: Plan
    layers: tuple[LayerGroups, ...]
    fixed: FloatArray

    def __len__(self) -> int:
        return sum(layer.count for layer in self.layers)

    def split(self, vector: BoolArray) -> Iterator[tuple[LayerGroups, BoolArray]]:
        """Yield each layer with its part of a (G,) vector."""
        # Groups are numbered layer by layer, in the order of `layers`.
        start = 0
        for layer in self.layers:
            yield layer, vector[start : start + layer.count]
            start += layer.count

    @property
    def layer_index(self) -> IntArray:
        """(G,) the layer of each group."""
        counts = [layer.count for layer in self.layers]
        return np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    @property
    def cost(self) -> FloatArray:
        """(G, R) what each group holds."""
        # A network that cannot drop any group has costs of no groups.
        none = np.empty((0, len(self.fixed)))
        return np.concatenate([none, *(layer.cost for layer in self.layers)])

    @property
    def floor(self) -> IntArray:
        """(L,) groups that each layer keeps at least."""
        return np.array([min(layer.floor, layer.count) for layer in self.layers], dtype=np.int64)

    @property
    def dense(self) -> FloatArray:
        """(R,) what the dense network's weights hold."""
        return self.used_by({})

    def masks(self, keep: BoolArray) -> Masks:
        """Return the weight masks that keep the groups in `keep` (G,)."""
        return {layer.plan.name: layer.mask(part) for layer, part in self.split(keep)}

    def used_by(self, masks: Mapping[str, Tensor]) -> FloatArray:
        """Return (R,) what the network holds under weight masks; a layer without one is dense."""
        total = self.fixed.copy()
        for layer in self.layers:
            mask = masks.get(layer.plan.name)
            total += layer_used(layer, mask)
        return total

    def used_when(self, keep: BoolArray) -> FloatArray:
        """Return (R,) what the network holds when the groups in `keep` (G,) stay."""
        total = self.fixed.copy()
        for layer, part in self.split(keep):
            total += layer.used(part)
        return total

    def live(self, model: nn.Module) -> dict[str, int]:
        """Return the multipliers that hls4ml will generate for `model`, by layer."""
        found = {plan.name: plan.n_multipliers for plan in self.plan.layers}
        for layer in self.layers:
            found[layer.plan.name] = live_multipliers(
                layer.plan, layer.nonzero(layer.weight_of(model))
            )
        return found


def layer_used(layer: LayerGroups, mask: Tensor | None) -> FloatArray:
    """Return (R,) what one layer holds under its weight mask (None = dense)."""
    if mask is None:
        return used(layer.plan, np.ones(layer.plan.layer.n_weights, dtype=bool))
    return used(layer.plan, layer.nonzero(mask))


def build_groups(plan: Plan, spec: PruneSpec, structure: str | None = None) -> Groups:
    """Return the groups of a network on its FPGA.

    Example::

        from rfprune.spec import HardwareSpec, PruneSpec

        planned = rfprune.plan(rfprune.trace(net, (8,)), HardwareSpec(reuse_factor=4))
        found = rfprune.build_groups(planned, PruneSpec())
        [(layer.plan.name, layer.count) for layer in found.layers]

    Args:
        plan: the network with its hardware.
        spec: which structure, floors and exemptions the file asks for.
        structure: overrides the file's, for methods that are bound to one.

    Raises:
        SpecError: a layer that does not exist, a structure that its strategy does not have, or
            groups that share memory under a budget on BRAM18.
    """
    check_layer_names("prune.layers", spec.layers, plan.network)
    resources = tuple(spec.budget)
    layers: list[LayerGroups] = []
    fixed = np.zeros(len(RESOURCES))
    for layer in plan.layers:
        own = spec.layer(layer.name)
        if not layer.droppable or not own.prune:
            # What cannot be pruned still counts against the budget.
            fixed += used(layer, np.ones(layer.layer.n_weights, dtype=bool))
            continue
        asked = structure or str(own.structure)
        chosen = default_structure(layer, resources) if asked == "auto" else asked
        assert own.floor is not None
        layers.append(_layer_groups(layer, chosen, own.block, own.floor))
        # Only for structures that the file chooses: a method that is bound to one has no other.
        if "bram18" in resources and structure is None:
            _check_memory(layers[-1])
    return Groups(plan, tuple(layers), fixed)


def _layer_groups(plan: LayerPlan, structure: str, block: Block | None, floor: int) -> LayerGroups:
    in_hls_order = group_labels(plan, structure, block)
    # Labels are made in HLS order; masks and norms need them in torch's.
    label = np.empty_like(in_hls_order)
    label[plan.order] = in_hls_order
    return LayerGroups(
        plan=plan,
        structure=structure,
        size=group_size(plan, structure, block),
        label=torch.from_numpy(label),
        cost=group_costs(plan, in_hls_order),
        floor=floor,
    )


def _check_memory(layer: LayerGroups) -> None:
    """Raise if a budget on BRAM18 could not be met because groups share memory words."""
    plan = layer.plan
    sharing = unit_cost(plan).multipliers_per_word
    if not sharing:
        return
    if (word_owners(plan, layer.label.numpy()[plan.order]) < 0).any():
        raise SpecError(
            f"{plan.name}: prune.budget.bram18 needs groups that hold whole memory words, but "
            f"{sharing} multipliers of {plan.weight.width} bits share one, and groups of structure "
            f"{layer.structure} do not hold all of them. Allowed here: auto, bram."
        )
