"""Loading an exported network back."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rfprune.errors import NetworkError, RunsError
from rfprune.kernels.saving import KEPT, load_shrunk
from rfprune.models import build, load_checkpoint

__all__ = ["load"]


def load(folder: str | Path, *, run_code: bool = False) -> nn.Module:
    """Return the network in an exported folder, in eval mode.

    Pruned weights are exactly 0; a network for an edge device has no pruned kernels any more.

    Args:
        folder: made by ``rfprune export``.
        run_code: build a network of the user's own ``package.module:function``, which the file
            names. Only for files from a source that may run code here.

    Raises:
        RunsError: the folder holds no exported network.
        NetworkError: its file is damaged, or needs `run_code`.
    """
    path = Path(folder) / "model.pt"
    if not path.is_file():
        raise RunsError(f"{folder}: holds no model.pt. Allowed: a folder made by 'rfprune export'.")
    saved = load_checkpoint(path)
    if saved.spec.is_function and not run_code:
        raise NetworkError(
            f"{path}: is built by '{saved.spec.name}'; a file must not decide what code is run. "
            "If you trust it: rfprune.load(folder, run_code=True), or the option --run-code."
        )
    if KEPT in saved.extra:
        return load_shrunk(path, saved.spec, Path(folder))
    model = build(saved.spec, saved.input_shape, saved.n_classes, Path(folder))
    model.load_state_dict(saved.state_dict)
    return model.eval()
