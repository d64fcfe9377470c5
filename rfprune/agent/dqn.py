"""Stable-Baselines3's DQN with levels that may not be chosen, and random numbers per episode.

The allowed levels are the last entries of a state, so the Q-network itself gives the others -inf:
they are taken neither by the greedy policy nor by the maximum of the target. Exploration draws
among the allowed ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import Env, spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor

from rfprune.arrays import FloatArray
from rfprune.spec.agent import AgentSpec

__all__ = ["Experience", "MaskedDQN", "make_dqn"]


class MaskedQNetwork(QNetwork):
    """Q-values, -inf for the levels that the state does not allow."""

    def forward(self, obs: Tensor) -> Tensor:  # type: ignore[override]
        """Return (B, A) from states (B, D)."""
        allowed = obs[:, -int(self.action_space.n) :] > 0.5
        return super().forward(obs).masked_fill(~allowed, -torch.inf)


class MaskedPolicy(DQNPolicy):
    """The policy of `MaskedQNetwork`."""

    def make_q_net(self) -> QNetwork:
        """Return a Q-network; called for the learning and for the target network."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return MaskedQNetwork(**arguments).to(self.device)


class Experience(ReplayBuffer):
    """A replay buffer of standardised rewards that keeps their terms, so that weights may change.

    The mean reward of a layer is taken off and the rest divided by its spread: every layer is
    decided once in every episode, so this changes no policy, only how well it is learned.

    Attributes:
        terms: (N, T) of each transition.
        layer: (N,) index of the layer that was decided.
    """

    def __init__(
        self, *args: Any, rng: np.random.Generator, shape: tuple[int, int], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        n_layers, n_terms = shape
        self.terms = np.zeros((self.buffer_size, n_terms))
        self.layer = np.zeros(self.buffer_size, dtype=np.int64)
        self.weights = np.ones(n_terms)
        self.shift, self.spread = np.zeros(n_layers), 1.0
        self._rng = rng

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        """Add one transition, with what the environment told of its reward."""
        terms, layer = infos[0]["terms"], infos[0]["layer"]
        self.terms[self.pos], self.layer[self.pos] = terms, layer
        reward = (terms @ self.weights - self.shift[layer]) / self.spread
        super().add(obs, next_obs, action, np.array([reward]), done, infos)

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Return transitions drawn with the agent's own random numbers."""
        return self._get_samples(self._rng.integers(0, self.size(), batch_size), env)

    def standardise(self, weights: FloatArray) -> None:
        """Give every transition its reward with these weights (T,), standardised anew."""
        filled = slice(0, self.size())
        rewards, layer = self.terms[filled] @ weights, self.layer[filled]
        count = np.maximum(np.bincount(layer, minlength=len(self.shift)), 1)
        self.weights = weights.copy()
        self.shift = np.bincount(layer, rewards, minlength=len(self.shift)) / count
        centred = rewards - self.shift[layer]
        self.spread = float(max(centred.std(), 1e-9))
        self.rewards[filled, 0] = centred / self.spread


class MaskedDQN(DQN):
    """DQN whose exploration keeps to the allowed levels.

    Attributes:
        rng: the only random numbers; seeded anew for every episode.
        td_loss: mean loss of the last training, None before the first.
        warm: False while nothing is learned yet.
    """

    rng: np.random.Generator
    td_loss: float | None = None
    warm: bool = False

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Return the level of each state (B, D): greedy, or random with the exploration rate."""
        if deterministic or self.rng.random() >= self.exploration_rate:
            return super().predict(observation, state, episode_start, deterministic=True)
        n_levels = int(self.action_space.n)  # type: ignore[attr-defined]
        allowed = np.asarray(observation)[:, -n_levels:] > 0.5
        return np.array([self.rng.choice(np.flatnonzero(row)) for row in allowed]), state

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Learn from the replay buffer, on one thread: the matrices are small."""
        if not self.warm:
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            super().train(gradient_steps, batch_size)
        finally:
            torch.set_num_threads(threads)
        self.td_loss = float(self.logger.name_to_value["train/loss"])

    def mean_max_q(self, states: NDArray[np.float32]) -> float:
        """Return the mean over states (N, D) of the largest Q-value (Mnih et al. 2013, 5.1)."""
        with torch.no_grad():
            return float(self.q_net(torch.from_numpy(states)).max(dim=1).values.mean())


def make_dqn(env: Env[Any, Any], spec: AgentSpec, n_terms: int, seed: int) -> MaskedDQN:
    """Return an agent that has learned nothing yet.

    Args:
        env: a `PruningEnv`.
        spec: its settings.
        n_terms: terms of a reward.
        seed: of the weights; other random numbers come from `rng`.
    """
    assert isinstance(env.action_space, spaces.Discrete)
    rng = np.random.default_rng(seed)
    n_layers = len(env.unwrapped.game.state.layers)  # type: ignore[attr-defined]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        agent = MaskedDQN(
            MaskedPolicy,
            env,
            learning_rate=LinearSchedule(spec.learning_rate, spec.learning_rate / 10, 1.0),
            buffer_size=spec.buffer_size,
            learning_starts=0,
            batch_size=spec.batch_size,
            gamma=spec.discount,
            train_freq=(1, "episode"),
            gradient_steps=n_layers * spec.gradient_steps,
            replay_buffer_class=Experience,
            replay_buffer_kwargs={"rng": rng, "shape": (n_layers, n_terms)},
            target_update_interval=spec.target_update_steps,
            policy_kwargs={"net_arch": list(spec.hidden), "optimizer_kwargs": {"fused": True}},
            device="cpu",
        )
    agent.rng = rng
    explore = spec.exploration
    agent.exploration_schedule = LinearSchedule(
        explore.start, explore.end, max(explore.fraction, 1e-9)
    )
    return agent
