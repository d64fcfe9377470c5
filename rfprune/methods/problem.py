"""What every pruning method is given, and what it returns.

A method chooses which groups to keep under all budgets at once. It sees values and costs, not the
network; whatever it returns is checked against the budget before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.core.quantities import RESOURCES
from rfprune.errors import MissingExtraError, SolverError
from rfprune.methods.agent_task import AgentTask
from rfprune.spec.agent import AgentSpec

__all__ = ["Choice", "GroupTask", "Method", "Problem", "check_choice"]


class GroupTask(AgentTask, Protocol):
    """A task of the agent whose decisions say which groups stay."""

    def keep(self, choice: IntArray) -> BoolArray:
        """Return (G,) what is kept in the end when the layers are pruned as in `choice` (L,)."""

    def nearest(self, keep: BoolArray) -> IntArray:
        """Return (L,) the levels that come nearest to keeping `keep` (G,)."""

    def worth(self, keep: BoolArray) -> float:
        """Return what is measured of the network that keeps `keep` (G,), as `measure` does."""

    @property
    def budgeted(self) -> bool:
        """Whether a budget, and not the reward alone, says how much goes."""

    def answers(self) -> list[IntArray]:
        """Return decisions (L,) of a policy that was learned before; empty = it has to learn."""


@dataclass(frozen=True)
class Problem:
    """Keep groups of the highest value within the budget.

    Attributes:
        value: (G,) >= 0, what is lost if the group goes.
        cost: (G, R) what the group holds alone.
        budget: (R,) what all kept groups may hold together; inf = free.
        layer: (G,) layer of each group.
        floor: (L,) groups that each layer keeps at least.
        used: counts (R,) what a set of kept groups (G,) takes. It equals
            ``cost[keep].sum(0)`` except for single weights that share a multiplier, and for
            kernels, whose cost depends on the layers around them.
        rng: random numbers, seeded by the trial.
        merit: measures how good the network is with a set of kept groups (G,), on validation
            rows and without fine-tuning: the task's score, larger is better (`Task.merit`). None
            if there is no network to measure.
        costs_at: returns (G, R) what each group costs beside a set of kept ones (G,), where that
            depends on it; None = it is `cost`.
        tuned: measures it after a short fine-tuning; None where that cannot be tried.
        agent: settings of the methods that learn.
        task: what they play; if None, the groups themselves under the budget.
        agent_folder: where they keep their checkpoints; None = nowhere.
        resources: (R,) names, for messages.
    """

    value: FloatArray
    cost: FloatArray
    budget: FloatArray
    layer: IntArray
    floor: IntArray
    used: Callable[[BoolArray], FloatArray]
    rng: np.random.Generator
    merit: Callable[[BoolArray], float] | None = None
    tuned: Callable[[BoolArray], float] | None = None
    costs_at: Callable[[BoolArray], FloatArray] | None = None
    agent: AgentSpec = field(default_factory=AgentSpec)
    task: GroupTask | None = None
    agent_folder: Path | None = None
    resources: Sequence[str] = RESOURCES


@dataclass(frozen=True)
class Choice:
    """What a method keeps, and what it can say about how good that is.

    Attributes:
        keep: (G,) True = kept.
        prices: (R,) value of one more unit of each resource, or None if the method has no prices.
        gap: proven relative distance from the best choice, or None.
        gaps: of all choices of a step that makes many; `gap` is their median then.
    """

    keep: BoolArray
    prices: FloatArray | None = None
    gap: float | None = None
    gaps: tuple[float, ...] = ()


@dataclass(frozen=True)
class Method:
    """A pruning method.

    Attributes:
        select: chooses the groups.
        structure: a structure that the method is bound to, or None for the file's.
        penalty: what the regularizer acts on: ``group``, ``weight`` (L1) or ``none``.
        prunes: False for the dense baseline.
        counts: it holds budgets by counting what is used, not by adding up costs.
        learns: it plays a task; see `Problem.task`.
        kernel_score: score of kernels that the method is named after, or None for the file's.
        chooses_values: it chooses values, not what to keep, while the network is trained; what it
            takes is on a ladder of budgets, and `Prunable.level` is a step.
        needs: packages that rfprune itself does not need and the method cannot do without.
    """

    select: Callable[[Problem], Choice]
    structure: str | None = None
    penalty: str = "group"
    prunes: bool = True
    counts: bool = False
    learns: bool = False
    kernel_score: str | None = None
    chooses_values: bool = False
    needs: tuple[str, ...] = ()

    def check_installed(self) -> None:
        """Raise before any training if a package is missing.

        Raises:
            MissingExtraError: names the package.
        """
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            raise MissingExtraError(
                f"prune.method: needs the package '{missing[0]}', which is not installed."
            )


def check_choice(problem: Problem, choice: Choice) -> None:
    """Raise a SolverError if a choice breaks a budget or a floor; never used before this check."""
    used = problem.used(choice.keep)
    # Sums of many costs differ in their last places with the order in which they are added.
    tolerance = 1e-9 * np.maximum(1.0, np.where(np.isfinite(problem.budget), problem.budget, 1.0))
    over = np.flatnonzero(used > problem.budget + tolerance)
    if over.size:
        worst = int(over[0])
        raise SolverError(
            f"the selection holds {used[worst]:g} {problem.resources[worst]}, "
            f"budget {problem.budget[worst]:g}."
        )
    # A method of the user's own may forget the floors.
    kept = np.bincount(problem.layer[choice.keep], minlength=len(problem.floor))
    short = np.flatnonzero(kept < problem.floor)
    if short.size:
        layer = int(short[0])
        raise SolverError(
            f"layer {layer} keeps {kept[layer]} groups, its floor is {problem.floor[layer]}."
        )
