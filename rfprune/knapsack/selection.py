"""Answers to selection problems, with their certificates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rfprune.knapsack.instance import Bools, Floats, Ints

__all__ = ["Certified", "MenuSelection", "Selection"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Certified:
    """An answer to a selection problem, and how far from the optimum it can be.

    Attributes:
        objective: what the selection is worth.
        bound: no selection within the budgets is worth more. Proven, with the rounding of its own
            computation added, so that for an optimum it can lie some 1e-13 of itself above
            `objective`.
        prices: (R,) shadow price of one unit of each resource, in units of value: what the optimum
            of the relaxation gains by one more unit. 0 for a resource that does not run out.
        status: "optimal" if nothing better exists, "gap" if `gap` says how much better it could be.
    """

    objective: float
    bound: float
    prices: Floats
    status: Literal["optimal", "gap"]

    @property
    def gap(self) -> float:
        """``(bound - objective) / max(bound, tiny)``; exactly 0 where the optimum is proven."""
        # A bound may lie above a proven optimum by its rounding, which is no gap.
        if self.status == "optimal":
            return 0.0
        # The smallest normal number keeps 0 / 0 from arising where nothing has value.
        return max(0.0, self.bound - self.objective) / max(self.bound, float(np.finfo(float).tiny))

    def _worth(self) -> str:
        """Say what it is worth, its certificate and the prices."""
        proof = "optimal" if self.status == "optimal" else f"gap {self.gap:.1e}"
        prices = ", ".join(f"{price:.4g}" for price in self.prices)
        return f"objective {self.objective:.9g}, {proof}, prices [{prices}]"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Selection(Certified):
    """Which groups are kept.

    Example::

        found = rfprune.solve(value=[3.0, 2.0, 1.0], cost=[[2, 1], [1, 1], [1, 0]], budget=[3, 1])
        found.keep, found.gap == 0, found.status

    For every selection within the budgets ``prices @ budget + max(0, value - cost @ prices).sum()``
    is an upper bound too (over the resources with a finite budget).

    Attributes:
        keep: (G,) True = kept; ``(cost * keep[:, None]).sum(0) <= budget`` holds always.
    """

    keep: Bools

    def __repr__(self) -> str:
        """Return one line: what is kept, worth, certificate, prices."""
        kept = f"keeps {int(self.keep.sum())} of {len(self.keep)} groups"
        return f"Selection({kept}, {self._worth()})"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MenuSelection(Certified):
    """Which entry of its menu each group takes.

    Attributes:
        choice: (G,) index among all entries; ``cost[choice].sum(0) <= budget`` holds always.
        removed: (N,) neurons that are removed, where there are any to remove. What writes to one
            takes an entry that holds nothing and counts as its most valuable one.
    """

    choice: Ints
    removed: Bools | None = None

    def __repr__(self) -> str:
        """Return one line: how many groups, worth, certificate, prices."""
        return f"MenuSelection(of {len(self.choice)} menus, {self._worth()})"
