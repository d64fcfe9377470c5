"""Smaller networks as files: what they were built from, how many kernels are left, the tensors.

The file is one of `rfprune.models.save_checkpoint` and is read with the same care: it holds no
code, and what builds the network is never chosen by the file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from rfprune.errors import NetworkError
from rfprune.kernels.layers import Masks, trace_kernels
from rfprune.kernels.shrinking import shrink
from rfprune.models import ModelSpec, build, load_checkpoint, save_checkpoint
from rfprune.models.checkpoint import fitting_the_network, trusted_spec

__all__ = ["KEPT", "load_shrunk", "save_shrunk"]

#: Key of a saved network's extra values: kernels that are left, by layer.
KEPT = "kept_kernels"


def save_shrunk(
    path: Path, smaller: nn.Module, masks: Masks, spec: ModelSpec, n_classes: int
) -> None:
    """Save what `shrink` returned.

    Args:
        path: the .pt file; it is replaced if it exists.
        smaller: the network; it may have been trained further.
        masks: what it was shrunk by.
        spec: what the whole network was built from, as `rfprune.models.architecture` returns it.
        n_classes: number of outputs.
    """
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    save_checkpoint(path, smaller, spec, masks.kernels.input_shape, n_classes, {KEPT: counts})


def load_shrunk(
    path: Path, spec: ModelSpec | None = None, base_dir: Path | None = None
) -> nn.Module:
    """Read a network that `save_shrunk` wrote, on the CPU in evaluation mode.

    Args:
        path: the .pt file.
        spec: what the whole network is built from; needed only for a user's own function, which a
            file may not name.
        base_dir: folder for relative paths and modules in `spec`.

    Raises:
        NetworkError: not such a file, a damaged one, or it does not fit the network.
    """
    saved = load_checkpoint(path)
    counts = saved.extra.get(KEPT)
    if not isinstance(counts, dict):
        raise NetworkError(f"{path}: a saved network, but not one whose kernels were removed.")
    source = trusted_spec(saved, path, spec)
    whole = build(source, saved.input_shape, saved.n_classes, base_dir)
    with fitting_the_network(path):
        kernels = trace_kernels(whole, saved.input_shape)
        sizes = {layer.name: layer.n_kernels for layer in kernels.prunable}
        # Which kernels they were does not matter: their weights come from the file.
        masks = Masks(
            kernels, {name: torch.arange(sizes[name]) < int(n) for name, n in counts.items()}
        )
        smaller = shrink(whole, masks)
        smaller.load_state_dict(saved.state_dict)
    return smaller.eval()
