"""Checkpoints of a learning: with one, it goes on as if it had not been cut off."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfprune.agent.dqn import Experience, MaskedDQN
from rfprune.agent.files import read_values, write_values
from rfprune.agent.task import Task
from rfprune.errors import RunsError
from rfprune.spec.agent import AgentSpec

__all__ = ["fingerprint", "load_checkpoint", "restore_agent", "save_checkpoint"]

KIND = "rfprune.agent/1"
_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "terms", "layer")
_SCALES = ("weights", "shift", "spread")


def fingerprint(task: Task, spec: AgentSpec, seed: int) -> str:
    """Return what checkpoints must agree in: settings, seed, what a task says of itself."""
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
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def save_checkpoint(path: Path, agent: MaskedDQN, values: dict[str, Any]) -> None:
    """Write the agent with its replay buffer, and further plain values and arrays."""
    buffer = agent.replay_buffer
    assert isinstance(buffer, Experience)
    filled = buffer.size()
    content = {
        "policy": agent.policy.state_dict(),
        "optimizer": agent.policy.optimizer.state_dict(),
        "replay": {name: getattr(buffer, name)[:filled] for name in _ARRAYS},
        "replay_position": buffer.pos,
        "scales": {name: getattr(buffer, name) for name in _SCALES},
        "timesteps": agent.num_timesteps,
        "calls": agent._n_calls,
        "updates": agent._n_updates,
        "td_loss": agent.td_loss,
        "warm": agent.warm,
    }
    write_values(path, KIND, {"agent": content, **values})


def load_checkpoint(path: Path, expected: str) -> dict[str, Any]:
    """Return what `save_checkpoint` wrote.

    Raises:
        RunsError: a damaged file, or an agent with other settings or of another task.
    """
    values = read_values(path, KIND)
    if values.get("fingerprint") != expected:
        raise RunsError(
            f"{path}: holds an agent with other settings or of another task; "
            "use another folder, or delete it to begin again."
        )
    return values


def restore_agent(path: Path, agent: MaskedDQN, content: dict[str, Any]) -> None:
    """Bring an agent to where it was when `content` was saved.

    Raises:
        RunsError: the content does not fit the agent.
    """
    buffer = agent.replay_buffer
    assert isinstance(buffer, Experience)
    try:
        agent.policy.load_state_dict(_tensors(content["policy"]))
        agent.policy.optimizer.load_state_dict(_tensors(content["optimizer"]))
        filled = len(content["replay"]["terms"])
        for name in _ARRAYS:
            getattr(buffer, name)[:filled] = content["replay"][name]
        for name in _SCALES:
            setattr(buffer, name, content["scales"][name])
        buffer.pos = content["replay_position"]
        buffer.full = filled == buffer.buffer_size
        agent.num_timesteps = content["timesteps"]
        agent._n_calls, agent._n_updates = content["calls"], content["updates"]
        agent.td_loss, agent.warm = content["td_loss"], content["warm"]
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RunsError(f"{path}: the checkpoint is incomplete ({reason}).") from error


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tensors(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_tensors(inner) for inner in value]
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
