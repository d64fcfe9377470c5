"""A network as it stood after an accepted step, with everything it belongs to."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rfprune.errors import RunsError
from rfprune.kernels import Masks
from rfprune.pruning import State
from rfprune.runs import TrialFolder
from rfprune.trial.checkpoints import load_step
from rfprune.trial.dense import new_model
from rfprune.trial.edge import PreparedEdge, prepare_edge
from rfprune.trial.fpga import Prepared, prepare

__all__ = ["restore", "restore_edge"]


def restore(trial: TrialFolder, step: int) -> tuple[Prepared, nn.Module]:
    """Return a checked trial and its network at an accepted step, in eval mode on the CPU.

    Raises:
        RunsError: the step was not accepted, or its checkpoint is damaged.
        InputError: the data or modules that the trial names are not there any more.
    """
    path = _checkpoint(trial, step)
    prepared = prepare(trial.spec(), trial.base_dir())
    model, _ = _network(prepared, path, trial.base_dir())
    return prepared, model


def restore_edge(trial: TrialFolder, step: int) -> tuple[PreparedEdge, nn.Module, Masks]:
    """Return a checked trial for an edge device, its whole network at a step, and what is left.

    Raises:
        RunsError: the step was not accepted, or its checkpoint is damaged.
        InputError: the data or modules that the trial names are not there any more.
    """
    path = _checkpoint(trial, step)
    prepared = prepare_edge(trial.spec(), trial.base_dir())
    model, state = _network(prepared, path, trial.base_dir())
    return prepared, model, Masks(prepared.costs.kernels, state.masks or {})


def _network(
    prepared: Prepared | PreparedEdge, path: Path, base_dir: Path
) -> tuple[nn.Module, State]:
    """Return the network of a checkpoint, in eval mode, and where the loop stood."""
    model = new_model(prepared.spec, prepared.data, base_dir)
    state = load_step(path, model)
    return model.eval(), state


def _checkpoint(trial: TrialFolder, step: int) -> Path:
    path = trial.checkpoint(step)
    if not path.exists():
        raise RunsError(f"{path}: no such checkpoint; only accepted steps have one.")
    return path
