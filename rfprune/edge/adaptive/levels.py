"""Levels of pruning of one network, each inside the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from torch import nn

from rfprune.core.arrays import FloatArray
from rfprune.edge.kernels import KernelCounts, KernelMap, Masks
from rfprune.errors import SpecError

__all__ = ["Levels", "make_levels"]


@dataclass(frozen=True, eq=False)
class Levels:
    """A levels of pruning: the first is the whole network, each keeps kernels of the one before.

    Attributes:
        kernels: the kernels of the network.
        masks: (A,) which of them stay at each level.

    Raises:
        SpecError: a single level, a first one that prunes, or one that keeps what the one before
            it prunes.
    """

    kernels: KernelMap
    masks: tuple[Masks, ...]

    def __post_init__(self) -> None:
        if len(self.masks) < 2:
            raise SpecError(f"levels: {len(self.masks)} given; at least 2 are needed, from 0 on.")
        if self.masks[0].sparsity > 0:
            raise SpecError(
                f"levels: the first one prunes {self.masks[0].sparsity:.0%} of the kernels; it "
                "must be 0, the network that teaches the others."
            )
        for number, (more, fewer) in enumerate(pairwise(self.masks), start=1):
            for name, mask in fewer.items():
                # Nested, or the levels could not share weights by slices.
                if (mask & ~more[name]).any():
                    raise SpecError(
                        f"levels: level {number} keeps kernels of layer '{name}' that level "
                        f"{number - 1} prunes; each level must prune more than the one before."
                    )
            if fewer.sparsity == more.sparsity:
                raise SpecError(f"levels: {number} and {number - 1} keep the same kernels.")

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def sparsity(self) -> tuple[float, ...]:
        """(A,) fraction of the kernels that each level prunes."""
        return tuple(masks.sparsity for masks in self.masks)

    @cached_property
    def fractions(self) -> FloatArray:
        """(A, L) fraction that each level prunes of each prunable layer."""
        kept = np.stack([masks.kept for masks in self.masks])
        return np.asarray(1 - kept / self.kernels.n_kernels)

    @cached_property
    def counts(self) -> KernelCounts:
        """What each level takes, arrays (A, n)."""
        return self.kernels.count(np.stack([masks.kept for masks in self.masks]))


def make_levels(
    network: nn.Module,
    kernels: KernelMap,
    fractions: Sequence[float | Mapping[str, float]],
    by: str = "l1",
) -> Levels:
    """Return levels that prune these fractions, in one order of importance, so that they nest.

    Args:
        network: whose kernels are ranked.
        kernels: its kernels.
        fractions: (A,) per level one for all prunable layers, or by layer name; the first is 0.
        by: l1, l2 or mean.

    Raises:
        SpecError: fractions out of 0..1, or not rising from 0.
        UnknownNameError: no such layer or importance.
        NetworkError: a level would cut the network in two.
    """
    importance = kernels.rank(network, by)
    names = [layer.name for layer in kernels.prunable]
    by_layer = [
        fraction if isinstance(fraction, Mapping) else dict.fromkeys(names, fraction)
        for fraction in fractions
    ]
    return Levels(kernels, tuple(kernels.masks(importance, part) for part in by_layer))
