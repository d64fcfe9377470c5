"""What is tried next: compared with Q-values that are known exactly, and never tried again."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.methods.agent_task import AgentMeasurement
from rfprune.methods.akperl import MeasuredTask
from rfprune.methods.akperl.episode import Environment, Episode
from rfprune.methods.akperl.learner import Learner
from rfprune.methods.akperl.planning import only_known, planned
from rfprune.spec import AgentSpec
from tests.methods.akperl.tasks import Toy, enumerate_best, environment_of

SPEC = AgentSpec(episodes=40, warmup_episodes=10, measure_every=3, hidden=[16], shortlist=3)


class Exact:
    """The true value of every decision, found by trying all that may follow it."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def __call__(self, states: FloatArray) -> FloatArray:
        return np.stack([self._of(state) for state in states])

    def _of(self, state: FloatArray) -> FloatArray:
        encoder = self._environment.state
        n_layers, n_levels = encoder.allowed.shape
        decisions = state[-n_levels - n_layers : -n_levels]
        index = int(state[-n_levels - 2 * n_layers : -n_levels - n_layers].argmax())
        before = [encoder.levels.tolist().index(fraction) for fraction in decisions[:index]]
        values = np.full(n_levels, -np.inf, dtype=np.float32)
        for rest in itertools.product(*map(np.flatnonzero, encoder.allowed[index:])):
            episode = Episode(self._environment, 0)
            for level in (*before, *rest):
                episode.decide(int(level))
            values[rest[0]] = max(values[rest[0]], episode.total)
        return values


def orders(environment: Environment, most: int, best: list[IntArray]) -> Iterator[IntArray]:
    tried: set[tuple[int, ...]] = set()
    task = environment.measured.task
    begun = Episode(environment, 0, only_known(environment, set()))
    for turn in range(most):
        rng = np.random.default_rng(turn)
        choice = planned(Exact(environment), 1.0, begun, environment, best, tried, rng)
        if choice is None:
            return
        tried.add(task.network(choice, 0))
        yield choice


def test_with_exact_values_the_best_network_is_the_first() -> None:
    environment = environment_of(Toy(1, n_layers=3), SPEC)
    expected = enumerate_best(environment).choice.tolist()
    (first,) = orders(environment, 1, [])
    assert first.tolist() == expected


class Aliased(Toy):
    """Neighbouring levels come to one network."""

    def network(self, choice: IntArray, condition: int) -> tuple[int, ...]:
        return tuple((choice // 2).tolist())


def test_every_network_is_tried_once_until_none_is_left() -> None:
    environment = environment_of(Aliased(1, n_layers=2), SPEC)
    found = [tuple((choice // 2).tolist()) for choice in orders(environment, 50, [])]
    assert len(found) == len(set(found))
    # Two names of the levels 0 to 3, which the first and the last layer are allowed.
    assert set(found) == set(itertools.product(range(2), range(2)))


def test_planning_measures_nothing_and_sees_what_was_played() -> None:
    task = Toy(n_layers=3)
    environment = environment_of(task, SPEC.model_copy(update={"measure_every": 1}))
    played = Episode(environment, 0)
    for level in (1, 2, 3):
        played.decide(level)
    task.measured.clear()
    prefixes = {(0, 1), (0, 1, 2), (0, 1, 2, 3)}
    again = Episode(environment, 0, only_known(environment, prefixes))
    for level in (1, 2, 0):
        again.decide(level)
    assert again.readings == [*played.readings[:3], played.readings[2]]
    assert task.measured == []


@pytest.mark.parametrize("measure_every", [1, 4])
def test_after_the_warm_up_no_network_is_measured_twice(measure_every: int) -> None:
    explore = {"start": 0.0, "end": 0.0}
    update = {"measure_every": measure_every, "evaluate_every": 40, "episodes": 22}
    spec = AgentSpec.model_validate(SPEC.model_dump() | update | {"exploration": explore})
    seen: list[list[float]] = []
    learner = Learner(
        MeasuredTask(Aliased(2, n_layers=4)),
        spec,
        0,
        None,
        lambda record: seen.append(record.levels),
    )
    learner.run()
    levels = [tuple(4 * np.array(row) // 2) for row in seen]
    warm, later = levels[: spec.warmup_episodes], levels[spec.warmup_episodes :][:12]
    assert len(set(later)) == 12
    assert not set(later) & set(warm)


def test_power_in_a_reading_is_a_share() -> None:
    environment = environment_of(Toy(n_layers=2), SPEC)
    episode = Episode(environment, 0, lambda *_: AgentMeasurement(0.5, 1e9))
    episode.decide(1)
    episode.decide(1)
    assert episode.readings[-1].power == pytest.approx(1e9 / environment.measured.dense(0).power)
