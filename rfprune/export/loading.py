"""Loading an exported network back."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rfprune.errors import RunsError
from rfprune.models import build, load_checkpoint

__all__ = ["load"]


def load(folder: str | Path) -> nn.Module:
    """Return the network in an exported folder, in eval mode; pruned weights are exactly 0.

    Raises:
        RunsError: the folder holds no exported network.
        NetworkError: its file is damaged.
    """
    path = Path(folder) / "model.pt"
    if not path.is_file():
        raise RunsError(f"{folder}: holds no model.pt. Allowed: a folder made by 'rfprune export'.")
    saved = load_checkpoint(path)
    model = build(saved.spec, saved.input_shape, saved.n_classes, Path(folder))
    model.load_state_dict(saved.state_dict)
    return model.eval()
