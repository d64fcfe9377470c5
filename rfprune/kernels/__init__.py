"""Kernels (filters) of convolutions: what is coupled with them, masks, smaller networks, counts.

`trace_kernels` finds the kernels of any network that torch.fx can trace, and what has to go with
each. From fractions per layer come masks (`KernelMap.masks`); under them a network computes exactly
what the smaller network computes (`masked`), which can also be built (`shrink`), saved and loaded
again. What it takes is counted without building it (`KernelMap.count`).

This room does not know agents, rewards, data or power, nor the groups of hls4ml
(`rfprune.groups`).
"""

from __future__ import annotations

from rfprune.kernels.counting import Counts, count
from rfprune.kernels.layers import KernelLayer, KernelMap, Masks, trace_kernels
from rfprune.kernels.masking import masked, parameter_masks
from rfprune.kernels.saving import load_shrunk, save_shrunk
from rfprune.kernels.shrinking import kept_indices, kept_part, shrink

__all__ = [
    "Counts",
    "KernelLayer",
    "KernelMap",
    "Masks",
    "count",
    "kept_indices",
    "kept_part",
    "load_shrunk",
    "masked",
    "parameter_masks",
    "save_shrunk",
    "shrink",
    "trace_kernels",
]
