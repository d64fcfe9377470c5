"""Small, quick trials on embedded data."""

from typing import Any

import pytest

from rfprune.spec import TrialSpec


def small(**changes: Any) -> TrialSpec:
    """Return a trial that runs in about a second."""
    values: dict[str, Any] = {
        "model": {"name": "mlp", "args": {"hidden": [16]}},
        "data": {"name": "digits", "train_rows": 600},
        "hardware": {"reuse_factor": 4, "layers": {"output": {"reuse_factor": 8}}},
        "train": {"epochs": 8, "batch_size": 64, "learning_rate": 1e-2, "device": "cpu"},
        "prune": {
            "method": "greedy",
            "budget": {"dsp": 0.3},
            "steps": 3,
            "epochs_per_step": 2,
            "tolerance": 0.2,
            "regularizer": {"weight": 1e-3},
        },
    }
    for key, change in changes.items():
        values[key] = {**values[key], **change} if isinstance(change, dict) else change
    return TrialSpec.model_validate(values)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
