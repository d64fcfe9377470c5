"""Searches in the agent's game, with the same number of measured networks."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from rfprune.core.arrays import BoolArray, IntArray
from rfprune.edge.task import KernelTask
from rfprune.methods.agent_task import AgentMeasurement, random_levels
from rfprune.methods.akperl import learn
from rfprune.spec import AgentSpec

#: What a decision is worth, as one that a search asks for.
Ask = Callable[[IntArray], float]


class Enough(Exception):
    """So many networks were measured as are allowed."""


class Counted:
    """Counts the different networks that a search measures, and keeps the best.

    Args:
        task: the game.
        most: networks that may be measured.
        known: what networks are worth, by what is kept of them; more are added.
        kept: what decisions keep; more are added.
    """

    def __init__(
        self,
        task: KernelTask,
        most: int,
        known: dict[bytes, float],
        kept: dict[bytes, BoolArray] | None = None,
    ) -> None:
        self.task, self.most, self.known = task, most, known
        self.kept = {} if kept is None else kept
        self.measured: dict[bytes, float] = {}

    def __call__(self, choice: IntArray) -> float:
        """Return what the network of a decision is worth; raise `Enough` after the last one."""
        decision = choice.tobytes()
        if decision not in self.kept:
            self.kept[decision] = self.task.keep(choice)
        keep = self.kept[decision]
        key = keep.tobytes()
        if key not in self.measured:
            if len(self.measured) >= self.most:
                raise Enough
            if key not in self.known:
                self.known[key] = self.task.worth(keep)
            self.measured[key] = self.known[key]
        return self.measured[key]

    @property
    def best(self) -> tuple[float, bytes]:
        """What the best network is worth, and what is kept of it."""
        key = max(self.measured, key=self.measured.__getitem__)
        return self.measured[key], key


def random_search(ask: Ask, task: KernelTask, seed: int) -> None:
    """Ask for one random network after the other."""
    rng = np.random.default_rng(seed)
    for _ in range(5_000):
        ask(random_levels(task.allowed, rng))


def regularized_evolution(
    ask: Ask, task: KernelTask, seed: int, population: int = 16, sample: int = 5
) -> None:
    """Change one layer of the best of a few; the oldest dies (Real et al., arXiv 1802.01548)."""
    rng = np.random.default_rng(seed)
    living: list[tuple[float, IntArray]] = []
    for turn in range(5_000):
        if turn < population:
            child = random_levels(task.allowed, rng)
        else:
            picked = [living[i] for i in rng.choice(len(living), sample, replace=False)]
            child = max(picked, key=lambda pair: pair[0])[1].copy()
            layer = int(rng.integers(len(child)))
            others = np.flatnonzero(
                task.allowed[layer] & (np.arange(len(task.levels)) != child[layer])
            )
            child[layer] = rng.choice(others)
        living.append((ask(child), child))
        if len(living) > population:
            living.pop(0)


class _Asked:
    """The game as the agent plays it, its finished networks measured through `ask`."""

    def __init__(self, task: KernelTask, ask: Ask) -> None:
        self._task, self._ask = task, ask
        self.layers, self.levels, self.allowed = task.layers, task.levels, task.allowed
        self.conditions = 1

    def features(self, condition: int) -> np.ndarray:
        return self._task.features(0)

    def layer_features(self) -> np.ndarray:
        return self._task.layer_features()

    def network(self, choice: IntArray, condition: int) -> tuple[int, ...]:
        return self._task.network(choice, 0)

    def measure(self, choice: IntArray, upto: int, condition: int) -> AgentMeasurement:
        if upto == 0:
            return AgentMeasurement(0.0, 1.0)
        return AgentMeasurement(self._ask(choice), 0.5)


def agent(
    ask: Ask, task: KernelTask, seed: int, shown: tuple[IntArray, ...] = (), most: int = 60
) -> None:
    """Let the deep Q-network decide; networks between the layers of an episode cost nothing."""
    # More episodes than measurements, since the first, random ones come to networks once again.
    spec = AgentSpec(episodes=2 * most, measure_every=len(task.layers))
    learn(_Asked(task, ask), spec, seed, demonstrations=shown)


def run(search: Callable[..., None], counted: Counted, seed: int, **more: object) -> None:
    """Run a search until it has measured what it may."""
    with suppress(Enough):
        search(counted, counted.task, seed, **more)
