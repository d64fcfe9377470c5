"""Rivals of AKPERL that rfprune itself does not have, as methods that its trials can name.

Both searches play the agent's game: they measure as many different networks as the agent has
episodes, under the same conditions of the input, and their best ones are fine-tuned and compared
as the agent's are, beside the same answers of `uniform` and of the knapsack.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.agent.game import group_norms
from benchmarks.agent.searches import Ask, Enough, random_search, regularized_evolution
from rfprune.core.arrays import BoolArray, IntArray
from rfprune.edge.task import KernelTask
from rfprune.methods import Choice, Method, Problem
from rfprune.methods.akperl.selecting import best_of, references_of
from rfprune.methods.baselines import magnitude

__all__ = ["EVOLUTION", "GROUP_NORM", "RANDOM_SEARCH"]

_Search = Callable[[Ask, KernelTask, int], None]


def _searched(problem: Problem, search: _Search) -> Choice:
    """Keep what a search finds, with the measurements and the shortlist of the agent."""
    task = problem.task
    assert isinstance(task, KernelTask)
    found: dict[tuple[int, ...], tuple[float, IntArray]] = {}

    def ask(choice: IntArray) -> float:
        name = task.network(choice, 0)
        if name not in found:
            if len(found) >= problem.agent.episodes:
                raise Enough
            seen = [
                task.measure(choice, len(task.layers), condition).accuracy
                for condition in range(task.conditions)
            ]
            found[name] = float(np.mean(seen)), choice
        return found[name][0]

    with suppress(Enough):
        search(ask, task, int(problem.rng.integers(2**31)))
    best = sorted(found.values(), key=lambda pair: pair[0], reverse=True)
    kept: list[BoolArray] = [task.keep(choice) for _, choice in best[: problem.agent.shortlist]]
    return best_of(problem, task, kept + references_of(problem))


def _group_norm(problem: Problem) -> Choice:
    """Keep the kernels of the largest group norms, under one threshold for all layers."""
    task: Any = problem.task
    value = group_norms(task._model, task.layers, task._inputs[0][:1])
    assert value is not None, "pip install torch-pruning"
    return magnitude(replace(problem, value=value))


RANDOM_SEARCH = Method(lambda problem: _searched(problem, random_search), counts=True, learns=True)
EVOLUTION = Method(
    lambda problem: _searched(problem, regularized_evolution), counts=True, learns=True
)
GROUP_NORM = Method(_group_norm, counts=True, learns=True)
