"""What a decision earns: the weighted sum of the file, or progress toward a target.

Every reward is linear in a few *terms* that do not change (accuracy, power, intensity, excess over
a bound), so that experience keeps its worth when weights are found on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.errors import SpecError
from rfprune.methods.agent_task import AgentMeasurement
from rfprune.spec.agent import Coefficient, RewardSpec, TargetSpec

__all__ = ["Reward", "TargetReward", "WeightedReward", "make_reward"]

#: Factor of a bound's weight when the greedy policy breaks it and when it keeps it, and its range.
_GROWTH, _DECAY = 1.25, 0.95
_LEAST_WEIGHT, _LARGEST_WEIGHT = 1.0, 100.0


class Reward(Protocol):
    """Turns what was measured into the reward of one decision."""

    weights: FloatArray

    def terms(
        self, layer: int, intensity: float, before: AgentMeasurement, after: AgentMeasurement
    ) -> FloatArray:
        """Return (T,) the terms of one decision; its reward is ``terms @ weights``.

        Args:
            layer: index of the layer that was decided.
            intensity: fraction of it that is pruned.
            before: of the network before the decision; power as a share of the dense network's.
            after: of the network after it.
        """

    def rank(self, total: float, final: AgentMeasurement) -> tuple[float, float]:
        """Return how good a whole episode was; the larger one is better.

        Args:
            total: sum of its rewards.
            final: of the pruned network.
        """

    def adapt(self, finals: Sequence[AgentMeasurement]) -> bool:
        """Learn from what the greedy policy achieves under each condition.

        Returns:
            Whether the weights changed.
        """

    def found(self) -> dict[str, float]:
        """Return the weights that were found, by name; empty if the file gave them."""


def make_reward(spec: RewardSpec | None, layers: tuple[str, ...]) -> Reward:
    """Return the reward that a file asks for; without one, the accuracy of the pruned network.

    Raises:
        SpecError: a list of coefficients that has not one number per layer.
    """
    if spec is None or spec.target is not None:
        return TargetReward(None if spec is None else spec.target)
    return WeightedReward(spec, layers)


class WeightedReward:
    """The reward with given weights, one part of the sum per decision.

    ``r_i = alpha_i * accuracy_i - beta_i * power_i - gamma_i * intensity_i - lam * intensity_i``,
    whose sum over the layers is the R of `RewardSpec`.
    """

    def __init__(self, spec: RewardSpec, layers: tuple[str, ...]) -> None:
        self.weights = np.ones(1)
        self._alpha = _per_layer("alpha", spec.alpha, layers)
        self._beta = _per_layer("beta", spec.beta, layers)
        self._gamma = _per_layer("gamma", spec.gamma, layers) + spec.lam

    def terms(
        self, layer: int, intensity: float, before: AgentMeasurement, after: AgentMeasurement
    ) -> FloatArray:
        """Return (1,) the decision's part of the sum."""
        gain = self._alpha[layer] * after.accuracy - self._beta[layer] * after.power
        return np.array([gain - self._gamma[layer] * intensity])

    def rank(self, total: float, final: AgentMeasurement) -> tuple[float, float]:
        """Return the sum of the rewards."""
        return (0.0, total)

    def adapt(self, finals: Sequence[AgentMeasurement]) -> bool:
        """The weights are given."""
        return False

    def found(self) -> dict[str, float]:
        """Nothing had to be found."""
        return {}


class TargetReward:
    """The reward that leads to a target, by an exact penalty whose weights are found.

    The potential of a network is ``P = objective - alpha * (x - accuracy)+ - beta * (power - y)+``
    with the bounds ``accuracy >= x`` and ``power <= y``; a decision earns the growth of P, so an
    episode earns ``P(pruned) - P(dense)`` (potential-based: Ng, Harada, Russell 1999). The
    objective is accuracy, or ``-power`` where accuracy alone is bounded. For weights above a
    threshold the best P is the best network within the bounds (exact L1 penalty: Nocedal, Wright,
    *Numerical Optimization*, theorem 17.3); they grow while the greedy policy breaks the bound
    and fall while it keeps it, so that they end near the threshold.
    Unlike a Lagrangian, it also reaches networks inside the convex hull of accuracy and power.
    """

    def __init__(self, target: TargetSpec | None) -> None:
        x, y = (None, None) if target is None else (target.least_accuracy, target.most_power)
        self._x = -np.inf if x is None else x
        self._y = np.inf if y is None else y
        self._least_power = x is not None and y is None
        self.weights = np.ones(3)

    def terms(
        self, layer: int, intensity: float, before: AgentMeasurement, after: AgentMeasurement
    ) -> FloatArray:
        """Return (3,) the growth of the objective and the fall of the two excesses."""
        return self._parts(after) - self._parts(before)

    def _parts(self, outcome: AgentMeasurement) -> FloatArray:
        objective = -outcome.power if self._least_power else outcome.accuracy
        short, over = self._excess(outcome)
        return np.array([objective, -short, -over])

    def _excess(self, outcome: AgentMeasurement) -> tuple[float, float]:
        return max(self._x - outcome.accuracy, 0.0), max(outcome.power - self._y, 0.0)

    def rank(self, total: float, final: AgentMeasurement) -> tuple[float, float]:
        """Return least excess first, then the objective; it does not depend on the weights."""
        return (-sum(self._excess(final)), float(self._parts(final)[0]))

    def adapt(self, finals: Sequence[AgentMeasurement]) -> bool:
        """Raise the weight of every bound that is broken under some condition, lower the others."""
        broken = np.array([self._excess(final) for final in finals]).max(axis=0) > 0
        weights = self.weights[1:] * np.where(broken, _GROWTH, _DECAY)
        adapted = np.array([1.0, *np.clip(weights, _LEAST_WEIGHT, _LARGEST_WEIGHT)])
        changed = bool(np.any(adapted != self.weights))
        self.weights = adapted
        return changed

    def found(self) -> dict[str, float]:
        """Return alpha and beta, the weights of the bounds that there are."""
        names = {"alpha": np.isfinite(self._x), "beta": np.isfinite(self._y)}
        weights = dict(zip(names, map(float, self.weights[1:]), strict=True))
        return {name: weights[name] for name, bounded in names.items() if bounded}


def _per_layer(name: str, value: Coefficient, layers: tuple[str, ...]) -> FloatArray:
    if not isinstance(value, list):
        return np.full(len(layers), float(value))
    if len(value) != len(layers):
        raise SpecError(
            f"prune.agent.reward.{name}: has {len(value)} values for {len(layers)} layers "
            f"({', '.join(layers[:4])}{', ...' if len(layers) > 4 else ''}). "
            "Allowed: one number, or one per layer."
        )
    return np.array(value, dtype=float)
