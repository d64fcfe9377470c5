"""The state that the agent sees before each decision, the same while learning and at run time.

::

    accuracy, power       of the network so far; power as a share of the dense network's
    input statistics (F)  standardised over the task's conditions
    layer features (K)    of the layer to decide, standardised over the layers
    position (L)          one-hot
    decisions (L)         fraction pruned of each layer so far
    allowed (A)           1 where a level may be chosen

The allowed levels are part of the state so that the network itself can rule out the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.methods.agent_task import AgentTask
from rfprune.spec.agent import AgentSpec

__all__ = ["LARGEST", "StateEncoder", "state_of"]

#: Every entry of a state lies in [-LARGEST, LARGEST]; an input far from all conditions is clipped.
LARGEST = 5.0


@dataclass(frozen=True)
class StateEncoder:
    """How states are written: all that does not change while an agent learns.

    Attributes:
        layers: (L,) names.
        levels: (A,) fractions.
        allowed: (L, A).
        layer_features: (L, K), standardised.
        mean: (F,) of the input statistics over the conditions.
        scale: (F,) their standard deviation; inf = the same everywhere, and therefore ignored.
        observe_monitor: whether accuracy and power are shown, or 0 instead.
        observe_statistics: whether input statistics are shown, or 0 instead.
    """

    layers: tuple[str, ...]
    levels: FloatArray
    allowed: BoolArray
    layer_features: FloatArray
    mean: FloatArray
    scale: FloatArray
    observe_monitor: bool = True
    observe_statistics: bool = True

    @property
    def size(self) -> int:
        """Number of entries of a state."""
        n_layers, n_levels = len(self.layers), len(self.levels)
        n_features: int = self.layer_features.shape[1]
        return 2 + len(self.mean) + n_features + 2 * n_layers + n_levels

    def standardised(self, features: FloatArray) -> FloatArray:
        """Return (F,) input statistics as the state shows them."""
        shown = np.clip((features - self.mean) / self.scale, -LARGEST, LARGEST)
        return shown if self.observe_statistics else np.zeros_like(shown)

    def write(
        self,
        features: FloatArray,
        choice: IntArray,
        index: int,
        accuracy: float,
        power: float,
        allowed: BoolArray | None = None,
    ) -> NDArray[np.float32]:
        """Return (D,) the state before layer `index` is decided; ``index == L`` after the last.

        Args:
            features: (F,) input statistics, standardised.
            choice: (L,) levels by index; those from `index` on do not count.
            index: layers that are decided.
            accuracy: of the network so far.
            power: of the network so far, as a share of the dense network's.
            allowed: (A,) levels that may be chosen; those of the layer if not given.
        """
        n_layers, n_levels = self.allowed.shape
        ended = index == n_layers
        position, decisions = np.zeros(n_layers), np.zeros(n_layers)
        decisions[:index] = self.levels[choice[:index]]
        of_layer = np.zeros(self.layer_features.shape[1])
        # After the last decision nothing follows; a state without any level would have no value.
        open_levels = np.ones(n_levels)
        if not ended:
            position[index] = 1.0
            of_layer = self.layer_features[index]
            open_levels = (self.allowed[index] if allowed is None else allowed).astype(float)
        monitor = np.array([accuracy, power]) * self.observe_monitor
        parts = (monitor, features, of_layer, position, decisions, open_levels)
        clipped = np.clip(np.concatenate(parts), -LARGEST, LARGEST)
        return np.asarray(clipped, dtype=np.float32)

    def as_tensors(self) -> dict[str, Any]:
        """Return plain values and arrays, for a file."""
        return {**self.__dict__, "layers": list(self.layers)}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> StateEncoder:
        """Return the state that `as_tensors` wrote."""
        return cls(**{**values, "layers": tuple(values["layers"])})


def state_of(task: AgentTask, spec: AgentSpec) -> StateEncoder:
    """Return how the states of a task are written."""
    statistics = np.stack([task.features(c) for c in range(task.conditions)]).astype(float)
    spread = statistics.std(axis=0)
    of_layers = np.asarray(task.layer_features(), dtype=float)
    of_layers = (of_layers - of_layers.mean(axis=0)) / np.maximum(of_layers.std(axis=0), 1e-12)
    return StateEncoder(
        layers=tuple(task.layers),
        levels=np.asarray(task.levels, dtype=float),
        allowed=np.asarray(task.allowed, dtype=bool),
        layer_features=np.clip(of_layers, -LARGEST, LARGEST),
        mean=statistics.mean(axis=0),
        scale=np.where(spread > 1e-9, spread, np.inf),
        observe_monitor=spec.observe_monitor,
        observe_statistics=spec.observe_statistics,
    )
