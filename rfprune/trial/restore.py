"""A network as it stood after an accepted step, with everything it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from rfprune.core.own_code import check_code
from rfprune.errors import RunsError
from rfprune.pruning import Masks
from rfprune.results import TrialFolder
from rfprune.trial.checkpoints import load_step
from rfprune.trial.dense import new_model
from rfprune.trial.prepare import Prepared, prepare

__all__ = ["Restored", "restore"]


@dataclass(frozen=True)
class Restored:
    """An accepted step of a trial.

    Attributes:
        prepared: the checked trial.
        model: its whole network at the step, in eval mode on the CPU.
        masks: what is left of it.
    """

    prepared: Prepared
    model: nn.Module
    masks: Masks


def restore(trial: TrialFolder, step: int) -> Restored:
    """Return a checked trial and its network at an accepted step.

    Raises:
        RunsError: the step was not accepted, its checkpoint is damaged, or the folder names
            functions that nobody has run here (`rfprune.core.own_code`).
        InputError: the data or modules that the trial names no longer exist.
    """
    path = trial.checkpoint(step)
    if not path.exists():
        raise RunsError(
            f"{path}: no such checkpoint; only accepted steps have one, "
            "and 'rfprune clean' or runs.keep may have removed it."
        )
    trial.refuse_links_out()
    # Before any code of the trial is imported.
    check_code(trial.home, trial.base_dir(), trial.spec().canonical())
    # The trial has run: a package or vendor tool that it needed may be missing here.
    prepared = prepare(trial.spec(), trial.base_dir(), to_run=False)
    # Built anew rather than stored: checkpoints hold tensors, never pickled code.
    model = new_model(prepared.spec, prepared.data, trial.base_dir())
    state = load_step(path, model)
    prepared.deployment.prunable.take(state.values)
    return Restored(prepared, model.eval(), state.masks or {})
