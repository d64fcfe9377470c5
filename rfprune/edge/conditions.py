"""Conditions of the input that an agent learns for: clean, noisy, dark."""

from __future__ import annotations

import torch
from torch import Tensor

from rfprune.data import Dataset
from rfprune.spec import ConditionsSpec

__all__ = ["under_conditions"]


def under_conditions(
    x: Tensor, data: Dataset, spec: ConditionsSpec, seed: int
) -> dict[str, Tensor]:
    """Return rows as they look under each condition, ``clean`` first.

    Args:
        x: (B, ...) rows as the network takes them.
        data: where they come from; says how raw values were scaled.
        spec: strength of each condition.
        seed: of the noise.
    """
    found = {"clean": x}
    if spec.noise > 0:
        # On the CPU: a GPU draws other numbers from the same seed.
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(x.shape, generator=generator).to(x.device)
        found["noise"] = x + spec.noise * drawn
    if spec.dark > 0:
        # x = (raw - offset) / scale; in the dark raw is smaller, not x.
        black = -data.offset.to(x.device) / data.scale.to(x.device)
        found["dark"] = black + (x - black) * (1 - spec.dark)
    return found
