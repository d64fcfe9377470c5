"""Checkpoints of accepted steps: weights, masks and the state of the loop, without pickled code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rfprune.data import Dataset
from rfprune.errors import RunsError
from rfprune.models import architecture, load_checkpoint, save_checkpoint
from rfprune.pruning import Schedule, State
from rfprune.spec import TrialSpec

__all__ = ["load_step", "save_step"]


def save_step(
    path: Path, model: nn.Module, state: State, spec: TrialSpec, data: Dataset, base_dir: Path
) -> None:
    """Write one accepted step; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    extra: dict[str, Any] = {
        "schedule": asdict(state.schedule),
        "failed": state.failed,
        # A quarter of the size of floats.
        "masks": {name: mask.bool() for name, mask in (state.masks or {}).items()},
        **({} if state.values is None else {"values": state.values}),
        "prices": None if state.prices is None else state.prices.tolist(),
    }
    origin = architecture(spec.model, base_dir)
    save_checkpoint(path, model, origin, data.input_shape, data.n_outputs, extra)


def load_step(path: Path, model: nn.Module) -> State:
    """Put an accepted step's weights into `model` and return where the loop stood.

    Raises:
        RunsError: the checkpoint cannot be read or belongs to another network.
    """
    try:
        saved = load_checkpoint(path)
        model.load_state_dict(saved.state_dict)
        extra = saved.extra
        return State(
            schedule=Schedule(**extra["schedule"]),
            failed=int(extra["failed"]),
            # An empty dict stands for no masks: the dense step has none.
            masks={name: mask.float() for name, mask in extra["masks"].items()} or None,
            values=extra.get("values"),
            prices=None if extra["prices"] is None else np.array(extra["prices"]),
        )
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        why = str(error).removeprefix(f"{path}: ").removesuffix(".")
        raise RunsError(f"{path}: the checkpoint cannot be used ({why}).") from error
