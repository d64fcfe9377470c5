"""Kernels (filters) of convolutions: what is coupled with them, masks, smaller networks, counts.

`trace_kernels` finds the kernels of any network that torch.fx can trace, and what has to go with
each. From fractions per layer come masks (`KernelMap.masks`); under them a network computes exactly
what the smaller network computes (`masked`), which can also be built (`shrink`), saved and loaded
again. What it takes is counted without building it (`KernelMap.count`).

This room does not know agents, rewards, data or power, nor the groups of hls4ml
(`rfprune.fpga.groups`).
"""

from __future__ import annotations

from rfprune.edge.kernels.counting import LAYER_KINDS, KernelCounts
from rfprune.edge.kernels.layers import KernelLayer, KernelMap, Masks, trace_kernels
from rfprune.edge.kernels.masking import masked, parameter_masks
from rfprune.edge.kernels.saving import load_shrunk
from rfprune.edge.kernels.shrinking import kept_indices, kept_part, shrink

__all__ = [
    "LAYER_KINDS",
    "KernelCounts",
    "KernelLayer",
    "KernelMap",
    "Masks",
    "kept_indices",
    "kept_part",
    "load_shrunk",
    "masked",
    "parameter_masks",
    "shrink",
    "trace_kernels",
]
