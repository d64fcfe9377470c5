"""Which level the next batch gets: rules that want one, and a policy that does not flutter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.edge.adaptive.level_table import LevelTable
from rfprune.edge.adaptive.levels import Levels
from rfprune.errors import DataError, SpecError
from rfprune.methods.akperl import Policy

__all__ = ["AgentRule", "LevelPolicy", "Rule", "TableRule", "affordable", "agent_rule"]


class Rule(Protocol):
    """Wants a level for an input and a budget; remembers nothing."""

    @property
    def power_mw(self) -> FloatArray:
        """(A,) power of each level."""

    def wanted(self, features: FloatArray, power_budget_mw: float | None) -> int:
        """Return a level within the budget, or that of least power if none is.

        Args:
            features: (F,) statistics of the input.
            power_budget_mw: None = no limit.
        """


@dataclass(frozen=True, eq=False)
class TableRule:
    """Reads the level off a table of measurements.

    The condition is the one whose statistics are nearest to the input's. Within the budget the
    level of least power is taken that reaches `least_accuracy` under this condition, else the most
    accurate one. So a harder input gets less pruning, and a smaller budget never less.

    Attributes:
        table: accuracy and power of each level.
        least_accuracy: what is good enough; None = always the most accurate level in the budget.
    """

    table: LevelTable
    least_accuracy: float | None = None

    def __post_init__(self) -> None:
        # Not bounded by 0 and 1: a score of which small is good is negated, and has any unit.
        if self.least_accuracy is not None and not math.isfinite(self.least_accuracy):
            raise SpecError(f"least_accuracy: {self.least_accuracy}. Allowed: a number, or none.")

    @property
    def power_mw(self) -> FloatArray:
        """(A,) power of each level."""
        return self.table.power_mw

    def wanted(self, features: FloatArray, power_budget_mw: float | None) -> int:
        """Return the level; see the class."""
        accuracy = self.table.accuracy[self.table.nearest(features)].tolist()
        allowed = affordable(self.power_mw, power_budget_mw)
        good = max(accuracy[level] for level in allowed)
        if self.least_accuracy is not None:
            good = min(good, self.least_accuracy)
        enough = [level for level in allowed if accuracy[level] >= good]
        return min(enough, key=self.power_mw.tolist().__getitem__)


@dataclass(frozen=True, eq=False)
class AgentRule:
    """Asks a learned policy: the affordable level that is nearest to what the agent would prune.

    Attributes:
        agent: it decides over L layers, or over the whole network as one (`LevelTask`).
        fractions: (A, L) what each level prunes of each of them.
        power_mw: (A,) power of each level.
    """

    agent: Policy
    fractions: FloatArray
    power_mw: FloatArray

    def wanted(self, features: FloatArray, power_budget_mw: float | None) -> int:
        """Return the level; see the class."""
        distance = np.abs(self.fractions - self.agent.levels(features)).mean(axis=1).tolist()
        return min(affordable(self.power_mw, power_budget_mw), key=distance.__getitem__)


def agent_rule(agent: Policy, levels: Levels, power_mw: FloatArray) -> AgentRule:
    """Return the rule that follows an agent.

    Args:
        agent: learned on the layers of `levels`, or on a `LevelTask`.
        levels: A levels.
        power_mw: (A,) power of each level.

    Raises:
        SpecError: the agent decides about other layers.
    """
    names = tuple(layer.name for layer in levels.kernels.prunable)
    if agent.state.layers == names:
        fractions = levels.fractions
    elif len(agent.state.layers) == 1:
        fractions = np.array(levels.sparsity)[:, None]
    else:
        raise SpecError(
            f"the agent decides about {', '.join(agent.state.layers)}, but the prunable layers are "
            f"{', '.join(names)}; learn it on this network."
        )
    return AgentRule(agent, fractions, np.asarray(power_mw, dtype=float))


def affordable(power_mw: FloatArray, power_budget_mw: float | None) -> list[int]:
    """Return the levels within the budget; those of least power if none is.

    Raises:
        DataError: a budget that is not a number.
    """
    if power_budget_mw is None:
        return list(range(len(power_mw)))
    if math.isnan(power_budget_mw):
        raise DataError("power budget: nan. Allowed: a number of mW, or none.")
    powers = power_mw.tolist()
    # Something has to run, also where no level is within the budget.
    limit = max(power_budget_mw, min(powers))
    return [level for level, power in enumerate(powers) if power <= limit]


class LevelPolicy:
    """A rule with hysteresis: what it wants has to last before the level changes.

    A level that is above the budget is left at once. Every other change needs `hold` batches in a
    row for which the rule wants the same level, so an input at the border of two conditions does
    not make the level flutter.

    Attributes:
        rule: what it follows.
        hold: batches in a row.
        level: the level of the last batch, None before the first.
    """

    def __init__(self, rule: Rule, hold: int = 3) -> None:
        """Take a rule.

        Raises:
            SpecError: `hold` below 1.
        """
        if hold < 1:
            raise SpecError(f"hold: {hold}. Allowed: 1 or more batches.")
        self.rule, self.hold = rule, hold
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.level: int | None = None
        self._waiting: int | None = None
        self._batches = 0

    def choose(self, features: FloatArray, power_budget_mw: float | None = None) -> int:
        """Return the level of the next batch; arguments as `Rule.wanted`."""
        wanted = self.rule.wanted(features, power_budget_mw)
        self._batches = self._batches + 1 if wanted == self._waiting else 1
        self._waiting = wanted
        affords = self.level in affordable(self.rule.power_mw, power_budget_mw)
        if self.level is None or not affords or self._batches >= self.hold:
            self.level = wanted
        return self.level
