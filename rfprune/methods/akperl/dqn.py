"""Deep Q-learning (Mnih et al., Nature 518, 2015) with actions that may not be chosen.

The allowed levels are the last entries of a state, so the Q-network itself gives the others -inf:
they are taken neither by the greedy policy nor by the maximum in the target of learning, and
exploration draws among the allowed ones.

What a decision is worth is at least the best return that ever followed it, since the game draws
nothing: targets are no lower than that (He et al., ICLR 2017, arXiv 1611.01606), so that what a
finished network is worth reaches its first decision at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rfprune.core.arrays import FloatArray
from rfprune.core.value_files import to_tensors
from rfprune.methods.akperl.policy import Weights
from rfprune.spec.agent import AgentSpec

__all__ = ["DQN", "MaskedQNetwork", "ReplayBuffer"]


class MaskedQNetwork(nn.Module):
    """A multilayer perceptron with ReLU that gives -inf to the levels a state does not allow."""

    def __init__(self, n_state: int, hidden: list[int], n_levels: int) -> None:
        super().__init__()
        self.n_levels = n_levels
        sizes = [n_state, *hidden, n_levels]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            # The last ReLU is cut off below: Q-values may be negative.
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, states: Tensor) -> Tensor:
        """Return (B, A) Q-values of states (B, D)."""
        values: Tensor = self.layers(states)
        return values.masked_fill(states[:, -self.n_levels :] <= 0.5, -torch.inf)

    def weights(self) -> Weights:
        """Return a copy of (weight, bias) of each linear layer."""
        return tuple(
            (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy())
            for layer in self.layers
            if isinstance(layer, nn.Linear)
        )


class ReplayBuffer:
    """The last transitions, with the terms of their rewards, so that weights may change.

    Rewards are standardised: the mean reward of a layer is taken off and the rest divided by its
    spread. Every layer is decided once in every episode, so this changes no policy, only how well
    it is learned.

    Attributes:
        arrays: (N, ...) of each transition: states before and after, action, whether the episode
            ended, terms of the reward, index of the layer that was decided, standardised reward;
            the discounted sum of the terms to the end of the episode, and the largest standardised
            return that is known to follow the same decision in the same state (-inf before the
            episode's end).
        added: transitions that were ever added; the oldest are overwritten.
        weights: (T,) of the terms.
        shift: (L,) mean reward of each layer.
        spread: standard deviation of what is left.
    """

    def __init__(
        self, capacity: int, n_state: int, n_layers: int, n_terms: int, discount: float = 1.0
    ) -> None:
        self.arrays: dict[str, NDArray[Any]] = {
            "before": np.zeros((capacity, n_state), np.float32),
            "after": np.zeros((capacity, n_state), np.float32),
            "action": np.zeros(capacity, np.int64),
            "ended": np.zeros(capacity, np.float32),
            "terms": np.zeros((capacity, n_terms)),
            "layer": np.zeros(capacity, np.int64),
            "reward": np.zeros(capacity, np.float32),
            "to_go": np.zeros((capacity, n_terms)),
            "known": np.zeros(capacity, np.float32),
        }
        self.capacity, self.added, self._discount = capacity, 0, discount
        self.weights = np.ones(n_terms)
        self.shift, self.spread = np.zeros(n_layers), 1.0

    def __len__(self) -> int:
        """Return how many transitions are held."""
        return min(self.added, self.capacity)

    def add(
        self,
        before: NDArray[np.float32],
        action: int,
        terms: FloatArray,
        layer: int,
        after: NDArray[np.float32],
        ended: bool,
    ) -> None:
        """Add one transition; its reward is ``terms @ weights``, standardised."""
        reward = (terms @ self.weights - self.shift[layer]) / self.spread
        values = (before, after, action, ended, terms, layer, reward, terms, -np.inf)
        for array, value in zip(self.arrays.values(), values, strict=True):
            # A ring: the oldest transition makes room.
            array[self.added % self.capacity] = value
        self.added += 1
        if ended:
            self._credit(layer + 1)

    def _credit(self, n_decisions: int) -> None:
        """Let every decision of the episode that ended know what followed it."""
        arrays, held = self.arrays, len(self)
        following = np.zeros(len(self.weights))
        for back in range(1, min(n_decisions, held) + 1):
            row = (self.added - back) % self.capacity
            arrays["to_go"][row] = following = arrays["terms"][row] + self._discount * following
            same = arrays["action"][:held] == arrays["action"][row]
            same &= (arrays["before"][:held] == arrays["before"][row]).all(axis=1)
            best = max(float(arrays["known"][:held][same].max()), float(self._returns([row])[0]))
            arrays["known"][:held][same] = best

    def _returns(self, rows: Any) -> FloatArray:
        """Return the standardised returns of transitions of ended episodes."""
        expected, following = np.zeros_like(self.shift), 0.0
        for layer in reversed(range(len(self.shift))):
            expected[layer] = following = self.shift[layer] + self._discount * following
        raw = self.arrays["to_go"][rows] @ self.weights
        return np.asarray((raw - expected[self.arrays["layer"][rows]]) / self.spread)

    def standardise(self, weights: FloatArray) -> None:
        """Give every transition its reward with these weights (T,), standardised anew."""
        rewards = self.arrays["terms"][: len(self)] @ weights
        layer = self.arrays["layer"][: len(self)]
        count = np.maximum(np.bincount(layer, minlength=len(self.shift)), 1)
        self.weights = weights.copy()
        # Per layer, as rewards of early and late decisions differ in kind; the spread is common to
        # all, so that they stay comparable.
        self.shift = np.bincount(layer, rewards, minlength=len(self.shift)) / count
        centred = rewards - self.shift[layer]
        self.spread = float(max(centred.std(), 1e-9))
        self.arrays["reward"][: len(self)] = centred / self.spread
        decided = np.column_stack([self.arrays["before"], self.arrays["action"]])[: len(self)]
        _, same = np.unique(decided, axis=0, return_inverse=True)
        best = np.full(len(self), -np.inf)
        np.maximum.at(best, same.ravel(), self._returns(slice(len(self))))
        self.arrays["known"][: len(self)] = best[same.ravel()]


class DQN:
    """A Q-network, its target network and its replay buffer.

    It draws random numbers only from the generator that it is handed, so that a learning that goes
    on from a checkpoint draws what one would that was never cut off.

    Attributes:
        network: learns.
        target: an older copy of it, whose values it learns toward.
        replay: what was experienced.
        decisions: that were ever made while learning.
        td_loss: mean loss of the last training, None before the first.
    """

    def __init__(
        self, n_state: int, n_levels: int, n_layers: int, n_terms: int, spec: AgentSpec, seed: int
    ) -> None:
        """Return an agent that has learned nothing yet.

        Args:
            n_state: entries of a state, the allowed levels last.
            n_levels: of every layer.
            n_layers: decisions of an episode.
            n_terms: of a reward.
            spec: settings.
            seed: of the initial weights.
        """
        self._spec, self._n_layers = spec, n_layers
        # Weights are drawn from torch's global generator, which is the caller's.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = MaskedQNetwork(n_state, spec.hidden, n_levels)
            self.target = MaskedQNetwork(n_state, spec.hidden, n_levels)
        # Two networks drawn one after the other differ; learning starts from equal ones.
        self.target.load_state_dict(self.network.state_dict())
        # Fused: one call for all parameters. The matrices are small, calls are what takes time.
        self._optimizer = torch.optim.Adam(self.network.parameters(), fused=True)
        self.replay = ReplayBuffer(spec.buffer_size, n_state, n_layers, n_terms, spec.discount)
        self.decisions = 0
        self.td_loss: float | None = None

    @property
    def progress(self) -> float:
        """The part of all decisions that has been made, 0 to 1."""
        return self.decisions / (self._spec.episodes * self._n_layers)

    @property
    def exploration_rate(self) -> float:
        """The share of random decisions now."""
        explore = self._spec.exploration
        if self.progress >= explore.fraction:  # also where the fraction is 0
            return explore.end
        return explore.start + (explore.end - explore.start) * self.progress / explore.fraction

    def act(self, state: NDArray[np.float32], rng: np.random.Generator) -> int:
        """Return the level for a state (D,): greedy, or random with the exploration rate."""
        if rng.random() < self.exploration_rate:
            return int(rng.choice(np.flatnonzero(state[-self.network.n_levels :] > 0.5)))
        with torch.no_grad():
            return int(self.network(torch.from_numpy(state)[None]).argmax())

    def observe(
        self,
        before: NDArray[np.float32],
        action: int,
        terms: FloatArray,
        layer: int,
        after: NDArray[np.float32],
        ended: bool,
    ) -> None:
        """Remember what a decision led to; now and then the target network is brought up to date.

        Args:
            before: (D,) state.
            action: index of the level.
            terms: (T,) of the reward.
            layer: that was decided.
            after: (D,) state.
            ended: whether it was the last layer.
        """
        self.replay.add(before, action, terms, layer, after, ended)
        self.decisions += 1
        if self.decisions % self._spec.target_update_steps == 0:
            self.target.load_state_dict(self.network.state_dict())

    def train(self, rng: np.random.Generator) -> None:
        """Take the gradient steps of one episode, Adam on the Huber loss (smooth L1).

        The loss bounds what a single row passes back, so gradients are not clipped.
        """
        spec = self._spec
        for group in self._optimizer.param_groups:
            group["lr"] = spec.learning_rate * (1 - 0.9 * self.progress)
        steps = self._n_layers * spec.gradient_steps
        # All batches of an episode at once: one gather in place of one per step.
        drawn = rng.integers(0, len(self.replay), (steps, spec.batch_size))
        batches = {
            name: torch.from_numpy(array[drawn]) for name, array in self.replay.arrays.items()
        }
        with torch.no_grad():
            # The target network does not change within an episode's steps: one call for all.
            following = self.target(batches["after"].flatten(0, 1)).max(dim=1).values
            # Nothing follows the last layer, whatever the target network says of that state.
            going_on = (1 - batches["ended"]) * spec.discount
            targets = batches["reward"] + going_on * following.view_as(going_on)
            targets = torch.maximum(targets, batches["known"])
        losses = []
        threads = torch.get_num_threads()
        # The matrices are small: a second thread costs more to wake than it saves.
        torch.set_num_threads(1)
        try:
            for before, action, target in zip(
                batches["before"], batches["action"], targets, strict=True
            ):
                values = self.network(before).gather(1, action[:, None])[:, 0]
                loss = functional.smooth_l1_loss(values, target)
                losses.append(loss.item())
                self._optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
        finally:
            torch.set_num_threads(threads)
        self.td_loss = float(np.mean(losses))

    def mean_max_q(self, states: NDArray[np.float32]) -> float:
        """Return the mean over states (N, D) of the largest Q-value (Mnih et al. 2013, 5.1)."""
        with torch.no_grad():
            return float(self.network(torch.from_numpy(states)).max(dim=1).values.mean())

    def as_values(self) -> dict[str, Any]:
        """Return plain values and arrays from which `restore` continues bit for bit."""
        replay = self.replay
        return {
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "replay": {name: array[: len(replay)] for name, array in replay.arrays.items()},
            "added": replay.added,
            "scales": {"weights": replay.weights, "shift": replay.shift, "spread": replay.spread},
            "decisions": self.decisions,
            "td_loss": self.td_loss,
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go back to where `as_values` was called.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: the values do not fit this agent.
        """
        self.network.load_state_dict(to_tensors(values["network"]))
        self.target.load_state_dict(to_tensors(values["target"]))
        self._optimizer.load_state_dict(to_tensors(values["optimizer"]))
        replay = self.replay
        replay.added = int(values["added"])
        for name, array in replay.arrays.items():
            array[: len(replay)] = values["replay"][name]
        scales = values["scales"]
        replay.weights, replay.shift = scales["weights"], scales["shift"]
        replay.spread = float(scales["spread"])
        self.decisions, self.td_loss = int(values["decisions"]), values["td_loss"]
