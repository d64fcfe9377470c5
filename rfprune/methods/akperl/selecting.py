"""AKPERL: the agent decides layer by layer what fraction of the groups goes.

For an edge device it plays the task that the problem brings along. On an FPGA that is
`HardwareTask`, which keeps the budget by clipping, not by the reward: a layer keeps no more groups
than leave room for the floors of the layers after it (as AMC does, arXiv 1802.03494). Within a
layer the groups of the highest value stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.methods.agent_task import AgentMeasurement
from rfprune.methods.akperl import learn
from rfprune.methods.baselines import uniform
from rfprune.methods.coupled import select_coupled
from rfprune.methods.knapsack import knapsack
from rfprune.methods.problem import Choice, GroupTask, Method, Problem

__all__ = ["AKPERL", "HardwareTask", "akperl", "best_of", "references_of"]

#: Finer than the five levels of whole kernels: with those, a budget is missed by up to a quarter of
#: a layer.
LEVELS = tuple(step / 16 for step in range(17))


def akperl(problem: Problem) -> Choice:
    """Keep what the best decisions keep that an agent finds on this problem.

    Within a budget the answers of `uniform` and of the knapsack are always among the candidates,
    and what the agent learns from first, so that learning cannot end below them.
    """
    task = problem.task or HardwareTask(problem)
    references = references_of(problem) if task.budgeted else []
    answers = task.answers()
    if not answers:
        seed = int(problem.rng.integers(2**31))
        shown = [task.nearest(keep) for keep in references]
        policy = learn(task, problem.agent, seed, problem.agent_folder, demonstrations=shown)
        candidates = [task.keep(choice) for choice in policy.shortlist]
    else:
        # A policy that was learned for many budgets is near the best of each: measuring tells.
        candidates = sorted(map(task.keep, answers), key=task.worth, reverse=True)
        candidates = candidates[: problem.agent.shortlist]
    # A reward of the user's own may prefer another network than the most accurate one.
    if problem.agent.reward is None:
        candidates += references
    return best_of(problem, task, candidates)


def best_of(problem: Problem, task: GroupTask, candidates: Sequence[BoolArray]) -> Choice:
    """Return the candidate (G,) that is best after a short fine-tuning, or as the task measures."""
    # What the agent has found itself is not tuned a second time.
    candidates = list({keep.tobytes(): keep for keep in candidates}.values())
    if len(candidates) == 1:
        return Choice(candidates[0])
    # Measured without training, the best candidates are hard to tell apart; tuned, they are not.
    tuned = problem.tuned if problem.agent.shortlist > 1 else None
    return Choice(max(candidates, key=tuned or task.worth))


def references_of(problem: Problem) -> list[BoolArray]:
    """Return what `uniform` and the knapsack keep."""
    found = [uniform(problem).keep]
    if problem.costs_at is None:
        found.append(knapsack(problem).keep)
    else:
        found.append(select_coupled(Method(knapsack), problem, problem.costs_at).keep)
    return found


class HardwareTask:
    """A selection problem as the agent's task; pruning a layer to 100 % leaves its floor.

    Accuracy is the merit of the problem; where none can be measured, the share of the value that
    is kept takes its place. Power is the share of its dense use that the scarcest budgeted resource
    still holds.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        n_layers = len(problem.floor)
        self.layers = tuple(f"layer {index}" for index in range(n_layers))
        self.levels = LEVELS
        self.allowed: BoolArray = np.ones((n_layers, len(LEVELS)), dtype=bool)
        self.conditions = 1
        self.budgeted = bool(np.isfinite(problem.budget).any())
        self._dense = problem.used(np.ones(len(problem.value), dtype=bool))
        self._best_first: list[IntArray] = []
        for layer in range(n_layers):
            members = np.flatnonzero(problem.layer == layer)
            self._best_first.append(members[np.argsort(-problem.value[members], kind="stable")])

    def features(self, condition: int) -> FloatArray:
        """Return (0,) no statistics: the input is always that of the validation rows."""
        return np.zeros(0)

    def layer_features(self) -> FloatArray:
        """Return (L, 2 + R): shares of the groups, the value and each resource."""
        problem = self._problem
        columns = [np.ones(len(problem.value)), problem.value, *problem.cost.T]
        sums = [np.bincount(problem.layer, column, len(self.layers)) for column in columns]
        return np.stack([part / max(part.sum(), 1e-12) for part in sums], axis=1)

    def measure(self, choice: IntArray, upto: int, condition: int) -> AgentMeasurement:
        """Return merit and use with the first `upto` layers pruned, the others dense."""
        problem, keep = self._problem, self.first(choice, upto)
        # A resource without a limit, or that the dense network does not use, is no scarcity.
        counts = np.isfinite(problem.budget) & (self._dense > 0)
        shares = problem.used(keep)[counts] / self._dense[counts]
        return AgentMeasurement(
            self.worth(keep), float(shares.max(initial=0.0)) if counts.any() else 1.0
        )

    def network(self, choice: IntArray, condition: int) -> tuple[int, ...]:
        """Return the groups that every layer keeps in the end; they are the best of each."""
        kept = self._problem.layer[self.keep(choice)]
        return tuple(np.bincount(kept, minlength=len(self.layers)).tolist())

    def keep(self, choice: IntArray) -> BoolArray:
        """Return (G,) what is kept in the end."""
        return self.first(choice, len(self.layers))

    def nearest(self, keep: BoolArray) -> IntArray:
        """Return (L,) the levels that come nearest to keeping the groups in `keep` (G,)."""
        gone = np.array([1 - keep[members].mean() for members in self._best_first])
        return np.asarray(np.abs(np.array(LEVELS)[None] - gone[:, None]).argmin(axis=1))

    def worth(self, keep: BoolArray) -> float:
        """Return the merit of the network, or the part of the value, that `keep` (G,) leaves."""
        problem = self._problem
        if problem.merit is not None:
            return problem.merit(keep)
        return float(problem.value[keep].sum() / max(problem.value.sum(), 1e-12))

    def answers(self) -> list[IntArray]:
        """Return nothing: what is learned on one selection problem is not used on another."""
        return []

    def first(self, choice: IntArray, upto: int) -> BoolArray:
        """Return (G,) what is kept when the first `upto` layers are pruned within the budget."""
        keep = np.zeros(len(self._problem.value), dtype=bool)
        for members, floor in zip(self._best_first, self._problem.floor, strict=True):
            keep[members[:floor]] = True
        for layer in range(upto):
            keep[self._best_first[layer][: self._count(layer, choice[layer], keep)]] = True
        for layer in range(upto, len(self.layers)):
            keep[self._best_first[layer]] = True
        return keep

    def _count(self, layer: int, level: int, keep: BoolArray) -> int:
        """Return how many groups of a layer stay: what the level asks for, or what fits."""
        members, floor = self._best_first[layer], int(self._problem.floor[layer])
        # Kept are the first of the best, and use grows with their number: bisection finds the most.
        low, high = floor, max(floor, math.ceil((1 - LEVELS[level]) * len(members)))
        if self._fits(keep, members[:high]):
            return high
        while low < high - 1:  # `low` fits, `high` does not
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(keep, members[:middle]) else (low, middle)
        return low

    def _fits(self, keep: BoolArray, more: IntArray) -> bool:
        tried = keep.copy()
        tried[more] = True
        budget = self._problem.budget
        return bool(np.all(self._problem.used(tried) <= budget * (1 + 1e-12)))


AKPERL = Method(akperl, counts=True, learns=True)
