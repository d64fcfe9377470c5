"""One episode: every layer is decided once, by exploration or by the greedy policy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.methods.agent_task import AgentMeasurement
from rfprune.methods.akperl.measured import MeasuredTask
from rfprune.methods.akperl.reward import Reward
from rfprune.methods.akperl.state import StateEncoder

__all__ = ["Environment", "Episode", "Measure", "run_episode"]

#: Of the first decisions of a choice (L,) under a condition; None where nothing is known.
Measure = Callable[[IntArray, int, int], AgentMeasurement | None]


@dataclass(frozen=True)
class Environment:
    """What all episodes of an agent share.

    Attributes:
        state: how states are written.
        measured: the task, with its memory.
        reward: of a decision.
        measure_every: layers between two measurements.
    """

    state: StateEncoder
    measured: MeasuredTask
    reward: Reward
    measure_every: int = 1

    @property
    def conditions(self) -> int:
        """Number of conditions of the input."""
        return self.measured.task.conditions


class Episode:
    """One pass over the layers under one condition of the input.

    Attributes:
        condition: of the input.
        choice: (L,) index of the level of each layer; those from `index` on do not count.
        index: layers that are decided.
        readings: accuracy and power (share of dense) before the first and after each decision.
        terms: of each decision; see `Reward`.

    Args:
        environment: what is played in.
        condition: of the input.
        measure: what is asked in place of the task; where it returns None, the last reading stays.
    """

    def __init__(
        self, environment: Environment, condition: int, measure: Measure | None = None
    ) -> None:
        self._environment, self._measure = environment, measure or environment.measured
        self._dense = environment.measured.dense(condition)
        self._features = environment.state.standardised(
            environment.measured.task.features(condition)
        )
        self.condition = condition
        self.choice = np.zeros(len(environment.state.layers), dtype=np.int64)
        self.index = 0
        # Power relative to the dense network's, so that rewards mean the same for every network.
        self.readings = [replace(self._dense, power=1.0)]
        self.terms: list[FloatArray] = []

    @property
    def ended(self) -> bool:
        """Whether every layer is decided."""
        return self.index == len(self.choice)

    @property
    def total(self) -> float:
        """Sum of the rewards so far, with the weights as they are now."""
        return float(sum(terms @ self._environment.reward.weights for terms in self.terms))

    @property
    def rank(self) -> tuple[float, float]:
        """How good the ended episode was; the larger one is better."""
        return self._environment.reward.rank(self.total, self.readings[-1])

    def state(self) -> NDArray[np.float32]:
        """Return (D,) what the agent sees."""
        now = self.readings[-1]
        return self._environment.state.write(
            self._features, self.choice, self.index, now.accuracy, now.power
        )

    def copy(self) -> Episode:
        """Return one that goes on from here by itself."""
        other = copy.copy(self)
        other.choice = self.choice.copy()
        other.readings, other.terms = list(self.readings), list(self.terms)
        return other

    def decide(self, level: int) -> FloatArray:
        """Prune the next layer to the level with this index; return (T,) the decision's terms."""
        layer = self.index
        assert self._environment.state.allowed[layer, level], "the level is not allowed"
        self.choice[layer] = level
        self.index += 1
        before = after = self.readings[-1]
        # Between two measurements the last one is shown; the end of an episode is always measured.
        if self.ended or self.index % self._environment.measure_every == 0:
            found = self._measure(self.choice, self.index, self.condition)
            if found is not None:
                after = replace(found, power=found.power / self._dense.power)
        intensity = float(self._environment.state.levels[level])
        terms = self._environment.reward.terms(layer, intensity, before, after)
        self.readings.append(after)
        self.terms.append(terms)
        return terms


def run_episode(
    environment: Environment, condition: int, act: Callable[[NDArray[np.float32]], int]
) -> Episode:
    """Return an episode in which `act` maps every state (D,) to the index of a level."""
    episode = Episode(environment, condition)
    while not episode.ended:
        episode.decide(act(episode.state()))
    return episode
