import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rfprune.core.value_files import write_values
from rfprune.errors import DataError, NetworkError, RunsError
from rfprune.methods.akperl import Policy, learn, read_episodes
from rfprune.methods.akperl.dqn import DQN
from rfprune.methods.akperl.episode import Environment, Episode
from rfprune.spec import AgentSpec, RewardSpec
from tests.methods.akperl.tasks import Toy, enumerate_best, environment_of, replay

HERE = Path(__file__).parent
WEIGHTED = RewardSpec(beta=1.0, gamma=0.1, lam=0.05)
SHORT = AgentSpec(episodes=24, warmup_episodes=4, checkpoint_every=8, hidden=[16], reward=WEIGHTED)


def gap(task: Toy, spec: AgentSpec, policy: Policy) -> float:
    """Return by how much the policy misses the best reward, relative to it; inf off the target."""
    environment = environment_of(task, spec)
    best = enumerate_best(environment).rank
    found = replay(environment, policy.choose(task.features(0))).rank
    return (best[1] - found[1]) / abs(best[1]) if found[0] == best[0] else float("inf")


@pytest.mark.long
@pytest.mark.slow
def test_the_agent_finds_the_best_policy() -> None:
    spec = AgentSpec(episodes=300, reward=WEIGHTED)
    gaps = [gap(Toy(seed), spec, learn(Toy(seed), spec, seed)) for seed in range(10)]
    assert sum(found <= 0.02 for found in gaps) >= 9, gaps


def test_a_smaller_task_is_solved_quickly() -> None:
    spec = AgentSpec(episodes=120, hidden=[32, 32], reward=WEIGHTED)
    task = Toy(3, n_layers=3)
    assert gap(task, spec, learn(task, spec, 0)) <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [{"accuracy": ">= 0.7"}, {"power": "<= 0.6"}, {"accuracy": ">= 0.6", "power": "<= 0.7"}],
)
def test_a_target_is_met_by_weights_that_are_found(target) -> None:
    spec = AgentSpec(episodes=400, reward=RewardSpec(target=target))
    for seed in range(2):
        task = Toy(seed, n_layers=4)
        policy = learn(task, spec, seed)
        assert policy.meets_target
        assert set(policy.found) == {"alpha" if name == "accuracy" else "beta" for name in target}
        assert gap(task, spec, policy) <= 0.02


def test_a_target_out_of_reach_is_said() -> None:
    spec = SHORT.model_copy(update={"reward": RewardSpec(target={"power": "<= 0.1"})})
    assert learn(Toy(), spec, 0).meets_target is False


@pytest.mark.slow
def test_the_policy_follows_the_input() -> None:
    """The harder the input, the less is pruned, as the best policies do."""
    task = Toy(1, n_layers=3, conditions=3)
    spec = AgentSpec(episodes=400, reward=RewardSpec(beta=1.0))
    policy = learn(task, spec, 0)
    environment = environment_of(task, spec)
    pruned = []
    for condition in range(3):
        choice = policy.choose(task.features(condition))
        best, found = enumerate_best(environment, condition), replay(environment, choice, condition)
        assert best.total - found.total <= 0.03 * abs(best.total)
        pruned.append(float(policy.levels(task.features(condition)).sum()))
    assert pruned[0] > pruned[2]


def test_only_allowed_levels_are_ever_measured() -> None:
    task = Toy(2)
    task.allowed[:, 1] = False
    task.allowed[2] = [False, False, True, False, False]
    policy = learn(task, SHORT, 0)  # Toy.measure asserts it for every measurement
    choice = policy.choose(task.features(0))
    assert task.allowed[np.arange(5), choice].all()
    assert choice[2] == 2


def _episode_of(agent: DQN, episode: Episode, rng: np.random.Generator) -> None:
    after = episode.state()
    while not episode.ended:
        before, layer = after, episode.index
        level = agent.act(before, rng)
        terms = episode.decide(level)
        after = episode.state()
        agent.observe(before, level, terms, layer, after, episode.ended)


def _agent(task: Toy, spec: AgentSpec = SHORT) -> tuple[DQN, Environment]:
    environment = environment_of(task, spec)
    n_layers = len(task.layers)
    return DQN(environment.state.size, 5, n_layers, 1, spec, seed=0), environment


def test_the_target_of_learning_ignores_what_is_not_allowed() -> None:
    """Levels that may not be chosen have no value, in both networks."""
    task = Toy()
    agent, environment = _agent(task)
    state = Episode(environment, 0).state()
    for network in (agent.network, agent.target):
        values = network(torch.from_numpy(state)[None])[0]
        assert torch.isfinite(values).tolist() == task.allowed[0].tolist()
    assert agent.exploration_rate == 1.0
    rng = np.random.default_rng(0)
    assert {agent.act(state, rng) for _ in range(100)} == {0, 1, 2, 3}


def test_a_gradient_step_is_that_of_the_textbook() -> None:
    """One step of Adam on the Huber loss of the temporal difference, on a buffer of one row."""
    spec = SHORT.model_copy(update={"gradient_steps": 1, "batch_size": 1, "discount": 0.5})
    task = Toy(n_layers=1)
    task.allowed[0, 4] = True
    agent, environment = _agent(task, spec)
    state = Episode(environment, 0).state()
    agent.observe(state, 2, np.array([4.0]), 0, state, ended=False)
    weights = [parameter.detach().clone() for parameter in agent.network.parameters()]
    values = agent.network(torch.from_numpy(state)[None])[0].detach()
    difference = float(values[2] - (4.0 + 0.5 * values.max()))
    assert abs(difference) > 1
    agent.train(np.random.default_rng(0))
    assert agent.td_loss == pytest.approx(abs(difference) - 0.5, rel=1e-5)
    rate = spec.learning_rate * (1 - 0.9 / spec.episodes)
    bias, before = list(agent.network.parameters())[-1], weights[-1]
    # The first step of Adam is the rate times the sign of the gradient.
    moved = torch.zeros(5)
    moved[2] = rate * np.sign(-difference)
    assert torch.allclose(bias - before, moved, atol=1e-6)


@pytest.mark.parametrize("discount", [1.0, 0.5])
def test_a_decision_is_worth_the_best_that_ever_followed_it(discount: float) -> None:
    """Known returns beside those of the episodes, added up one by one."""
    spec = SHORT.model_copy(update={"discount": discount})
    agent, environment = _agent(Toy(n_layers=3), spec)
    rng = np.random.default_rng(0)
    episodes = [Episode(environment, 0) for _ in range(60)]
    for episode in episodes:
        _episode_of(agent, episode, rng)
    for weight in (None, 3.0):
        if weight is not None:
            agent.replay.standardise(np.array([weight]))
        rewards = agent.replay.arrays["reward"][:180].reshape(60, 3).astype(float)
        returns = [
            [row[layer:] @ discount ** np.arange(3 - layer) for layer in range(3)]
            for row in rewards
        ]
        best: dict[tuple[int, ...], float] = {}
        for episode, row in zip(episodes, returns, strict=True):
            for layer, value in enumerate(row):
                key = tuple(episode.choice[: layer + 1].tolist())
                best[key] = max(best.get(key, -np.inf), value)
        known = agent.replay.arrays["known"][:180].reshape(60, 3)
        for episode, row in zip(episodes, known, strict=True):
            keys = [tuple(episode.choice[: layer + 1].tolist()) for layer in range(3)]
            assert row == pytest.approx([best[key] for key in keys], abs=1e-4)


def test_a_target_is_no_lower_than_what_is_known() -> None:
    """One step of Adam moves the value of a decision toward the best return that followed it."""
    spec = SHORT.model_copy(update={"gradient_steps": 1, "batch_size": 1})
    agent, environment = _agent(Toy(n_layers=1), spec)
    state = Episode(environment, 0).state()
    agent.observe(state, 2, np.array([100.0]), 0, state, ended=True)
    value = float(agent.network(torch.from_numpy(state)[None])[0, 2].detach())
    # What the replay says the reward was is forgotten, what is known stays.
    agent.replay.arrays["reward"][0] = -100.0
    agent.train(np.random.default_rng(0))
    assert agent.td_loss == pytest.approx(100.0 - value - 0.5, rel=1e-5)


def test_the_buffer_holds_the_last_transitions() -> None:
    spec = SHORT.model_copy(update={"buffer_size": 7})
    agent, environment = _agent(Toy(n_layers=3), spec)
    rng = np.random.default_rng(0)
    for _ in range(4):
        _episode_of(agent, Episode(environment, 0), rng)
    assert len(agent.replay) == 7
    assert agent.replay.added == 12
    # Transitions 7 to 11 lie on 0 to 4, and 5 and 6 where they were.
    assert agent.replay.arrays["layer"].tolist() == [1, 2, 0, 1, 2, 2, 0]
    assert agent.replay.arrays["ended"].tolist() == [0, 1, 0, 0, 1, 1, 0]


def test_standardised_rewards_keep_the_order_of_policies() -> None:
    agent, environment = _agent(Toy(n_layers=3))
    rng = np.random.default_rng(0)
    totals = []
    for _ in range(20):
        episode = Episode(environment, 0)
        _episode_of(agent, episode, rng)
        totals.append(episode.total)
    agent.replay.standardise(np.ones(1))
    rewards = agent.replay.arrays["reward"][:60].reshape(20, 3)
    assert rewards.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-5)
    assert rewards.std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(rewards.sum(axis=1), totals)[0, 1] == pytest.approx(1, abs=1e-5)


def test_conditions_are_drawn_by_seed_and_episode_alone(tmp_path: Path) -> None:
    longer = SHORT.model_copy(update={"episodes": 30})
    drawn = []
    for name, spec in (("short", SHORT), ("long", longer)):
        learn(Toy(conditions=3), spec, 5, tmp_path / name)
        drawn.append([record.condition for record in read_episodes(tmp_path / name)])
    assert drawn[1][:24] == drawn[0]
    assert set(drawn[0]) == {0, 1, 2}


@pytest.mark.parametrize("warmup", [0, 1])
def test_it_can_learn_from_the_first_episode_on(warmup: int) -> None:
    spec = SHORT.model_copy(update={"episodes": 5, "warmup_episodes": warmup})
    seen = []
    learn(Toy(n_layers=2), spec, 0, on_episode=seen.append)
    losses = [record.td_loss for record in seen]
    assert losses[:warmup] == [None] * warmup
    assert np.isfinite(losses[warmup:]).all()


def test_the_shortlist_holds_the_best_decisions_best_first() -> None:
    task, spec = Toy(3, n_layers=3), SHORT.model_copy(update={"shortlist": 5})
    policy = learn(task, spec, 0)
    ranks = [replay(environment_of(task, spec), choice).rank for choice in policy.shortlist]
    assert len(ranks) == len(set(ranks)) == 5
    assert ranks == sorted(ranks, reverse=True)
    assert policy.shortlist[0].tolist() == policy.best_choice[0].tolist()


class _Killed(Exception):
    """Stands for a process that died."""


def _die_after(episode: int):
    def on_episode(record) -> None:
        if record.episode == episode:
            raise _Killed

    return on_episode


@pytest.mark.parametrize("reward", [WEIGHTED, RewardSpec(target={"accuracy": ">= 0.7"})])
def test_a_learning_that_was_killed_ends_the_same(tmp_path: Path, reward: RewardSpec) -> None:
    spec = SHORT.model_copy(update={"reward": reward})
    whole = learn(Toy(conditions=2), spec, 7, tmp_path / "whole")
    for episode in (3, 13, 19):
        with pytest.raises(_Killed):
            learn(Toy(conditions=2), spec, 7, tmp_path / "cut", _die_after(episode))
    resumed = learn(Toy(conditions=2), spec, 7, tmp_path / "cut")
    for (a, b), (c, d) in zip(whole.weights, resumed.weights, strict=True):
        assert (a == c).all()
        assert (b == d).all()
    assert (whole.best_choice == resumed.best_choice).all()
    assert dict(whole.found) == dict(resumed.found)
    # A measurement is never lost, so more of them are known before the episodes that are repeated.
    for first, second in zip(
        read_episodes(tmp_path / "whole"), read_episodes(tmp_path / "cut"), strict=True
    ):
        update = {"measurements": 0}
        assert first.model_copy(update=update) == second.model_copy(update=update)


def test_a_finished_learning_is_not_repeated(tmp_path: Path) -> None:
    first = learn(Toy(), SHORT, 0, tmp_path)
    task = Toy()
    second = learn(task, SHORT, 0, tmp_path)
    assert task.measured == []
    assert (first.choose(task.features(0)) == second.choose(task.features(0))).all()


def test_every_episode_is_recorded(tmp_path: Path) -> None:
    seen = []
    learn(Toy(), SHORT, 0, tmp_path, seen.append)
    records = read_episodes(tmp_path)
    assert records == seen
    assert [record.episode for record in records] == list(range(1, 25))
    assert all(record.td_loss is None for record in records[:4])
    assert all(record.td_loss is not None for record in records[4:])
    assert all(record.mean_max_q is not None for record in records[4:])
    rates = [record.exploration_rate for record in records]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.05)
    assert [r.episode for r in records if r.greedy] == [5, 10, 15, 20, 24]
    lines = (tmp_path / "measurements.jsonl").read_text().splitlines()
    assert records[-1].measurements == len(lines)


def test_global_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(3).tolist(), np.random.random(3).tolist()  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    learn(Toy(n_layers=2), SHORT.model_copy(update={"episodes": 6}), 0)
    assert (torch.rand(3).tolist(), np.random.random(3).tolist()) == expected  # noqa: NPY002


def test_a_corrupted_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    learn(Toy(), SHORT, 0, tmp_path)
    path = tmp_path / "agent.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunsError, match=r"agent.pt: is damaged"):
        learn(Toy(), SHORT, 0, tmp_path)
    flipped = bytearray(whole)
    # More than the padding between two parts of the archive.
    at = len(whole) // 2
    flipped[at : at + 128] = bytes(byte ^ 0xFF for byte in flipped[at : at + 128])
    path.write_bytes(bytes(flipped))
    with pytest.raises(RunsError, match=r"agent.pt: is damaged"):
        learn(Toy(), SHORT, 0, tmp_path)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    learn(Toy(), SHORT, 0, tmp_path)
    with pytest.raises(RunsError, match="holds an agent with other settings or of another task"):
        learn(Toy(), SHORT, 1, tmp_path)
    with pytest.raises(RunsError, match="holds an agent with other settings or of another task"):
        learn(Toy(seed=4), SHORT, 0, tmp_path)


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    (tmp_path / "agent.pt").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(RunsError, match="is damaged, or holds more than tensors"):
        learn(Toy(), SHORT, 0, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_policy_is_one_file_that_runs_without_learning(tmp_path: Path) -> None:
    task = Toy(conditions=2)
    policy = learn(task, SHORT, 0, tmp_path)
    expected = [policy.choose(task.features(condition)).tolist() for condition in range(2)]
    code = f"""
import sys
from pathlib import Path
import numpy as np
from rfprune.methods.akperl import Policy
policy = Policy.load(Path({str(tmp_path / "policy.pt")!r}))
print([policy.choose(np.array([float(c), 1.0])).tolist() for c in range(2)])
assert "rfprune.methods.akperl.dqn" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(expected)


def test_a_learned_policy_runs_on_numpy_alone(tmp_path: Path) -> None:
    """Only its file is one of torch; what it holds decides in a process that has none."""
    policy = learn(Toy(), SHORT, 0)
    values = tmp_path / "values.pickle"
    values.write_bytes(pickle.dumps(policy.as_values()))
    code = f"""
import sys
sys.modules["torch"] = None
import pickle
from pathlib import Path
import numpy as np
from rfprune.methods.akperl import Policy
policy = Policy.from_values(pickle.loads(Path({str(values)!r}).read_bytes()))
print(policy.choose(np.array([0.0, 1.0])).tolist())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(policy.choose(np.array([0.0, 1.0])).tolist())


def test_a_policy_of_an_earlier_version_still_decides() -> None:
    """Learned with Stable-Baselines3 by the version before; what it chose then is beside it."""
    policy = Policy.load(HERE / "policy_of_0_1.pt")
    expected = json.loads((HERE / "policy_of_0_1.json").read_text())
    task = Toy(conditions=3)
    assert [policy.choose(task.features(c)).tolist() for c in range(3)] == expected["choice"]
    assert policy.best_choice.tolist() == expected["best_choice"]


def test_an_agent_of_an_earlier_version_is_not_resumed(tmp_path: Path) -> None:
    write_values(tmp_path / "agent.pt", "rfprune.agent/1", {"fingerprint": "0"})
    with pytest.raises(RunsError, match=r"agent.pt: .* earlier version.* delete it to begin again"):
        learn(Toy(), SHORT, 0, tmp_path)


def test_at_run_time_the_levels_can_be_restricted() -> None:
    task = Toy()
    policy = learn(task, SHORT, 0)
    allowed = np.zeros((5, 5), dtype=bool)
    allowed[:, 2] = True
    assert policy.choose(task.features(0), allowed).tolist() == [2] * 5
    with pytest.raises(DataError, match="layer 'conv0': no level is allowed"):
        policy.choose(task.features(0), np.zeros((5, 5), dtype=bool))
    with pytest.raises(DataError, match=r"the policy was learned with \(2,\)"):
        policy.choose(np.zeros(3))


def test_a_task_without_layers_is_one_sentence() -> None:
    task = Toy()
    task.layers = []
    with pytest.raises(NetworkError, match="no layer that the agent could prune"):
        learn(task, SHORT, 0)
