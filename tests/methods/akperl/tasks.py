"""A small task whose best policy is known by enumeration."""

import itertools
from collections.abc import Iterator

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.methods.agent_task import AgentMeasurement, AgentTask
from rfprune.methods.akperl import MeasuredTask, make_reward
from rfprune.methods.akperl.episode import Environment, Episode
from rfprune.methods.akperl.state import state_of
from rfprune.spec import AgentSpec


class Toy:
    """Accuracy falls with each layer's share and with pairs of them; power with the operations.

    Each condition of the input halves what the network stands.
    """

    levels = (0.0, 0.25, 0.5, 0.75, 1.0)

    def __init__(self, seed: int = 0, n_layers: int = 5, conditions: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.layers = [f"conv{index}" for index in range(n_layers)]
        self.allowed: BoolArray = np.ones((n_layers, 5), dtype=bool)
        self.allowed[[0, -1], 4] = False
        self.conditions = conditions
        self.measured: list[tuple[int, ...]] = []
        self._alone = rng.uniform(0.02, 0.5, n_layers)
        self._pairs = np.triu(rng.uniform(0, 0.15, (n_layers, n_layers)), 1)
        cost = rng.uniform(0.2, 1.0, n_layers)
        self._cost = cost / cost.sum()

    def features(self, condition: int) -> FloatArray:
        return np.array([float(condition), 1.0])

    def layer_features(self) -> FloatArray:
        return self._cost[:, None].copy()

    def network(self, choice: IntArray, condition: int) -> tuple[int, ...]:
        return tuple(choice.tolist())

    def measure(self, choice: IntArray, upto: int, condition: int) -> AgentMeasurement:
        assert not choice[upto:].any()
        assert self.allowed[np.arange(upto), choice[:upto]].all()
        self.measured.append((condition, *choice[:upto].tolist()))
        share = np.asarray(self.levels)[choice]
        loss = (self._alone * share**2).sum() + share @ self._pairs @ share
        accuracy = 0.9 * np.exp(-loss * 2**condition)
        return AgentMeasurement(
            float(accuracy), float(4.0 * (0.2 + 0.8 * self._cost @ (1 - share)))
        )


def environment_of(task: AgentTask, spec: AgentSpec) -> Environment:
    """Return what the agent plays, without an agent."""
    reward = make_reward(spec.reward, tuple(task.layers))
    return Environment(state_of(task, spec), MeasuredTask(task), reward, spec.measure_every)


def every_episode(environment: Environment, condition: int = 0) -> Iterator[Episode]:
    """Yield all episodes under a condition."""
    for choice in itertools.product(*map(np.flatnonzero, environment.state.allowed)):
        episode = Episode(environment, condition)
        for level in choice:
            episode.decide(int(level))
        yield episode


def enumerate_best(environment: Environment, condition: int = 0) -> Episode:
    """Return the best of all episodes."""
    return max(every_episode(environment, condition), key=lambda episode: episode.rank)


def replay(environment: Environment, choice: IntArray, condition: int = 0) -> Episode:
    """Return the episode with these decisions."""
    episode = Episode(environment, condition)
    for level in choice:
        episode.decide(int(level))
    return episode
