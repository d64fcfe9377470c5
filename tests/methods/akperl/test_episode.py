import numpy as np
import pytest

from rfprune.methods.akperl.episode import Episode, run_episode
from rfprune.spec import AgentSpec, RewardSpec
from tests.methods.akperl.tasks import Toy, environment_of

SPEC = AgentSpec(reward=RewardSpec(beta=1.0, gamma=0.1))


def _episode(
    condition: int = 0, conditions: int = 3, n_layers: int = 4, spec: AgentSpec = SPEC
) -> tuple[Episode, Toy]:
    task = Toy(n_layers=n_layers, conditions=conditions)
    return Episode(environment_of(task, spec), condition), task


def test_an_episode_decides_every_layer_once() -> None:
    episode, task = _episode(condition=2)
    dense = task.measure(np.zeros(4, dtype=np.int64), 0, 2)
    rewards = []
    for index, level in enumerate((1, 0, 3, 2)):
        assert not episode.ended
        assert episode.index == index
        rewards.append(float(episode.decide(level) @ np.ones(1)))
        found = task.measure(np.array([*(1, 0, 3, 2)[: index + 1], *[0] * (3 - index)]), 4, 2)
        expected = found.accuracy - found.power / dense.power - 0.1 * task.levels[level]
        assert rewards[-1] == pytest.approx(expected)
    assert episode.ended
    assert episode.total == pytest.approx(sum(rewards))
    assert episode.choice.tolist() == [1, 0, 3, 2]


def test_the_state_holds_what_it_says() -> None:
    episode, task = _episode()
    dense = task.measure(np.zeros(4, dtype=np.int64), 0, 0)
    state = episode.state()
    # accuracy, power; 2 statistics, the second of which never changes; 1 layer feature; position
    assert state[:4] == pytest.approx([dense.accuracy, 1.0, -np.sqrt(1.5), 0.0])
    assert state[5:9].tolist() == [1, 0, 0, 0]
    assert state[9:13].tolist() == [0, 0, 0, 0]
    assert state[13:].tolist() == [1, 1, 1, 1, 0]
    episode.decide(2)
    state = episode.state()
    assert state[5:9].tolist() == [0, 1, 0, 0]
    assert state[9:13].tolist() == [0.5, 0, 0, 0]
    assert state[13:].tolist() == [1, 1, 1, 1, 1]
    assert state[1] < 1


def test_after_the_last_layer_the_state_has_no_position_and_every_level() -> None:
    episode, _ = _episode()
    for level in (1, 0, 3, 2):
        episode.decide(level)
    assert episode.state()[5:9].tolist() == [0, 0, 0, 0]
    assert episode.state()[13:].tolist() == [1, 1, 1, 1, 1]


def test_what_is_not_observed_is_zero() -> None:
    blind = SPEC.model_copy(update={"observe_monitor": False, "observe_statistics": False})
    episode, _ = _episode(condition=2, spec=blind)
    assert episode.state()[:4].tolist() == [0, 0, 0, 0]


def test_a_level_that_is_not_allowed_is_never_measured() -> None:
    episode, task = _episode()
    before = len(task.measured)
    with pytest.raises(AssertionError, match="the level is not allowed"):
        episode.decide(4)
    assert len(task.measured) == before


def test_fewer_measurements_keep_the_last_reading() -> None:
    spec = SPEC.model_copy(update={"measure_every": 3})
    task = Toy(n_layers=4)
    levels = iter((1, 2, 3, 1))
    episode = run_episode(environment_of(task, spec), 0, lambda state: next(levels))
    assert task.measured == [(0,), (0, 1, 2, 3), (0, 1, 2, 3, 1)]
    readings = episode.readings
    assert readings[0] == readings[1] == readings[2] != readings[3]
