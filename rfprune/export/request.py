"""What is to be exported, and the files that every export has, whatever the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rfprune.runs import StepRecord, TrialFolder
from rfprune.runs.files import write_json

__all__ = ["Request", "Say", "write_masks", "write_metrics"]

#: Is told what is being done, one line per stage.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to export.

    Attributes:
        trial: the trial's run folder.
        step: the accepted step.
        out: the folder to make; must not exist, or be empty.
        why: how the point was chosen.
        picture: PNG of the front with the chosen point, for the report.
        rows: test rows for the C++ simulation; None = by network, 0 = no simulation.
        force: export although the simulation disagrees.
    """

    trial: TrialFolder
    step: int
    out: Path
    why: str = ""
    picture: bytes | None = None
    rows: int | None = None
    force: bool = False


def write_masks(folder: Path, masks: Mapping[str, Tensor]) -> None:
    """Write ``masks.npz``: what stayed, by layer."""
    arrays: dict[str, Any] = {name: mask.numpy() for name, mask in masks.items()}
    np.savez_compressed(folder / "masks.npz", **arrays)


def write_metrics(
    folder: Path, request: Request, record: StepRecord, input_shape: tuple[int, ...]
) -> None:
    """Write ``metrics.json``: every quantity of the chosen point, and why it was chosen."""
    facts = {
        "trial": request.trial.number,
        "step": record.step,
        "input_shape": list(input_shape),
        "why": request.why,
        **record.model_dump(mode="json"),
    }
    write_json(folder / "metrics.json", facts)
