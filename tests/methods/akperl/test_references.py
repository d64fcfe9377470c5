"""What others would keep: always among the agent's candidates, and what it learns from first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rfprune.methods import Problem, check_choice
from rfprune.methods.akperl import MeasuredTask, learn
from rfprune.methods.akperl.learner import Learner
from rfprune.methods.akperl.selecting import HardwareTask, akperl
from rfprune.methods.baselines import uniform
from rfprune.methods.knapsack import knapsack
from rfprune.spec import AgentSpec
from tests.methods.akperl.tasks import Toy, enumerate_best, environment_of

QUICK = AgentSpec(episodes=2, warmup_episodes=1, gradient_steps=1, evaluate_every=1)


def problem(seed: int = 0, **changes: object) -> Problem:
    """Return 4 layers of 12 groups; what is kept of the middle ones matters most."""
    rng = np.random.default_rng(seed)
    layer = np.repeat(np.arange(4), 12)
    value = rng.uniform(0.1, 1, 48) * np.array([0.2, 2.0, 3.0, 0.5])[layer]
    cost = np.repeat([[4.0], [1.0], [1.0], [3.0]], 12, axis=0)

    def used(keep: np.ndarray) -> np.ndarray:
        return np.asarray(cost[keep].sum(axis=0))

    asked = Problem(
        value=value,
        cost=cost,
        budget=np.array([30.0]),
        layer=layer,
        floor=np.ones(4, dtype=np.int64),
        used=used,
        rng=np.random.default_rng(seed),
        agent=QUICK,
    )
    return replace(asked, **changes)


def test_learning_cannot_end_below_the_knapsack() -> None:
    asked = problem()
    found = akperl(asked)
    check_choice(asked, found)
    best = asked.value[knapsack(asked).keep].sum()
    # Without a network to measure, value is what is measured, and the knapsack's is the most.
    assert asked.value[found.keep].sum() == pytest.approx(best)


def test_uniform_is_tried_as_well() -> None:
    asked = problem()
    even = uniform(asked).keep

    def likes_even(keep: np.ndarray) -> float:
        return float((keep == even).mean())

    assert (akperl(replace(asked, merit=likes_even)).keep == even).all()
    tuned = replace(asked, tuned=likes_even, agent=QUICK.model_copy(update={"shortlist": 3}))
    assert (akperl(tuned).keep == even).all()


def test_the_nearest_levels_keep_about_as_much() -> None:
    asked = problem()
    task = HardwareTask(asked)
    keep = knapsack(asked).keep
    again = task.keep(task.nearest(keep))
    assert np.abs(np.bincount(asked.layer[again]) - np.bincount(asked.layer[keep])).max() <= 1


def test_a_demonstration_is_remembered_and_compared() -> None:
    toy = Toy(n_layers=4)
    best = enumerate_best(environment_of(toy, AgentSpec()))
    learner = Learner(MeasuredTask(toy), QUICK, 0, None, None, [best.choice])
    learner._watch()
    replay = learner.agent.replay
    assert len(replay) == 4
    assert replay.arrays["action"][:4].tolist() == best.choice.tolist()
    assert learner.agent.decisions == 0
    # Two episodes find nothing better than the best of all.
    policy = learn(Toy(n_layers=4), QUICK, 0, demonstrations=[best.choice])
    assert policy.shortlist[0].tolist() == best.choice.tolist()
    assert policy.best_choice[0].tolist() == best.choice.tolist()
