"""Small trials for an edge device on embedded images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rfprune.results import TrialFolder, TrialResult
from rfprune.spec import TrialSpec
from rfprune.trial.run import run_trial


def small(**changes: Any) -> TrialSpec:
    """Return a trial that runs in a second or two."""
    values: dict[str, Any] = {
        "model": {"name": "edge_cnn", "args": {"channels": [6, 8]}},
        "data": {"name": "digits_images", "train_rows": 400, "test_rows": 100},
        "edge": {"agent_rows": 60},
        "train": {"epochs": 3, "batch_size": 64, "learning_rate": 1e-2, "device": "cpu"},
        "prune": {
            "method": "uniform",
            "budget": {"energy_mj": 0.5},
            "steps": 2,
            "epochs_per_step": 1,
            "tolerance": 1.0,
            "agent": {"episodes": 12, "warmup_episodes": 3, "gradient_steps": 1},
        },
    }
    for key, change in changes.items():
        values[key] = {**values[key], **change} if isinstance(change, dict) else change
    return TrialSpec.model_validate(values)


def run(home: Path, spec: TrialSpec, **kwargs: Any) -> tuple[TrialFolder, TrialResult]:
    """Run a trial in a folder of its own."""
    folder = TrialFolder(home / "trials" / "0000")
    result = run_trial(spec, folder, dense_dir=home / "dense", base_dir=home, **kwargs)
    return folder, result


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
