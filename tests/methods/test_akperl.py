"""The agent on hardware groups: its choices hold the budget, and are good ones."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import MissingExtraError
from rfprune.methods import Problem, check_choice, find_method
from rfprune.methods.akperl.selecting import LEVELS, HardwareTask
from rfprune.results import TrialFolder
from rfprune.spec import AgentSpec
from rfprune.trial import prepare
from rfprune.trial.dense import dense_network
from rfprune.trial.run import run_trial
from tests.trial.conftest import small

LEVEL = st.integers(0, len(LEVELS) - 1)


def _problem(budget: float, floor: int = 1, **changes) -> Problem:
    """Three layers with 8, 16 and 32 groups, whose groups cost 4, 2 and 1."""
    layer = np.repeat([0, 1, 2], [8, 16, 32]).astype(np.int64)
    cost = np.array([4.0, 2.0, 1.0])[layer][:, None]
    values = {
        "value": np.random.default_rng(0).random(56),
        "cost": cost,
        "budget": np.array([budget]),
        "layer": layer,
        "floor": np.full(3, floor),
        "used": lambda keep: cost[keep].sum(axis=0),
        "rng": np.random.default_rng(0),
    }
    return Problem(**{**values, **changes})


@given(st.lists(LEVEL, min_size=3, max_size=3), st.integers(0, 2), st.floats(14, 96))
def test_any_decisions_hold_budget_and_floors(choice, floor: int, budget: float) -> None:
    problem = _problem(budget, floor)
    keep = HardwareTask(problem).keep(np.array(choice))
    assert problem.used(keep)[0] <= budget
    kept = np.bincount(problem.layer[keep], minlength=3)
    assert (kept >= floor).all()
    for layer, level in enumerate(choice):
        members = problem.layer == layer
        assert kept[layer] <= max(floor, np.ceil((1 - LEVELS[level]) * members.sum()))
        values = problem.value[members]
        if 0 < kept[layer] < members.sum():
            assert values[keep[members]].min() >= values[~keep[members]].max()


def test_what_does_not_fit_is_cut_where_it_is_decided() -> None:
    # The first layer and the floors of the others hold 35 of 40: two more at 2 fit, and one at 1.
    task = HardwareTask(_problem(40.0))
    keep = task.keep(np.zeros(3, dtype=np.int64))
    assert np.bincount(task._problem.layer[keep]).tolist() == [8, 3, 2]


def test_without_a_limit_nothing_has_to_go() -> None:
    task = HardwareTask(_problem(np.inf))
    assert task.keep(np.zeros(3, dtype=np.int64)).all()
    assert task.measure(np.zeros(3, dtype=np.int64), 3, 0).power == 1.0


def test_layers_that_are_not_decided_are_dense() -> None:
    task = HardwareTask(_problem(20.0))
    keep = task.first(np.array([16, 0, 0]), 1)
    assert np.bincount(task._problem.layer[keep]).tolist() == [1, 16, 32]


def test_its_choice_is_near_the_best_that_its_levels_allow() -> None:
    spec = AgentSpec(episodes=150, hidden=[32, 32])
    problem = _problem(40.0, agent=spec)

    def accuracy(keep: np.ndarray) -> float:
        share = np.bincount(problem.layer, problem.value * keep) / np.bincount(
            problem.layer, problem.value
        )
        return float(np.prod(share ** np.array([0.5, 0.2, 0.3])))

    measured = _problem(40.0, agent=spec, merit=accuracy)
    choice = find_method("akperl").select(measured)
    check_choice(measured, choice)
    task = HardwareTask(measured)
    every = itertools.product(range(len(LEVELS)), repeat=3)
    best = max(accuracy(task.keep(np.array(levels))) for levels in every)
    assert accuracy(choice.keep) >= 0.98 * best


def test_of_a_shortlist_the_one_that_tunes_best_is_kept() -> None:
    tried: list[np.ndarray] = []

    def tuned(keep: np.ndarray) -> float:
        tried.append(keep)
        return float(keep @ np.arange(len(keep)))

    spec = AgentSpec(episodes=20, warmup_episodes=5, hidden=[16], shortlist=4)
    choice = find_method("akperl").select(_problem(40.0, agent=spec, tuned=tuned))
    # Four of its own, and what uniform and the knapsack keep; none is tuned twice.
    assert 4 <= len(tried) <= 6
    assert len({keep.tobytes() for keep in tried}) == len(tried)
    best = max(tried, key=lambda keep: float(keep @ np.arange(len(keep))))
    assert (choice.keep == best).all()


def test_a_trial_prunes_with_the_agent_within_its_budget(tmp_path: Path) -> None:
    agent = {"episodes": 30, "warmup_episodes": 5, "hidden": [16]}
    spec = small(prune={"method": "akperl", "agent": agent, "tolerance": 0.5})
    folder = TrialFolder(tmp_path / "trials" / "0000")
    result = run_trial(spec, folder, dense_dir=tmp_path / "dense", base_dir=tmp_path)
    assert result.state == "complete"
    steps = folder.steps()
    assert len(steps) > 1
    for step in steps[1:]:
        assert step.values["dsp"] <= step.fraction["dsp"] * steps[0].values["dsp"] * (1 + 1e-9)
    again = TrialFolder(tmp_path / "again" / "0000")
    run_trial(spec, again, dense_dir=tmp_path / "dense", base_dir=tmp_path)
    assert [s.values["val_accuracy"] for s in again.steps()] == [
        s.values["val_accuracy"] for s in steps
    ]


def test_masked_accuracy_is_that_of_the_masked_network_and_leaves_it_alone(tmp_path: Path) -> None:
    spec = small()
    prepared = prepare(spec, tmp_path)
    dense = dense_network(spec, prepared.data, prepared.task, tmp_path / "dense", tmp_path)
    session = prepared.session(dense, prepared.data)
    n_groups = len(session.prunable.layer_index)
    before = {name: value.clone() for name, value in session.model.state_dict().items()}
    keep = np.random.default_rng(0).random(n_groups) < 0.5
    found = session.masked_merit(keep)
    for name, value in session.model.state_dict().items():
        assert torch.equal(value, before[name])
    for name, mask in session.prunable.by_parameter(session.prunable.masks(keep)).items():
        session.model.get_parameter(name).data.mul_(mask)
    assert found == session.measured().metrics[f"val_{session.task.score}"]
    assert session.masked_merit(np.ones(n_groups, dtype=bool)) == found


def test_a_missing_package_is_said_before_any_training(tmp_path: Path) -> None:
    """A method of the user's own says what it needs."""
    (tmp_path / "own_method.py").write_text(
        "from rfprune.methods import Method\n"
        "from rfprune.methods.baselines import greedy\n"
        "OWN = Method(greedy, needs=('numpy', 'no_such_solver'))\n"
    )
    spec = small(prune={"method": "own_method:OWN"})
    with pytest.raises(MissingExtraError, match=r"prune.method: needs .* 'no_such_solver'"):
        prepare(spec, tmp_path)
