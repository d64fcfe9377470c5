"""Checkpoints of a learning, and what they have to agree with to be resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rfprune.core.digests import sha256_of
from rfprune.core.value_files import read_values
from rfprune.errors import RunsError
from rfprune.methods.agent_task import AgentTask
from rfprune.spec.agent import AgentSpec

__all__ = ["KIND", "fingerprint", "load_checkpoint"]

KIND = "rfprune.akperl/3"
#: Written by versions that learned with Stable-Baselines3, whose optimizer this one cannot resume,
#: or without the returns that followed a decision.
_KINDS_BEFORE = ("rfprune.agent/1", "rfprune.akperl/2")


def fingerprint(task: AgentTask, spec: AgentSpec, seed: int) -> str:
    """Return what checkpoints must agree in: settings, seed, what a task says of itself."""
    # With blanks, unlike `canonical_json`: checkpoints hold hashes of this text.
    text = json.dumps(
        {
            "spec": spec.model_dump(mode="json"),
            "seed": seed,
            "layers": list(task.layers),
            "levels": list(map(float, task.levels)),
            "allowed": np.asarray(task.allowed).tolist(),
            "features": [np.asarray(task.features(c)).tolist() for c in range(task.conditions)],
            "layer_features": np.asarray(task.layer_features()).tolist(),
        },
        sort_keys=True,
    )
    return sha256_of(text)[:12]


def load_checkpoint(path: Path, expected: str) -> dict[str, Any]:
    """Return the values of a checkpoint.

    Raises:
        RunsError: a damaged file, or an agent with other settings or of another task.
    """
    try:
        values = read_values(path, KIND)
    except RunsError as error:
        if any(kind in str(error) for kind in _KINDS_BEFORE):
            raise RunsError(
                f"{path}: holds an agent that an earlier version was learning; delete it to begin "
                "again. What was measured is kept."
            ) from error
        raise
    if values.get("fingerprint") != expected:
        raise RunsError(
            f"{path}: holds an agent with other settings or of another task; "
            "use another folder, or delete it to begin again."
        )
    return values
