import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rfprune.agent import Policy, learn, read_episodes
from rfprune.errors import DataError, MissingExtraError, NetworkError, RunsError
from rfprune.spec import AgentSpec, RewardSpec
from tests.agent.tasks import Toy, enumerate_best, game_of, replay

pytest.importorskip("stable_baselines3", reason="the extra 'edge' is not installed: no SB3")

WEIGHTED = RewardSpec(beta=1.0, gamma=0.1, lam=0.05)
SHORT = AgentSpec(episodes=24, warmup_episodes=4, checkpoint_every=8, hidden=[16], reward=WEIGHTED)


def gap(task: Toy, spec: AgentSpec, policy: Policy) -> float:
    """Return by how much the policy misses the best reward, relative to it; inf off the target."""
    game = game_of(task, spec)
    best = enumerate_best(game).rank
    found = replay(game, policy.choose(task.features(0))).rank
    return (best[1] - found[1]) / abs(best[1]) if found[0] == best[0] else float("inf")


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
    game = game_of(task, spec)
    pruned = []
    for condition in range(3):
        choice = policy.choose(task.features(condition))
        best, found = enumerate_best(game, condition), replay(game, choice, condition)
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


def test_the_target_of_learning_ignores_what_is_not_allowed() -> None:
    """Levels that may not be chosen have no value, in both networks."""
    import torch

    from rfprune.agent.dqn import make_dqn
    from rfprune.agent.env import PruningEnv

    task = Toy()
    env = PruningEnv(game_of(task, SHORT))
    agent = make_dqn(env, SHORT, 1, 0)
    state = torch.from_numpy(env.reset()[0])[None]
    for network in (agent.q_net, agent.q_net_target):
        values = network(state)[0]
        assert torch.isfinite(values).tolist() == task.allowed[0].tolist()
    agent.exploration_rate = 1.0
    drawn = {int(agent.predict(state.numpy())[0][0]) for _ in range(100)}
    assert drawn == {0, 1, 2, 3}


def test_standardised_rewards_keep_the_order_of_policies() -> None:
    from rfprune.agent.dqn import make_dqn
    from rfprune.agent.env import PruningEnv

    game = game_of(Toy(n_layers=3), SHORT)
    env = PruningEnv(game)
    buffer = make_dqn(env, SHORT, 1, 0).replay_buffer
    rng = np.random.default_rng(0)
    totals = []
    for _ in range(20):
        state, _ = env.reset()
        ended = False
        while not ended:
            action = rng.integers(4)
            after, reward, ended, _, info = env.step(action)
            buffer.add(state, after, np.array([action]), reward, np.array([ended]), [info])
            state = after
        totals.append(env.ended.total)
    buffer.standardise(np.ones(1))
    rewards = buffer.rewards[:60, 0].reshape(20, 3)
    assert rewards.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-5)
    assert rewards.std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(rewards.sum(axis=1), totals)[0, 1] == pytest.approx(1, abs=1e-5)


def test_the_shortlist_holds_the_best_decisions_best_first() -> None:
    task, spec = Toy(3, n_layers=3), SHORT.model_copy(update={"shortlist": 5})
    policy = learn(task, spec, 0)
    ranks = [replay(game_of(task, spec), choice).rank for choice in policy.shortlist]
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
    import torch

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
    with pytest.raises(RunsError, match=r"agent.pt: is damaged, or holds more than tensors"):
        learn(Toy(), SHORT, 0, tmp_path)
    flipped = bytearray(whole)
    at = len(whole) // 2
    flipped[at] ^= 0xFF
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
    import pickle

    class Malicious:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    (tmp_path / "agent.pt").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(RunsError, match="is damaged, or holds more than tensors"):
        learn(Toy(), SHORT, 0, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_policy_is_one_file_that_needs_no_agent_library(tmp_path: Path) -> None:
    task = Toy(conditions=2)
    policy = learn(task, SHORT, 0, tmp_path)
    expected = [policy.choose(task.features(condition)).tolist() for condition in range(2)]
    code = f"""
import sys
sys.modules["stable_baselines3"] = sys.modules["gymnasium"] = None
from pathlib import Path
import numpy as np
from rfprune.agent import Policy
policy = Policy.load(Path({str(tmp_path / "policy.pt")!r}))
print([policy.choose(np.array([float(c), 1.0])).tolist() for c in range(2)])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(expected)


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


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rfprune.agent.learner", "rfprune.agent.dqn", "rfprune.agent.checkpoint"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rfprune\[edge\]'"):
        learn(Toy(), SHORT, 0)
