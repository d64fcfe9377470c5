import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import SpecError
from rfprune.methods.agent_task import AgentMeasurement
from rfprune.spec import AgentSpec, RewardSpec
from rfprune.spec.yaml_files import parse_spec
from tests.methods.akperl.tasks import Toy, enumerate_best, environment_of, every_episode, replay

LEVELS = st.lists(st.integers(0, 3), min_size=3, max_size=3)
NUMBER = st.floats(0, 3)


@given(LEVELS, st.lists(NUMBER, min_size=3, max_size=3), NUMBER, NUMBER, NUMBER)
def test_the_reward_is_the_formula(choice, alpha, beta, gamma, lam) -> None:
    spec = RewardSpec(alpha=alpha, beta=beta, gamma=gamma, lam=lam)
    task = Toy(n_layers=3)
    levels = np.asarray(task.levels)[choice]
    dense = task.measure(np.zeros(3, dtype=np.int64), 0, 0)
    expected = -lam * levels.sum()
    for layer in range(3):
        prefix = np.array([*choice[: layer + 1], *[0] * (2 - layer)])
        found = task.measure(prefix, layer + 1, 0)
        expected += alpha[layer] * found.accuracy - beta * found.power / dense.power
        expected -= gamma * levels[layer]
    episode = replay(environment_of(task, AgentSpec(reward=spec)), np.array(choice))
    assert episode.total == pytest.approx(expected, abs=1e-12)


@given(LEVELS)
def test_a_target_earns_the_growth_of_its_potential(choice) -> None:
    target = {"accuracy": ">= 0.8", "power": "<= 0.5"}
    environment = environment_of(Toy(n_layers=3), AgentSpec(reward=RewardSpec(target=target)))
    environment.reward.weights = np.array([1.0, 3.0, 7.0])
    episode = replay(environment, np.array(choice))

    def potential(outcome: AgentMeasurement) -> float:
        short, over = max(0.8 - outcome.accuracy, 0), max(outcome.power - 0.5, 0)
        return outcome.accuracy - 3 * short - 7 * over

    grown = potential(episode.readings[-1]) - potential(episode.readings[0])
    assert episode.total == pytest.approx(grown, abs=1e-12)


@pytest.mark.parametrize(
    "target",
    [{"accuracy": ">= 0.7"}, {"power": "<= 0.6"}, {"accuracy": ">= 0.6", "power": "<= 0.7"}],
)
def test_the_best_rank_is_the_best_within_the_bounds(target) -> None:
    environment = environment_of(Toy(n_layers=4), AgentSpec(reward=RewardSpec(target=target)))
    least = float(target.get("accuracy", ">= 0").split()[1])
    most = float(target.get("power", "<= 9").split()[1])
    finals = [episode.readings[-1] for episode in every_episode(environment)]
    within = [f for f in finals if f.accuracy >= least and f.power <= most]
    best = enumerate_best(environment).readings[-1]
    if "power" in target:
        assert best.accuracy == max(f.accuracy for f in within)
    else:
        assert best.power == min(f.power for f in within)
    # Large weights make the penalty exact: the most rewarded policy is the best within the bounds.
    environment.reward.weights = np.array([1.0, 100.0, 100.0])
    most_rewarded = max(every_episode(environment), key=lambda episode: episode.total)
    assert most_rewarded.readings[-1] == best


def test_weights_follow_the_bounds() -> None:
    spec = RewardSpec(target={"accuracy": ">= 0.7", "power": "<= 0.5"})
    reward = environment_of(Toy(), AgentSpec(reward=spec)).reward
    assert reward.adapt([AgentMeasurement(0.6, 0.4), AgentMeasurement(0.8, 0.4)])
    assert reward.found() == {"alpha": 1.25, "beta": 1.0}
    assert reward.adapt([AgentMeasurement(0.8, 0.6)])
    assert reward.found() == pytest.approx({"alpha": 1.1875, "beta": 1.25})
    for _ in range(100):
        reward.adapt([AgentMeasurement(0.8, 0.6)])
    assert reward.found() == {"alpha": 1.0, "beta": 100.0}
    assert not reward.adapt([AgentMeasurement(0.8, 0.6)])


def test_without_a_reward_the_final_accuracy_counts() -> None:
    environment = environment_of(Toy(n_layers=3), AgentSpec())
    episode = replay(environment, np.array([1, 2, 3]))
    first, last = episode.readings[0], episode.readings[-1]
    assert episode.total == pytest.approx(last.accuracy - first.accuracy)
    assert environment.reward.found() == {}


def test_coefficients_of_a_wrong_length_are_one_sentence() -> None:
    with pytest.raises(
        SpecError,
        match=r"reward.beta: has 2 values for 5 layers \(conv0, .*\). Allowed: one number, or one",
    ):
        environment_of(Toy(), AgentSpec(reward=RewardSpec(beta=[1.0, 2.0])))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": -1.0}, "alpha"),
        ({"lambda": 1.0}, "unknown key 'lambda'"),
        ({"target": {}}, "needs a bound"),
        ({"target": {"accuracy": "<= 0.5"}}, "'<= 0.5' is not a bound. Allowed: '>= NUMBER'"),
        ({"target": {"accuracy": ">= 50"}}, "out of range"),
        ({"target": {"power": "<= 0.5"}, "beta": 2.0}, "leave out 'beta'"),
    ],
)
def test_faults_of_a_reward_are_sentences(values, message) -> None:
    with pytest.raises(SpecError, match=f"f.yml: .*{message}"):
        parse_spec(RewardSpec, values, "f.yml")
