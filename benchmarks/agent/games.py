"""Searches, the agent among them, with the same number of measured networks."""

import time
from typing import Any

import numpy as np

from benchmarks.agent.game import Game, cpu, levels_of
from benchmarks.agent.searches import Counted, agent, random_search, regularized_evolution, run
from rfprune.core.arrays import BoolArray
from rfprune.edge.budgets import BudgetedTask
from rfprune.edge.task import KernelTask
from rfprune.methods.akperl import learn
from rfprune.spec import AgentSpec

#: Budgets that one policy is asked for, as parts of the dense network's energy.
ASKED = tuple(round(float(share), 3) for share in np.linspace(0.2, 0.65, 10))
LEARNED = (0.2, 0.35, 0.5, 0.65)
#: Trainings of each answer, of which the mean counts.
TRAININGS = 2


def played(game: Game, most: int, seeds: int) -> dict[str, Any]:
    """Return what each search finds, by seed, and how good the optimum is."""
    task, references = game.shared[0], game.references()
    known: dict[bytes, float] = {}
    kept: dict[bytes, BoolArray] = {}
    everything = Counted(task, 10**9, known, kept)
    for choice in levels_of(task):
        everything(choice.astype(np.int64))
    shown = tuple(task.nearest(references[name]) for name in ("uniform", "knapsack"))
    searches = {
        "random search": (random_search, {}),
        "regularized evolution": (regularized_evolution, {}),
        "agent": (agent, {"most": most}),
        "agent, shown uniform and knapsack": (agent, {"shown": shown, "most": most}),
    }
    rows, answers = {}, {"exhaustive": [everything.best[1]]}
    for name, (search, more) in searches.items():
        found, seconds = [], 0.0
        for seed in range(seeds):
            counted = Counted(task, most, known, kept)
            _, taken = cpu(lambda s=search, c=counted, i=seed, m=more: run(s, c, i, **m))
            found.append(counted.best)
            seconds += taken / seeds
        rows[name] = {"worth": [worth for worth, _ in found], "seconds": seconds}
        answers[name] = [key for _, key in found]
    for name, keep in references.items():
        rows[name] = {"worth": [game.worth(keep)], "seconds": 0.0}
        answers[name] = [keep.tobytes()]
    rows["exhaustive"] = {"worth": [everything.best[0]], "seconds": 0.0}
    return {"networks": len(known), "searches": rows, "tuned": _tuned(game, answers)}


def _tuned(game: Game, answers: dict[str, list[bytes]]) -> dict[str, list[float]]:
    """Return the accuracy on test rows of what each search answers, after fine-tuning.

    A search's shortlist of one; two of its seeds stand for it, since fine-tuning is what costs.
    """
    return {
        name: [game.truth(np.frombuffer(key, dtype=bool).copy(), TRAININGS) for key in keys[:2]]
        for name, keys in answers.items()
    }


def answered(game: Game, most: int) -> dict[str, Any]:
    """Return what one policy answers for ten budgets beside a search for each."""
    task = game.shared[0]
    begun = time.process_time()
    spec = AgentSpec(episodes=400, measure_every=len(task.layers), gradient_steps=2)
    policy = learn(BudgetedTask(task.within(LEARNED[0]), LEARNED[1:]), spec, game.seed)
    learning = time.process_time() - begun
    rows = []
    for share in ASKED:
        asked = task.within(share)
        asked.policy = policy
        answer, seconds = cpu(lambda t=asked: _answer(t))
        counted = Counted(asked, most, {})
        _, searching = cpu(lambda c=counted: run(random_search, c, game.seed))
        rows.append(
            {
                "budget": share,
                "policy": asked.worth(answer),
                "policy_seconds": seconds,
                "search": counted.best[0],
                "search_seconds": searching,
                "one_random": float(np.mean(list(counted.measured.values()))),
            }
        )
    return {"learning_seconds": learning, "rows": rows}


def _answer(task: KernelTask) -> BoolArray:
    choice = task.answer()
    assert choice is not None
    return task.keep(choice)
