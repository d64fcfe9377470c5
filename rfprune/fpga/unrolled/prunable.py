"""Groups whose LUTs are those of the graph that alkaid builds of what is left.

What a weight takes in a graph of adders depends on its digits, on what it shares with others and on
what is read; ReLUs and roundings take LUTs besides. The costs of single weights
(`rfprune.fpga.groups.unit_costs`) only say how layers compare. So they are scaled to what is built
of the dense network, scaled again to what is built of each choice, and after
training the weakest groups go until the graph itself is within the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.core.quantities import RESOURCES
from rfprune.errors import BudgetError
from rfprune.fpga.groups import Groups
from rfprune.fpga.prunable import GroupPrunable
from rfprune.pruning import Masks

__all__ = ["UnrolledPrunable"]

_LUT = RESOURCES.index("lut")
#: Costs that are off by less are left as they are: the repair after training takes little then.
_CLOSE = 0.03
#: A repair is done when the graph has this part of its budget.
_NEAR = 0.98


class UnrolledPrunable(GroupPrunable):
    """Groups of a network that alkaid unrolls."""

    def __init__(
        self, groups: Groups, in_fixed_point: bool, built: Callable[[nn.Module], float]
    ) -> None:
        """Take the groups of a network, and what counts the LUTs that alkaid builds of it."""
        super().__init__(groups, in_fixed_point)
        self._built = built
        self._whole = self._scale = 1.0
        self._least_lut: float | None = None

    def start(self, model: nn.Module) -> None:
        """Let the graph of a dense network be what budgets are parts of."""
        lut = self._built(model)
        counted = self._dense["lut"]
        self._whole = self._scale = lut / counted if counted > 0 and lut > 0 else 1.0
        self._least_lut = self._built_under(model, self.masks(self._floors(self._by_cost())))

    @property
    def fixed(self) -> FloatArray:
        """(R,) what the layers hold that are exempt."""
        return super().fixed * self._factor(self._scale)

    @property
    def dense(self) -> dict[str, float]:
        """What the dense network holds, by resource."""
        return {**self._dense, "lut": self._dense["lut"] * self._whole}

    @property
    def least(self) -> dict[str, float]:
        """What is left of the dense network when every layer is pruned down to its floor."""
        found = super().least
        lut = found["lut"] * self._whole if self._least_lut is None else self._least_lut
        return {**found, "lut": lut}

    def why_not_less(self, resource: str, budget: float) -> str:
        """Return what holds more of a resource than a budget that cannot be reached."""
        return "ReLUs, roundings and the floors of the layers alone hold more in the graph"

    def cost(self, keep: BoolArray) -> FloatArray:
        """Return (G, R) what each group holds, by the scale of what was built last."""
        return super().cost(keep) * self._factor(self._scale)

    def used(self, keep: BoolArray) -> FloatArray:
        """Return (R,) what the network holds when the groups in `keep` (G,) stay, by that scale."""
        return super().used(keep) * self._factor(self._scale)

    def correct_costs(self, model: nn.Module, masks: Masks | None) -> bool:
        """Scale the costs to the graph of `model` under masks, or to the dense network's."""
        before = self._scale
        if masks is None:
            self._scale = self._whole
        else:
            counted = float(super().used(self.kept(masks))[_LUT])
            lut = self._built_under(model, masks)
            self._scale = lut / counted if counted > 0 and lut > 0 else before
        return abs(self._scale / before - 1) > _CLOSE

    def repair(self, model: nn.Module, masks: Masks, budget: FloatArray) -> Masks:
        """Take the weakest groups away, in place, until the graph is within the budget of LUTs.

        As few as are found by building: nothing else tells what they take together.

        Raises:
            BudgetError: the floors of the layers alone hold more.
        """
        limit = float(budget[_LUT])
        if not np.isfinite(limit) or self._built(model) <= limit:
            return masks
        keep = self.kept(masks)
        worth = self._norms(model)
        protected = self._floors(np.where(keep, -worth, np.inf))
        order = np.argsort(np.where(keep & ~protected, worth, np.inf), kind="stable")
        n_free = int((keep & ~protected).sum())

        def without(number: int) -> Masks:
            left = keep.copy()
            left[order[:number]] = False
            return self.masks(left)

        few, many, most = 0, n_free, self._built(model)
        fewest = self._built_under(model, without(n_free))
        if fewest > limit:
            raise BudgetError(
                f"prune.budget.lut: {limit:g} cannot be reached: the graph of what the floors of "
                f"the layers keep has {fewest:g} LUT. Raise the budget, or lower prune.floor."
            )
        # Where a straight line between what is known meets the budget: graphs take seconds.
        while many - few > 1 and fewest < _NEAR * limit:
            share = (most - limit) / (most - fewest)
            middle = min(max(few + math.ceil(share * (many - few)), few + 1), many - 1)
            lut = self._built_under(model, without(middle))
            if lut <= limit:
                many, fewest = middle, lut
            else:
                few, most = middle, lut
        masks = without(many)
        with torch.no_grad():
            for name, mask in self.by_parameter(masks).items():
                weight = model.get_parameter(name)
                weight.mul_(mask.to(weight.device))
        return masks

    def _built_under(self, model: nn.Module, masks: Masks) -> float:
        with self.masked(model, masks):
            return float(self._built(model))

    def _factor(self, scale: float) -> FloatArray:
        """Return (R,) what costs are multiplied by."""
        factor = np.ones(len(RESOURCES))
        factor[_LUT] = scale
        return factor

    def _by_cost(self) -> FloatArray:
        """Return (G,) the cost of each group in all resources."""
        return np.asarray(self._cost.sum(axis=1))

    def _norms(self, model: nn.Module) -> FloatArray:
        """Return (G,) the norm of each group."""
        with torch.no_grad():
            parts = [x.norms(x.weight_of(model).detach().cpu()) for x in self.groups.layers]
        return torch.cat(parts).double().numpy()

    def _floors(self, rank: FloatArray) -> BoolArray:
        """Return (G,) the groups of each layer's floor: those of lowest `rank` (G,)."""
        keep = np.zeros(len(rank), dtype=bool)
        for layer, floor in enumerate(self.floor):
            members = np.flatnonzero(self.layer_index == layer)
            keep[members[np.argsort(rank[members], kind="stable")[:floor]]] = True
        return keep
