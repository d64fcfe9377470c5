"""Searches, the agent among them, with the same number of measured networks."""

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
LEARNED = (0.2, 0.275, 0.35, 0.425, 0.5, 0.575, 0.65)
#: Episodes of that policy over all of its budgets, and random searches for each budget asked for.
EPISODES, SEARCHES = 240, 3
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
        # As trials have it: it begins with what `uniform` and the knapsack keep.
        "agent": (agent, {"shown": shown, "most": most}),
        "agent, shown nothing": (agent, {"most": most}),
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
    task, references = game.shared_for(LEARNED)[0], game.references()
    shown = [task.nearest(references[name]) for name in ("uniform", "knapsack")]
    spec = AgentSpec(
        episodes=EPISODES, measure_every=len(task.layers), evaluate_every=EPISODES // 4
    )
    learned_for = BudgetedTask(task.within(LEARNED[0]), LEARNED[1:])
    before = len(task._accuracies)
    policy, learning = cpu(lambda: learn(learned_for, spec, game.seed, demonstrations=shown))
    learned = len(task._accuracies) - before
    rows = []
    for share in ASKED:
        asked = task.within(share)
        asked.policy = policy
        answers, seconds = cpu(lambda t=asked: _answers(t))
        known: dict[bytes, float] = {}
        searches = [Counted(asked, most, known) for _ in range(SEARCHES)]
        _, searching = cpu(run, random_search, searches[0], game.seed)
        for seed, counted in enumerate(searches[1:], 1):
            run(random_search, counted, game.seed + seed)
        rows.append(
            {
                "budget": share,
                "policy": max(answers),
                "first": answers[0],
                "measured": len(answers),
                "policy_seconds": seconds,
                "search": float(np.mean([counted.best[0] for counted in searches])),
                "searched": len(searches[0].measured),
                "search_seconds": searching,
                "one_random": float(np.mean(list(searches[0].measured.values()))),
            }
        )
    return {"learning_seconds": learning, "learned": learned, "rows": rows}


def _answers(task: KernelTask) -> list[float]:
    """Return what the networks are worth that the policy proposes, its own choice first."""
    return [task.worth(task.keep(choice)) for choice in task.answers()]
