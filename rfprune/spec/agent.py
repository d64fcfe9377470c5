"""Settings of the pruning agent: how it learns and what it is rewarded for."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from rfprune.spec.base import StrictSpec

__all__ = ["AgentSpec", "Coefficient", "ExplorationSpec", "RewardSpec", "TargetSpec"]

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
#: One number for all layers, or a list with one number per layer.
Coefficient = NonNegative | list[NonNegative]

_BOUND = re.compile(r"^\s*(>=|<=)\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*$")


def _bound(text: str, operator: str) -> float:
    match = _BOUND.match(text)
    if match is None or match.group(1) != operator:
        raise ValueError(
            f"'{text}' is not a bound. Allowed: '{operator} NUMBER', e.g. '{operator} 0.7'"
        )
    return float(match.group(2))


class TargetSpec(StrictSpec):
    """Bounds that the pruned network has to meet; the agent finds the weights that lead there.

    Both bounds: the best accuracy within them. Accuracy alone: the least power. Power alone: the
    best accuracy.
    """

    accuracy: str | None = Field(None, description="e.g. '>= 0.7', of the validation rows")
    power: str | None = Field(None, description="e.g. '<= 0.6', a share of the dense network's")

    @field_validator("accuracy")
    @classmethod
    def _accuracy_bound(cls, text: str | None) -> str | None:
        if text is not None and not 0 <= _bound(text, ">=") <= 1:
            raise ValueError(f"'{text}' is out of range. Allowed: '>= 0' to '>= 1'")
        return text

    @field_validator("power")
    @classmethod
    def _power_bound(cls, text: str | None) -> str | None:
        if text is not None:
            _bound(text, "<=")
        return text

    @model_validator(mode="after")
    def _has_a_bound(self) -> TargetSpec:
        if self.accuracy is None and self.power is None:
            raise ValueError("needs a bound. Allowed: accuracy: '>= NUMBER', power: '<= NUMBER'")
        return self

    @property
    def least_accuracy(self) -> float | None:
        """The bound on accuracy, None if there is none."""
        return None if self.accuracy is None else _bound(self.accuracy, ">=")

    @property
    def most_power(self) -> float | None:
        """The bound on power, as a share of the dense network's, None if there is none."""
        return None if self.power is None else _bound(self.power, "<=")


class RewardSpec(StrictSpec):
    """The reward of a policy, or the target that it has to meet.

    ``R = sum_i (alpha_i * accuracy_i - beta_i * power_i - gamma_i * intensity_i) - lam * |a|``
    where i runs over the layers in the order in which they are pruned: `accuracy_i` and `power_i`
    are those of the network after layer i was pruned, power as a share of the dense network's,
    `intensity_i` is the fraction that is pruned of layer i, and ``|a|`` the sum of the intensities.
    """

    alpha: Coefficient = Field(1.0, description="weight of accuracy: a number, or one per layer")
    beta: Coefficient = Field(0.0, description="weight of power: a number, or one per layer")
    gamma: Coefficient = Field(0.0, description="weight of intensity: a number, or one per layer")
    lam: NonNegative = Field(0.0, description="weight of |a|, the sum of the intensities")
    target: TargetSpec | None = Field(
        None, description="bounds in place of weights; the agent then finds the weights"
    )

    @model_validator(mode="after")
    def _weights_or_target(self) -> RewardSpec:
        if self.target is not None:
            fields = type(self).model_fields
            names = ("alpha", "beta", "gamma", "lam")
            # A default that is written out is accepted, so that a canonical file can be read again.
            for name in (n for n in names if getattr(self, n) != fields[n].default):
                raise ValueError(f"target: finds the weights itself; leave out '{name}'")
        return self


class ExplorationSpec(StrictSpec):
    """Epsilon-greedy: the share of random actions falls linearly from `start` to `end`."""

    start: Fraction = 1.0
    end: Fraction = 0.05
    fraction: Fraction = Field(0.2, description="part of the episodes during which it falls")

    @model_validator(mode="after")
    def _falls(self) -> ExplorationSpec:
        if self.end > self.start:
            raise ValueError(f"end: {self.end:g} is above start, {self.start:g}")
        return self


class AgentSpec(StrictSpec):
    """The deep Q-network and its learning; an episode decides every layer once."""

    reward: RewardSpec | None = Field(
        None, description="if not set: the accuracy of the pruned network alone"
    )
    episodes: PositiveInt = 300
    learning_rate: PositiveFloat = Field(3e-3, description="falls linearly to a tenth")
    discount: Fraction = Field(
        1.0, description="factor of later rewards; episodes are short, hence 1"
    )
    buffer_size: PositiveInt = Field(20_000, description="transitions in the replay buffer")
    batch_size: PositiveInt = 128
    warmup_episodes: Annotated[int, Field(ge=0)] = Field(
        20, description="episodes before the first gradient step"
    )
    target_update_steps: PositiveInt = Field(
        50, description="decisions between two updates of the target network"
    )
    gradient_steps: PositiveInt = Field(4, description="gradient steps per decision")
    exploration: ExplorationSpec = ExplorationSpec()
    hidden: list[PositiveInt] = Field([64, 64], description="sizes of the hidden layers")
    evaluate_every: PositiveInt = Field(
        5, description="episodes between two trials of the greedy policy; the best one is kept"
    )
    checkpoint_every: PositiveInt = Field(50, description="episodes between two checkpoints")
    shortlist: PositiveInt = Field(
        1,
        description="how many of the measured networks are fine-tuned briefly, the most accurate "
        "of which is kept; 1: the best measurement decides",
    )
    shortlist_epochs: PositiveInt = Field(2, description="epochs of that fine-tuning")
    measure_every: PositiveInt = Field(
        1,
        description="layers between two measurements within an episode; the network after the last "
        "layer is always measured",
    )
    observe_monitor: bool = Field(True, description="include accuracy and power in the state")
    observe_statistics: bool = Field(True, description="include input statistics in the state")
