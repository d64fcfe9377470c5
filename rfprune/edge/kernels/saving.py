"""Smaller networks as files: what they were built from, how many kernels are left, the tensors.

The file is one of `rfprune.models.save_checkpoint` and is read with the same care: it holds no
code, and what builds the network is never chosen by the file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from rfprune.core.named import one_input
from rfprune.edge.kernels.layers import Masks, trace_kernels
from rfprune.edge.kernels.shrinking import shrink
from rfprune.errors import NetworkError
from rfprune.models import Checkpoint, build, load_checkpoint
from rfprune.models.checkpoint import fitting_the_network, trusted_spec
from rfprune.models.spec import ModelSpec

__all__ = ["KEPT", "load_shrunk", "rebuild"]

#: Key of a saved network's extra values: kernels that are left, by layer.
KEPT = "kept_kernels"


def load_shrunk(
    path: Path, spec: ModelSpec | None = None, base_dir: Path | None = None
) -> nn.Module:
    """Read a network whose kernels were removed, on the CPU in evaluation mode.

    Args:
        path: the .pt file.
        spec: what the whole network is built from; needed only for a user's own function, which a
            file may not name.
        base_dir: folder for relative paths and modules in `spec`.

    Raises:
        NetworkError: not such a file, a damaged one, or it does not fit the network.
    """
    saved = load_checkpoint(path)
    if KEPT not in saved.extra:
        raise NetworkError(f"{path}: a saved network, but not one whose kernels were removed.")
    source = trusted_spec(saved, path, spec)
    with fitting_the_network(path):
        return rebuild(saved, source, base_dir).eval()


def rebuild(saved: Checkpoint, spec: ModelSpec, base_dir: Path | None = None) -> nn.Module:
    """Return the network of a checkpoint, whole or with the kernels that are left in it.

    Args:
        saved: the checkpoint.
        spec: what the whole network is built from.
        base_dir: folder for relative paths and modules in `spec`.
    """
    network = build(spec, saved.input_shape, saved.n_outputs, base_dir)
    counts = saved.extra.get(KEPT)
    if counts is not None:
        kernels = trace_kernels(network, one_input(saved.input_shape, "an edge device"))
        # The file names counts only; the network is built whole and made smaller again.
        sizes = {layer.name: layer.n_kernels for layer in kernels.prunable}
        # Which kernels they were does not matter: their weights come from the file.
        kept = {name: torch.arange(sizes[name]) < int(n) for name, n in counts.items()}
        network = shrink(network, Masks(kernels, kept))
    network.load_state_dict(saved.state_dict)
    return network
