"""What to try next: of many finished networks the one of the largest Q-value, never one again.

A measurement costs more than many Q-values. So once there is something to go by, an episode is not
decided level by level: the best sequences by Q-value (beam search), changes of one or two layers of
the best networks so far, and a few random ones are compared by the Q-value of their last decision,
before any of them is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.methods.agent_task import AgentMeasurement, random_levels
from rfprune.methods.akperl.episode import Environment, Episode, Measure

__all__ = ["BEST", "only_known", "planned"]

#: Sequences that the beam search goes on with.
_BEAM = 16
#: Best networks that are changed, changes of each, and networks that are drawn.
BEST, _CHANGES, _DRAWN = 3, 16, 8

#: Q-values (N, A) of states (N, D).
Values = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def planned(
    values: Values,
    spread: float,
    begun: Episode,
    environment: Environment,
    best: Sequence[IntArray],
    tried: Collection[tuple[int, ...]],
    rng: np.random.Generator,
) -> IntArray | None:
    """Return the decisions (L,) to try next; None if all that were thought of have been tried.

    Args:
        values: the Q-network.
        spread: of the rewards, in which Q-values are measured.
        begun: an episode without a decision that measures nothing new.
        environment: what is played in.
        best: (L,) decisions that were the best so far, the best first.
        tried: names of the networks that were measured under the episode's condition.
        rng: for changes and random networks.
    """
    allowed = environment.state.allowed
    choices = [_changed(choice, allowed, rng) for choice in best[:BEST] for _ in range(_CHANGES)]
    choices += [random_levels(allowed, rng) for _ in range(_DRAWN)]
    choices += _beam(values, spread, begun)
    choices = list({choice.tobytes(): choice for choice in choices}.values())
    task = environment.measured.task
    # Naming a network costs more than its value: most are not asked for their names.
    order = np.argsort(-_worth(values, spread, begun, choices), kind="stable")
    ranked = (choices[index] for index in order)
    return next((c for c in ranked if task.network(c, begun.condition) not in tried), None)


def _changed(choice: IntArray, allowed: NDArray[np.bool_], rng: np.random.Generator) -> IntArray:
    """Return decisions that differ in one or two layers, where those have a choice."""
    changed = choice.copy()
    count = min(int(rng.integers(1, 3)), len(choice))
    for layer in rng.choice(len(choice), count, replace=False):
        changed[layer] = rng.choice(np.flatnonzero(allowed[layer]))
    return changed


def _after(values: Values, spread: float, episodes: Sequence[Episode]) -> FloatArray:
    """Return (N, A) what whole episodes come to with each next level, in units of the spread."""
    earned = np.array([episode.total for episode in episodes]) / spread
    return np.asarray(earned[:, None] + values(np.stack([e.state() for e in episodes])))


def _beam(values: Values, spread: float, begun: Episode) -> list[IntArray]:
    """Return the decisions of the largest Q-values, as far as a beam search finds them."""
    beam = [begun]
    while not beam[0].ended:
        worth = _after(values, spread, beam)
        order = np.argsort(-worth, axis=None, kind="stable")[:_BEAM]
        rows, levels = np.unravel_index(order, worth.shape)
        longer = []
        for row, level in zip(rows, levels, strict=True):
            if np.isfinite(worth[row, level]):
                longer.append(beam[row].copy())
                longer[-1].decide(int(level))
        beam = longer
    return [episode.choice for episode in beam]


def _worth(
    values: Values, spread: float, begun: Episode, choices: Sequence[IntArray]
) -> FloatArray:
    """Return (N,) what episodes with these decisions come to by their last Q-value."""
    episodes = []
    for choice in choices:
        episodes.append(begun.copy())
        for level in choice[:-1]:
            episodes[-1].decide(int(level))
    last = [int(choice[-1]) for choice in choices]
    return np.asarray(_after(values, spread, episodes)[np.arange(len(last)), last])


def only_known(environment: Environment, prefixes: Collection[tuple[int, ...]]) -> Measure:
    """Return what measures nothing new: it tells of sequences that were played, None of others."""

    def measure(choice: IntArray, upto: int, condition: int) -> AgentMeasurement | None:
        if (condition, *map(int, choice[:upto])) not in prefixes:
            return None
        return environment.measured(choice, upto, condition)

    return measure
