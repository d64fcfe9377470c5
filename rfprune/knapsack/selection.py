"""The answer to a selection problem, with its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rfprune.knapsack.problem import Bools, Floats

__all__ = ["Selection"]


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """Which groups are kept, what they are worth, and how far from the optimum that can be.

    Attributes:
        keep: (G,) True = kept; ``(cost * keep[:, None]).sum(0) <= budget`` holds always.
        objective: ``value[keep].sum()``.
        bound: no selection within the budgets is worth more. Proven, with the rounding of its own
            computation added, so that for an optimum it can lie some 1e-13 of itself above
            `objective`.
        prices: (R,) shadow price of one unit of each resource, in units of value: what the optimum
            of the relaxation gains by one more unit. 0 for a resource that does not run out. For
            every selection within the budgets ``prices @ budget + max(0, value - cost @
            prices).sum()`` is an upper bound too (over the resources with a finite budget).
        status: "optimal" if nothing better exists, "gap" if `gap` says how much better it could be.
    """

    keep: Bools
    objective: float
    bound: float
    prices: Floats
    status: Literal["optimal", "gap"]

    @property
    def gap(self) -> float:
        """``(bound - objective) / max(bound, tiny)``; exactly 0 where the optimum is proven."""
        if self.status == "optimal":
            return 0.0
        return max(0.0, self.bound - self.objective) / max(self.bound, float(np.finfo(float).tiny))

    def __repr__(self) -> str:
        """Return one line: what is kept, worth, certificate, prices."""
        proof = "optimal" if self.status == "optimal" else f"gap {self.gap:.1e}"
        prices = ", ".join(f"{price:.4g}" for price in self.prices)
        return (
            f"Selection(keeps {int(self.keep.sum())} of {len(self.keep)} groups, "
            f"objective {self.objective:.9g}, {proof}, prices [{prices}])"
        )
