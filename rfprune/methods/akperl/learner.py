"""Learns episode by episode, records each, and keeps the best greedy policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import IntArray
from rfprune.core.json_lines import append_line
from rfprune.core.value_files import write_values
from rfprune.errors import RunsError
from rfprune.methods.akperl.dqn import DQN
from rfprune.methods.akperl.episode import Environment, Episode, run_episode
from rfprune.methods.akperl.episode_log import (
    EpisodeRecord,
    GreedyRecord,
    read_episodes,
    write_episodes,
)
from rfprune.methods.akperl.learn import OnEpisode
from rfprune.methods.akperl.learning_checkpoint import KIND, fingerprint, load_checkpoint
from rfprune.methods.akperl.measured import MeasuredTask
from rfprune.methods.akperl.planning import BEST, only_known, planned
from rfprune.methods.akperl.policy import Policy, Weights
from rfprune.methods.akperl.reward import make_reward
from rfprune.methods.akperl.state import state_of
from rfprune.spec.agent import AgentSpec

__all__ = ["Learner"]

#: States over which the mean of the largest Q-value is taken.
_PROBE_STATES = 256

Rank = tuple[float, float]
#: Of a state (D,) and the layer to decide, the index of a level.
Act = Callable[[NDArray[np.float32], int], int]
#: Decisions with their rank.
Ranked = tuple[Rank, list[int]]


@dataclass(frozen=True)
class BestPolicy:
    """The best greedy policy so far: its rank, and the weights of its Q-network."""

    rank: Rank
    weights: Weights


class Learner:
    """One learning, from its last checkpoint to its end."""

    def __init__(
        self,
        measured: MeasuredTask,
        spec: AgentSpec,
        seed: int,
        folder: Path | None,
        on_episode: OnEpisode | None,
        demonstrations: Sequence[IntArray] = (),
    ) -> None:
        task = measured.task
        reward = make_reward(spec.reward, tuple(task.layers))
        self.spec, self.seed, self.folder = spec, seed, folder
        encoder = state_of(task, spec)
        self.environment = Environment(encoder, measured, reward, spec.measure_every)
        n_layers, n_terms = len(encoder.layers), len(reward.weights)
        self.agent = DQN(encoder.size, len(encoder.levels), n_layers, n_terms, spec, seed)
        self.episodes = 0
        self.best: BestPolicy | None = None
        self.choices: dict[int, list[Ranked]] = {}
        #: Decisions that were played, by condition; from them, sequences and finished networks.
        self.played: dict[int, list[list[int]]] = {}
        self._prefixes: set[tuple[int, ...]] = set()
        self._tried: dict[int, set[tuple[int, ...]]] = {}
        self.probe: NDArray[np.float32] | None = None
        self._key = fingerprint(task, spec, seed)
        self._demonstrations = demonstrations
        self._on_episode = on_episode or (lambda record: None)

    def run(self) -> Policy:
        """Learn to the end and return the best greedy policy."""
        self._resume()
        if self.episodes == 0:
            self._watch()
        while self.episodes < self.spec.episodes:
            self._learn_from_one_episode()
        assert self.best is not None, "the last episode tries the greedy policy"
        return self._policy(self.best.weights)

    @property
    def _warm(self) -> bool:
        return self.episodes >= self.spec.warmup_episodes

    def _learn_from_one_episode(self) -> None:
        """Play an episode, learn, record it; try the greedy policy if it is time.

        Condition, exploration and replay are drawn by seed and number of the episode alone, so
        that a learning that was cut off is resumed with the same ones.
        """
        # By seed and episode alone: an episode that is played again after a crash is the same one.
        drawn = np.random.default_rng([self.seed, self.episodes])
        rng = np.random.default_rng([self.seed, self.episodes, 1])
        # With less experience the spread of the rewards is a poor estimate; from here on it is kept
        # until the weights change, so that Q-values keep their meaning.
        if self.episodes == max(self.spec.warmup_episodes, 1):
            self.agent.replay.standardise(self.environment.reward.weights)
        played = self._try_next(int(drawn.integers(self.environment.conditions)), rng)
        if self._warm:
            self.agent.train(rng)
        self.episodes += 1
        self._compare(played)
        if self.probe is None and self._warm:
            replay = self.agent.replay
            self.probe = replay.arrays["before"][: len(replay)][:_PROBE_STATES].copy()
        last = self.episodes == self.spec.episodes
        greedy = None
        if last or self.episodes % self.spec.evaluate_every == 0:
            greedy = self._try_greedy()
        record = self._record(played, greedy)
        if self.folder is not None:
            append_line(self.folder / "episodes.jsonl", record.model_dump(mode="json"))
            if last or self.episodes % self.spec.checkpoint_every == 0:
                self._save(self.folder)
        self._on_episode(record)

    def _watch(self) -> None:
        """Remember the demonstrations under every condition, before the first episode."""
        for choice in self._demonstrations:
            for condition in range(self.environment.conditions):
                # No decisions of the agent's own, by whose number its exploration falls.
                add = self.agent.replay.add
                self._compare(self._followed(condition, _along(choice), add))

    def _try_next(self, condition: int, rng: np.random.Generator) -> Episode:
        """Return an episode that the agent decided and remembers."""
        choice = None
        if self._warm and rng.random() >= self.agent.exploration_rate:
            choice = self._planned(condition, rng)
        if choice is None:
            return self._followed(
                condition, lambda state, _: self.agent.act(state, rng), self.agent.observe
            )
        return self._followed(condition, _along(choice), self.agent.observe)

    def _planned(self, condition: int, rng: np.random.Generator) -> IntArray | None:
        """Return the decisions (L,) that promise most of those that were not measured yet."""
        environment = self.environment
        begun = Episode(environment, condition, only_known(environment, self._prefixes))
        best = [np.array(choice) for _, choice in self.choices.get(condition, [])]
        policy = self._policy_of(self.agent.network.weights())
        tried = self._tried.get(condition, set())
        spread = self.agent.replay.spread
        return planned(policy.values, spread, begun, environment, best, tried, rng)

    def _followed(
        self,
        condition: int,
        act: Act,
        remember: Callable[..., None],
    ) -> Episode:
        """Return an episode that `act` decides; `remember` is told every transition."""
        episode = Episode(self.environment, condition)
        after = episode.state()
        while not episode.ended:
            before, layer = after, episode.index
            level = act(before, layer)
            terms = episode.decide(level)
            after = episode.state()
            remember(before, level, terms, layer, after, episode.ended)
        return episode

    def _try_greedy(self) -> GreedyRecord:
        """Play greedily under every condition; keep the policy if it is the best so far."""
        weights = self.agent.network.weights()
        # No exploration: this is what the policy will be used for.
        played = self._play(self._policy_of(weights))
        for episode in played:
            self._compare(episode)
        # The mean over conditions: a policy must not win by being very good under one of them.
        rank = _mean([episode.rank for episode in played])
        best = self.best is None or rank > self.best.rank
        if best:
            self.best = BestPolicy(rank, weights)
        finals = [episode.readings[-1] for episode in played]
        record = GreedyRecord(
            reward=float(np.mean([episode.total for episode in played])),
            accuracy=float(np.mean([final.accuracy for final in finals])),
            power=float(np.mean([final.power for final in finals])),
            best=best,
        )
        # During the warm-up nothing is learned yet that could break or keep a bound.
        learned = self.episodes > self.spec.warmup_episodes
        if learned and self.environment.reward.adapt(finals):
            self.agent.replay.standardise(self.environment.reward.weights)
        return record

    def _compare(self, episode: Episode) -> None:
        """Keep the decisions of the best episodes under each condition, best first.

        Decisions of equal rank come to the same network, of which the first one counts.
        """
        self._remember(episode.condition, episode.choice.tolist())
        known = self.choices.setdefault(episode.condition, [])
        # One of equal rank is the same decision in all likelihood, and would crowd out others.
        if all(episode.rank != rank for rank, _ in known):
            known.append((episode.rank, episode.choice.tolist()))
            known.sort(key=lambda ranked: ranked[0], reverse=True)
            del known[max(self.spec.shortlist, BEST) :]

    def _remember(self, condition: int, choice: list[int]) -> None:
        """Keep what was played, of which no network is planned again."""
        self.played.setdefault(condition, []).append(choice)
        self._prefixes.update((condition, *choice[:upto]) for upto in range(1, len(choice) + 1))
        task = self.environment.measured.task
        self._tried.setdefault(condition, set()).add(task.network(np.array(choice), condition))

    def _play(self, policy: Policy) -> list[Episode]:
        def act(state: NDArray[np.float32]) -> int:
            return int(np.argmax(policy.values(state)))

        return [
            run_episode(self.environment, condition, act)
            for condition in range(self.environment.conditions)
        ]

    def _policy_of(self, weights: Weights) -> Policy:
        """Return a policy without readings, which only `values` can be asked of."""
        none = np.zeros((0, 0))
        return Policy(self.environment.state, weights, none, none, none.astype(np.int64))

    def _policy(self, weights: Weights) -> Policy:
        played = self._play(self._policy_of(weights))
        readings = [[(r.accuracy, r.power) for r in episode.readings] for episode in played]
        task = self.environment.measured.task
        statistics = [
            self.environment.state.standardised(task.features(e.condition)) for e in played
        ]
        # A rank begins with minus the excess over the bounds, which is 0 without bounds.
        excess = _mean([episode.rank for episode in played])[0]
        return Policy(
            state=self.environment.state,
            weights=weights,
            conditions=np.stack(statistics),
            readings=np.array(readings),
            best_choice=np.array([self.choices[e.condition][0][1] for e in played]),
            shortlist=np.array([choice for _, choice in self.choices[0][: self.spec.shortlist]]),
            found=self.environment.reward.found(),
            meets_target=None if self.environment.reward.found() == {} else excess == 0,
        )

    def _record(self, played: Episode, greedy: GreedyRecord | None) -> EpisodeRecord:
        return EpisodeRecord(
            episode=self.episodes,
            condition=played.condition,
            levels=self.environment.state.levels[played.choice].tolist(),
            reward=played.total,
            accuracy=played.readings[-1].accuracy,
            power=played.readings[-1].power,
            exploration_rate=self.agent.exploration_rate,
            mean_max_q=None if self.probe is None else self.agent.mean_max_q(self.probe),
            td_loss=self.agent.td_loss,
            measurements=len(self.environment.measured),
            weights=self.environment.reward.found(),
            greedy=greedy,
        )

    def _save(self, folder: Path) -> None:
        best = self.best
        values: dict[str, Any] = {
            "agent": self.agent.as_values(),
            "fingerprint": self._key,
            "episodes": self.episodes,
            "reward_weights": self.environment.reward.weights,
            "probe": self.probe,
            "best": best and {"rank": best.rank, "weights": best.weights},
            "choices": self.choices,
            "played": self.played,
        }
        write_values(folder / "agent.pt", KIND, values)

    def _resume(self) -> None:
        """Go back to the last checkpoint, if there is one, and drop what came after it."""
        if self.folder is None:
            return
        path = self.folder / "agent.pt"
        if path.exists():
            values = load_checkpoint(path, self._key)
            try:
                self._restore(values)
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise RunsError(f"{path}: the checkpoint is incomplete ({reason}).") from error
        # Episodes after the checkpoint are played again, and recorded again.
        records = read_episodes(self.folder)
        # What is played again must not stand in the record twice.
        write_episodes(self.folder, [r for r in records if r.episode <= self.episodes])

    def _restore(self, values: dict[str, Any]) -> None:
        self.agent.restore(values["agent"])
        self.episodes, self.probe = values["episodes"], values["probe"]
        self.environment.reward.weights = values["reward_weights"]
        if values["best"] is not None:
            rank, weights = values["best"]["rank"], values["best"]["weights"]
            self.best = BestPolicy(tuple(rank), tuple((w, b) for w, b in weights))
        for condition, known in values["choices"].items():
            self.choices[condition] = [(tuple(rank), choice) for rank, choice in known]
        for condition, played in values["played"].items():
            for choice in played:
                self._remember(condition, choice)


def _along(choice: IntArray) -> Act:
    return lambda _, layer: int(choice[layer])


def _mean(ranks: list[Rank]) -> Rank:
    first, second = np.mean(ranks, axis=0)
    return float(first), float(second)
