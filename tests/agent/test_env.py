import warnings

import numpy as np
import pytest

from rfprune.spec import AgentSpec, RewardSpec
from tests.agent.tasks import Toy, game_of, replay

pytest.importorskip("gymnasium", reason="the extra 'edge' is not installed: no gymnasium")
pytest.importorskip("stable_baselines3", reason="the extra 'edge' is not installed: no SB3")

SPEC = AgentSpec(reward=RewardSpec(beta=1.0, gamma=0.1))


def _env(conditions: int = 3, n_layers: int = 4, spec: AgentSpec = SPEC):
    from rfprune.agent.env import PruningEnv

    return PruningEnv(game_of(Toy(n_layers=n_layers, conditions=conditions), spec), seed=5)


def test_it_is_a_gymnasium_environment() -> None:
    from gymnasium.utils.env_checker import check_env
    from stable_baselines3.common.env_checker import check_env as check_for_learning

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*spec.*")
        check_env(_env(), skip_render_check=True)
    check_for_learning(_env())


def test_an_episode_decides_every_layer_once() -> None:
    env = _env()
    env.reset(options={"condition": 2})
    rewards = []
    for level in (1, 0, 3, 2):
        state, reward, ended, truncated, info = env.step(np.int64(level))
        rewards.append(reward)
        assert not truncated
        assert info["layer"] == len(rewards) - 1
        assert ended == (len(rewards) == 4)
    expected = replay(env.game, np.array([1, 0, 3, 2]), 2)
    assert sum(rewards) == pytest.approx(expected.total)
    assert env.ended.choice.tolist() == [1, 0, 3, 2]
    assert env.observation_space.contains(state)


def test_the_state_holds_what_it_says() -> None:
    env = _env(conditions=3, n_layers=4)
    state, _ = env.reset(options={"condition": 0})
    dense = env.game.measured.dense(0)
    # accuracy, power; 2 statistics, the second of which never changes; 1 layer feature; position
    assert state[:4] == pytest.approx([dense.accuracy, 1.0, -np.sqrt(1.5), 0.0])
    assert state[5:9].tolist() == [1, 0, 0, 0]
    assert state[9:13].tolist() == [0, 0, 0, 0]
    assert state[13:].tolist() == [1, 1, 1, 1, 0]
    state, *_ = env.step(np.int64(2))
    assert state[5:9].tolist() == [0, 1, 0, 0]
    assert state[9:13].tolist() == [0.5, 0, 0, 0]
    assert state[13:].tolist() == [1, 1, 1, 1, 1]
    assert state[1] < 1


def test_what_is_not_observed_is_zero() -> None:
    blind = SPEC.model_copy(update={"observe_monitor": False, "observe_statistics": False})
    state, _ = _env(spec=blind).reset(options={"condition": 2})
    assert state[:4].tolist() == [0, 0, 0, 0]


def test_a_level_that_is_not_allowed_is_never_measured() -> None:
    env = _env()
    env.reset()
    _, _, _, _, info = env.step(np.int64(4))
    assert info["level"] == 3


def test_conditions_depend_on_seed_and_episode_alone() -> None:
    from rfprune.agent.env import PruningEnv

    env = _env()
    drawn = [env.reset()[1]["condition"] for _ in range(12)]
    assert set(drawn) == {0, 1, 2}
    later = PruningEnv(env.game, seed=5, episode=7)
    assert [later.reset()[1]["condition"] for _ in range(5)] == drawn[7:]


def test_fewer_measurements_keep_the_last_reading() -> None:
    spec = SPEC.model_copy(update={"measure_every": 3})
    env = _env(conditions=1, spec=spec)
    env.reset()
    for level in (1, 2, 3, 1):
        env.step(np.int64(level))
    assert env.game.measured.task.measured == [(0,), (0, 1, 2, 3), (0, 1, 2, 3, 1)]
    readings = env.ended.readings
    assert readings[0] == readings[1] == readings[2] != readings[3]
