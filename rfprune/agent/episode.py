"""One episode: every layer is decided once. The environment and the greedy policy both play it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rfprune.agent.measured import Measured
from rfprune.agent.reward import Reward
from rfprune.agent.state import State
from rfprune.agent.task import Outcome
from rfprune.arrays import FloatArray

__all__ = ["Episode", "Game", "play"]


@dataclass(frozen=True)
class Game:
    """What all episodes of an agent share.

    Attributes:
        state: how states are written.
        measured: the task, with its memory.
        reward: of a decision.
        measure_every: layers between two measurements.
    """

    state: State
    measured: Measured
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
    """

    def __init__(self, game: Game, condition: int) -> None:
        self._game = game
        self._dense = game.measured.dense(condition)
        self._features = game.state.standardised(game.measured.task.features(condition))
        self.condition = condition
        self.choice = np.zeros(len(game.state.layers), dtype=np.int64)
        self.index = 0
        self.readings = [replace(self._dense, power=1.0)]
        self.terms: list[FloatArray] = []

    @property
    def ended(self) -> bool:
        """Whether every layer is decided."""
        return self.index == len(self.choice)

    @property
    def total(self) -> float:
        """Sum of the rewards so far, with the weights as they are now."""
        return float(sum(terms @ self._game.reward.weights for terms in self.terms))

    @property
    def rank(self) -> tuple[float, float]:
        """How good the ended episode was; the larger one is better."""
        return self._game.reward.rank(self.total, self.readings[-1])

    def state(self) -> NDArray[np.float32]:
        """Return (D,) what the agent sees."""
        now = self.readings[-1]
        return self._game.state.write(
            self._features, self.choice, self.index, now.accuracy, now.power
        )

    def decide(self, level: int) -> FloatArray:
        """Prune the next layer to the level with this index; return (T,) the decision's terms."""
        layer = self.index
        assert self._game.state.allowed[layer, level], "the level is not allowed"
        self.choice[layer] = level
        self.index += 1
        before, after = self.readings[-1], self._reading()
        intensity = float(self._game.state.levels[level])
        terms = self._game.reward.terms(layer, intensity, before, after)
        self.readings.append(after)
        self.terms.append(terms)
        return terms

    def _reading(self) -> Outcome:
        if self.index % self._game.measure_every and not self.ended:
            return self.readings[-1]
        found = self._game.measured(self.choice, self.index, self.condition)
        return replace(found, power=found.power / self._dense.power)


def play(game: Game, condition: int, act: Callable[[NDArray[np.float32]], int]) -> Episode:
    """Return an episode in which `act` maps every state (D,) to the index of a level."""
    episode = Episode(game, condition)
    while not episode.ended:
        episode.decide(act(episode.state()))
    return episode
