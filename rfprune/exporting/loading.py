"""Loading an exported network back."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rfprune.core.given import FOLDER
from rfprune.core.registry import importable, resolve
from rfprune.data import Scaling
from rfprune.errors import NetworkError, OptionError, RunsError
from rfprune.exporting.raw_rows import taking_raw_rows
from rfprune.models import Checkpoint, load_checkpoint
from rfprune.spec import TARGETS

__all__ = ["load", "load_layers"]


def load(folder: str | Path, *, run_code: bool = False) -> nn.Module:
    """Return the network in an exported folder, in eval mode. It takes raw rows.

    Rows are as the data's files have them, in the layout of the network's input; they are scaled as
    ``scaling.json`` says. Pruned weights are exactly 0; a network for an edge device no longer has
    its pruned kernels.

    Example::

        network = rfprune.load("out", run_code=True)  # its class lies in out/given
        network(torch.from_numpy(x[:5]))  # (5, outputs)

    An export of version 0.1 does not say how its rows were scaled, and takes scaled rows.

    Args:
        folder: made by ``rfprune export``.
        run_code: build a network of the user's own ``package.module:function``, which the file
            names. Only for files from a source that may run code here.

    Raises:
        RunsError: the folder holds no exported network.
        NetworkError: its file is damaged.
        OptionError: it needs `run_code`.
    """
    model, saved = _loaded(folder, run_code)
    if "scaling" not in saved.extra:
        return model
    return taking_raw_rows(model, Scaling.from_saved(saved.extra["scaling"]))


def load_layers(folder: str | Path, *, run_code: bool = False) -> nn.Module:
    """As `load`, without the scaling: what hls4ml or a processor computes, of scaled rows."""
    return _loaded(folder, run_code)[0]


def _loaded(folder: str | Path, run_code: bool) -> tuple[nn.Module, Checkpoint]:
    path = Path(folder) / "model.pt"
    if not path.is_file():
        raise RunsError(f"{folder}: has no model.pt. Allowed: a folder made by 'rfprune export'.")
    saved = load_checkpoint(path)
    if saved.spec.is_function and not run_code:
        raise OptionError(
            f"{path}: is built by '{saved.spec.name}'; a file must not decide what code is run. "
            "If you trust it: rfprune.load(folder, run_code=True), or the option --run-code."
        )
    # Exports of version 0.1 do not say what they are for: each target looks, the usual one last.
    named = TARGETS.get(str(saved.extra.get("target")))
    asked = [named] if named else [*TARGETS.values()][::-1]
    # What was handed over in Python lies in the export itself.
    with importable(Path(folder) / FOLDER):
        found = (resolve(facts.target).load(saved, path, Path(folder)) for facts in asked)
        model: nn.Module | None = next((model for model in found if model is not None), None)
    if model is None:
        raise NetworkError(f"{path}: is not a network that rfprune exported.")
    return model, saved
