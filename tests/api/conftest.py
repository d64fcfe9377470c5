"""A network and rows that are made here, as in the cell of a notebook."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

X = np.random.default_rng(0).normal(size=(240, 6)).astype(np.float32)
Y = X[:, :3].argmax(axis=1)
SETTINGS: dict[str, Any] = {
    "hardware": {"part": "pynq-z2"},
    "train": {"epochs": 2, "batch_size": 32, "learning_rate": 0.02},
    "prune": {"steps": 2, "epochs_per_step": 1, "warmup_epochs": 0, "budget": {"dsp": 0.5}},
}


class CellNet(nn.Module):
    """A network that no module outside of the tests knows."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return three logits per row."""
        return self.fc2(torch.relu(self.fc1(x)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path
