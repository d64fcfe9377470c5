"""Drives Stable-Baselines3 episode by episode, and keeps the best greedy policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from rfprune.agent.checkpoint import fingerprint, load_checkpoint, restore_agent, save_checkpoint
from rfprune.agent.dqn import Experience, MaskedDQN, make_dqn
from rfprune.agent.env import PruningEnv
from rfprune.agent.episode import Episode, Game, play
from rfprune.agent.learn import OnEpisode
from rfprune.agent.measured import Measured
from rfprune.agent.policy import Policy, Weights
from rfprune.agent.record import EpisodeRecord, GreedyRecord, read_episodes, write_episodes
from rfprune.agent.reward import make_reward
from rfprune.agent.state import state_of
from rfprune.runs.files import append_line
from rfprune.spec.agent import AgentSpec

__all__ = ["Learner"]

#: States over which the mean of the largest Q-value is taken.
_PROBE_STATES = 256


Rank = tuple[float, float]
#: Decisions with their rank.
Ranked = tuple[Rank, list[int]]


@dataclass(frozen=True)
class Best:
    """The best greedy policy so far: its rank, and the weights of its Q-network."""

    rank: Rank
    weights: Weights


class Learner:
    """One learning, from its last checkpoint to its end."""

    def __init__(
        self,
        measured: Measured,
        spec: AgentSpec,
        seed: int,
        folder: Path | None,
        on_episode: OnEpisode | None,
    ) -> None:
        task = measured.task
        reward = make_reward(spec.reward, tuple(task.layers))
        self.spec, self.seed, self.folder = spec, seed, folder
        self.game = Game(state_of(task, spec), measured, reward, spec.measure_every)
        self.env = PruningEnv(self.game, seed)
        self.agent = make_dqn(self.env, spec, len(reward.weights), seed)
        self.episodes = 0
        self.best: Best | None = None
        self.choices: dict[int, list[Ranked]] = {}
        self.probe: NDArray[np.float32] | None = None
        self._key = fingerprint(task, spec, seed)
        self._on_episode = on_episode or (lambda record: None)

    def run(self) -> Policy:
        """Learn to the end and return the best greedy policy."""
        self._resume()
        left = self.spec.episodes - self.episodes
        if left > 0:
            self.env.episode = self.episodes
            done = self.episodes / self.spec.episodes
            self.agent.exploration_rate = self.agent.exploration_schedule(1 - done)
            self.agent.learn(
                left * len(self.game.state.layers),
                callback=_AfterEachEpisode(self),
                reset_num_timesteps=False,
            )
        assert self.best is not None, "the last episode tries the greedy policy"
        return self._policy(self.best.weights)

    def begin_episode(self) -> None:
        """Seed all random numbers of the next episode."""
        fresh = np.random.default_rng([self.seed, self.episodes, 1])
        self.agent.rng.bit_generator.state = fresh.bit_generator.state
        warm = self.episodes >= self.spec.warmup_episodes
        if warm and not self.agent.warm:
            self._replay.standardise(self.game.reward.weights)
        self.agent.warm = warm

    def end_episode(self) -> None:
        """Record an episode that was played and learned from; try the policy if it is time."""
        self.episodes += 1
        self._compare(self.env.ended)
        if self.probe is None and self.episodes >= self.spec.warmup_episodes:
            self.probe = self._replay.observations[: self._replay.size(), 0][:_PROBE_STATES].copy()
        last = self.episodes == self.spec.episodes
        greedy = None
        if last or self.episodes % self.spec.evaluate_every == 0:
            greedy = self._try_greedy()
        record = self._record(greedy)
        if self.folder is not None:
            append_line(self.folder / "episodes.jsonl", record.model_dump(mode="json"))
            if last or self.episodes % self.spec.checkpoint_every == 0:
                self._save(self.folder)
        self._on_episode(record)

    @property
    def _replay(self) -> Experience:
        buffer = self.agent.replay_buffer
        assert isinstance(buffer, Experience)
        return buffer

    def _try_greedy(self) -> GreedyRecord:
        """Play greedily under every condition; keep the policy if it is the best so far."""
        weights = _weights(self.agent)
        played = self._play(self._policy_of(weights))
        for episode in played:
            self._compare(episode)
        rank = _mean([episode.rank for episode in played])
        best = self.best is None or rank > self.best.rank
        if best:
            self.best = Best(rank, weights)
        finals = [episode.readings[-1] for episode in played]
        record = GreedyRecord(
            reward=float(np.mean([episode.total for episode in played])),
            accuracy=float(np.mean([final.accuracy for final in finals])),
            power=float(np.mean([final.power for final in finals])),
            best=best,
        )
        if self.agent.warm and self.game.reward.adapt(finals):
            self._replay.standardise(self.game.reward.weights)
        return record

    def _compare(self, episode: Episode | None) -> None:
        """Keep the decisions of the best episodes under each condition, best first.

        Decisions of equal rank come to the same network, of which the first one counts.
        """
        assert episode is not None
        known = self.choices.setdefault(episode.condition, [])
        if all(episode.rank != rank for rank, _ in known):
            known.append((episode.rank, episode.choice.tolist()))
            known.sort(key=lambda ranked: ranked[0], reverse=True)
            del known[self.spec.shortlist :]

    def _play(self, policy: Policy) -> list[Episode]:
        def act(state: NDArray[np.float32]) -> int:
            return int(np.argmax(policy.values(state)))

        return [play(self.game, condition, act) for condition in range(self.game.conditions)]

    def _policy_of(self, weights: Weights) -> Policy:
        """Return a policy without readings, which only `values` can be asked of."""
        none = np.zeros((0, 0))
        return Policy(self.game.state, weights, none, none, none.astype(np.int64))

    def _policy(self, weights: Weights) -> Policy:
        played = self._play(self._policy_of(weights))
        readings = [[(r.accuracy, r.power) for r in episode.readings] for episode in played]
        task = self.game.measured.task
        statistics = [self.game.state.standardised(task.features(e.condition)) for e in played]
        excess = _mean([episode.rank for episode in played])[0]
        return Policy(
            state=self.game.state,
            weights=weights,
            conditions=np.stack(statistics),
            readings=np.array(readings),
            best_choice=np.array([self.choices[e.condition][0][1] for e in played]),
            shortlist=np.array([choice for _, choice in self.choices[0]]),
            found=self.game.reward.found(),
            meets_target=None if self.game.reward.found() == {} else excess == 0,
        )

    def _record(self, greedy: GreedyRecord | None) -> EpisodeRecord:
        played = self.env.ended
        assert played is not None
        return EpisodeRecord(
            episode=self.episodes,
            condition=played.condition,
            levels=self.game.state.levels[played.choice].tolist(),
            reward=played.total,
            accuracy=played.readings[-1].accuracy,
            power=played.readings[-1].power,
            exploration_rate=float(self.agent.exploration_rate),
            mean_max_q=None if self.probe is None else self.agent.mean_max_q(self.probe),
            td_loss=self.agent.td_loss,
            measurements=len(self.game.measured),
            weights=self.game.reward.found(),
            greedy=greedy,
        )

    def _save(self, folder: Path) -> None:
        best = self.best
        values: dict[str, Any] = {
            "fingerprint": self._key,
            "episodes": self.episodes,
            "reward_weights": self.game.reward.weights,
            "probe": self.probe,
            "best": best and {"rank": best.rank, "weights": best.weights},
            "choices": self.choices,
        }
        save_checkpoint(folder / "agent.pt", self.agent, values)

    def _resume(self) -> None:
        """Go back to the last checkpoint, if there is one, and drop what came after it."""
        if self.folder is None:
            return
        path = self.folder / "agent.pt"
        if path.exists():
            values = load_checkpoint(path, self._key)
            restore_agent(path, self.agent, values["agent"])
            self.episodes, self.probe = values["episodes"], values["probe"]
            self.game.reward.weights = values["reward_weights"]
            if values["best"] is not None:
                rank, weights = values["best"]["rank"], values["best"]["weights"]
                self.best = Best(tuple(rank), tuple((w, b) for w, b in weights))
            for condition, known in values["choices"].items():
                self.choices[condition] = [(tuple(rank), choice) for rank, choice in known]
        records = read_episodes(self.folder)
        write_episodes(self.folder, [r for r in records if r.episode <= self.episodes])


class _AfterEachEpisode(BaseCallback):
    """Calls the learner between two episodes; a rollout is an episode."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self._learner = learner
        self._played = False

    def _on_rollout_start(self) -> None:
        if self._played:
            self._learner.end_episode()
        self._learner.begin_episode()
        self._played = True

    def _on_training_end(self) -> None:
        self._learner.end_episode()

    def _on_step(self) -> bool:
        return True


def _weights(agent: MaskedDQN) -> Weights:
    """Return a copy of the linear layers of the Q-network."""
    values = {name: t.detach().numpy().copy() for name, t in agent.q_net.state_dict().items()}
    names = [name.removesuffix(".weight") for name in values if name.endswith(".weight")]
    return tuple((values[f"{name}.weight"], values[f"{name}.bias"]) for name in names)


def _mean(ranks: list[Rank]) -> Rank:
    first, second = np.mean(ranks, axis=0)
    return float(first), float(second)
