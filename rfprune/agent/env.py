"""The task as a Gymnasium environment: one layer per step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rfprune.agent.episode import Episode, Game
from rfprune.agent.state import LARGEST

__all__ = ["PruningEnv"]

Observation = NDArray[np.float32]


class PruningEnv(gymnasium.Env[Observation, np.int64]):
    """One episode decides every layer once, under a condition that is drawn for it.

    The condition depends on the seed and the number of the episode alone, so that a learning that
    was cut off goes on with the same ones. A level that is not allowed is never measured: the
    layer is pruned to the nearest allowed one instead, which ``info["level"]`` names.

    Attributes:
        episode: number of the next episode.
        ended: the last episode that was played to its end, or None.
    """

    def __init__(self, game: Game, seed: int = 0, episode: int = 0) -> None:
        self.game, self.episode = game, episode
        self.ended: Episode | None = None
        self._seed = seed
        self._playing: Episode | None = None
        self.observation_space = gymnasium.spaces.Box(
            -LARGEST, LARGEST, (game.state.size,), np.float32
        )
        self.action_space = gymnasium.spaces.Discrete(len(game.state.levels))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: of the conditions; the count of episodes begins again.
            options: ``{"condition": c}`` plays under this condition.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._seed, self.episode = seed, 0
        drawn = np.random.default_rng([self._seed, self.episode]).integers(self.game.conditions)
        condition = int((options or {}).get("condition", drawn))
        self.episode += 1
        self._playing = Episode(self.game, condition)
        return self._playing.state(), {"condition": condition}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide one layer; ``info`` tells its index, its level and the terms of its reward."""
        assert self._playing is not None, "reset comes first"
        playing = self._playing
        layer = playing.index
        level = self._allowed(layer, int(action))
        terms = playing.decide(level)
        if playing.ended:
            self.ended = playing
        reward = float(terms @ self.game.reward.weights)
        info = {"terms": terms, "layer": layer, "level": level}
        return playing.state(), reward, playing.ended, False, info

    def _allowed(self, layer: int, action: int) -> int:
        levels = np.flatnonzero(self.game.state.allowed[layer])
        return int(levels[np.argmin(np.abs(levels - action))])
