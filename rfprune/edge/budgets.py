"""One game for several budgets: what is learned in it answers any budget between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.edge.task import KernelTask
from rfprune.methods.agent_task import AgentMeasurement

__all__ = ["BudgetedTask"]


class BudgetedTask:
    """The agent's game where every episode has a budget of its own, which it sees.

    A condition is a budget together with a condition of the input; the budget, as a part of what
    the dense network uses, is the last of its statistics. Accuracies are measured once for all
    budgets.

    Args:
        own: the game within the budget of the trial; its conditions come first, and it says what
            is kept in the end.
        shares: further budgets.
    """

    def __init__(self, own: KernelTask, shares: Sequence[float]) -> None:
        others = [share for share in dict.fromkeys(shares) if not np.isclose(share, own.share())]
        self._games = [own, *(own.within(share) for share in others)]
        self.layers, self.levels, self.allowed = own.layers, own.levels, own.allowed
        self.budgeted = own.budgeted
        self.conditions = own.conditions * len(self._games)

    @property
    def own(self) -> KernelTask:
        """The game within the budget of the trial."""
        return self._games[0]

    def _of(self, condition: int) -> tuple[KernelTask, int]:
        game, of_input = divmod(condition, self.own.conditions)
        return self._games[game], of_input

    def features(self, condition: int) -> FloatArray:
        """Return (F + 1,) mean statistics of the input, and the budget as a part of dense use."""
        game, of_input = self._of(condition)
        return np.append(game.features(of_input), game.share())

    def layer_features(self) -> FloatArray:
        """Return (L, K) what distinguishes the layers."""
        return self.own.layer_features()

    def measure(self, choice: IntArray, upto: int, condition: int) -> AgentMeasurement:
        """Return accuracy and power with the first layers pruned within the condition's budget."""
        game, of_input = self._of(condition)
        return game.measure(choice, upto, of_input)

    def network(self, choice: IntArray, condition: int) -> tuple[int, ...]:
        """Return the kernels that every layer keeps in the end within the condition's budget."""
        game, of_input = self._of(condition)
        return game.network(choice, of_input)

    def keep(self, choice: IntArray) -> BoolArray:
        """Return (G,) what is kept in the end within the budget of the trial."""
        return self.own.keep(choice)

    def nearest(self, keep: BoolArray) -> IntArray:
        """Return (L,) the levels that come nearest to keeping the kernels in `keep` (G,)."""
        return self.own.nearest(keep)

    def worth(self, keep: BoolArray) -> float:
        """Return what the agent measures of the network that keeps `keep` (G,), on clean rows."""
        return self.own.worth(keep)

    def answers(self) -> list[IntArray]:
        """Return decisions (L,) of a policy that was learned before; empty without one."""
        return self.own.answers()
