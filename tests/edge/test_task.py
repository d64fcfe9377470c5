"""The agent's game on a CNN: accuracy under masks, a budget that always holds, conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rfprune.data import load
from rfprune.data.spec import DataSpec
from rfprune.edge.budgets import BudgetedTask
from rfprune.edge.conditions import under_conditions
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.kernels import Masks, shrink, trace_kernels
from rfprune.edge.monitor import DEVICES
from rfprune.edge.shared import share_weights
from rfprune.edge.task import KernelTask, Scene, drawn_fractions
from rfprune.errors import SpecError
from rfprune.methods.akperl import check_task, learn
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.spec import AgentSpec, ConditionsSpec, EdgeSpec
from rfprune.spec.training import TrainSpec
from rfprune.training import Fit, evaluate, norms_of

DATA = load(DataSpec(name="digits_images", train_rows=200, test_rows=50), Path())
LEVELS = [0.0, 0.25, 0.5, 0.75, 1.0]


def task_of(
    budget: float | None = None, levels: list[float] = LEVELS, scene: dict[str, Any] | None = None
) -> KernelTask:
    torch.manual_seed(0)
    model = build(ModelSpec(name="edge_cnn", args={"channels": [4, 6, 8]}), (1, 8, 8), 10).eval()
    kernels = trace_kernels(model, (1, 8, 8))
    costs = EdgeCosts(kernels, DEVICES["raspberry_pi_4"], EdgeSpec())
    strengths = ConditionsSpec(noise=0.3, dark=0.5)
    inputs = under_conditions(DATA.x_val[:25], DATA, strengths, seed=1)
    limit = None if budget is None else np.array([np.inf, np.inf, budget * costs.dense[2]])
    played = Scene(inputs, DATA.y_val[:25], **(scene or {}))
    return KernelTask(model, costs, kernels.rank(model, "l2"), levels, played, limit)


def decided(task: KernelTask, choice: np.ndarray, upto: int) -> Masks:
    """Return what the first decisions leave, before the rest of a budget is filled."""
    return task.kernels.masks(task._importance, task.fractions(choice, upto))


def test_it_is_a_task_whose_whole_layers_go_only_where_a_skip_path_is() -> None:
    task = task_of()
    check_task(task)
    assert task.layers == ("stem", "down1", "residual1.conv1", "down2", "residual2.conv1")
    assert task.allowed[:, -1].tolist() == [False, False, True, False, True]
    assert task.allowed[:, :-1].all()
    assert task.conditions == 3


def test_the_dense_network_has_power_one_and_its_own_accuracy() -> None:
    task = task_of()
    found = task.measure(np.zeros(5, dtype=np.int64), 0, 0)
    assert found.power == pytest.approx(1.0)
    assert found.accuracy == evaluate(task._model, DATA.x_val[:25], DATA.y_val[:25])


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_measurement_is_that_of_the_smaller_network(data: Any) -> None:
    task = task_of()
    choice = np.array([data.draw(st.sampled_from(np.flatnonzero(row))) for row in task.allowed])
    upto = data.draw(st.integers(0, 5))
    condition = data.draw(st.integers(0, 2))
    x = list(task._scene.inputs.values())[condition]
    before = {name: value.clone() for name, value in task._model.state_dict().items()}
    smaller = shrink(task._model, decided(task, choice, upto))
    expected = evaluate(smaller, x, task._scene.targets)
    assert task.measure(choice, upto, condition).accuracy == expected
    after = task._model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_decided_the_budget_holds(data: Any) -> None:
    share = data.draw(st.floats(0.15, 1.0))
    task = task_of(share)
    choice = np.array([data.draw(st.sampled_from(np.flatnonzero(row))) for row in task.allowed])
    kept = decided(task, choice, 5).kept
    assert task._costs.resources(kept)[2] <= share * task._costs.dense[2] * (1 + 1e-9)
    asked = np.array(LEVELS)[choice]
    got = task.fractions(choice, 5)
    assert (got >= asked).all()
    whole = task.kernels.kept(asked)
    if task._costs.resources(whole)[2] <= share * task._costs.dense[2]:
        assert (got == asked).all()
    assert (kept_in_the_end(task, choice) >= kept).all()


def kept_in_the_end(task: KernelTask, choice: np.ndarray) -> np.ndarray:
    index = np.repeat(np.arange(5), task.kernels.n_kernels)
    return np.bincount(index[task.keep(choice)], minlength=5)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_what_levels_leave_of_the_budget_goes_to_kernels_of_the_same_layers(data: Any) -> None:
    task = task_of(data.draw(st.floats(0.15, 1.0)))
    choice = np.array([data.draw(st.sampled_from(np.flatnonzero(row))) for row in task.allowed])
    before, found = decided(task, choice, 5).kept, kept_in_the_end(task, choice)
    assert (found[before == 0] == 0).all()
    assert task._budget is not None
    assert (task._costs.resources(found) <= task._budget * (1 + 1e-9)).all()
    for layer in np.flatnonzero((found > 0) & (found < task.kernels.n_kernels)):
        more = found + np.eye(5, dtype=np.int64)[layer]
        assert (task._costs.resources(more) > task._budget).any()


def test_settled_norms_have_the_statistics_of_the_smaller_network() -> None:
    rows = DATA.x_train[:100]
    task = task_of(scene={"settling": rows, "by": "probability"})
    choice = np.array([1, 2, 4, 2, 0])
    smaller = shrink(task._model, decided(task, choice, 5)).train()
    for norm in norms_of(smaller).values():
        norm.momentum = 1.0
    with torch.no_grad():
        smaller(rows)
        expected = smaller.eval()(DATA.x_val[:25]).softmax(dim=1)
    right = expected[torch.arange(25), DATA.y_val[:25]].mean()
    assert task.measure(choice, 5, 0).accuracy == pytest.approx(float(right), abs=1e-5)
    assert task_of().measure(choice, 5, 0) != task.measure(choice, 5, 0)


def test_conditions_are_seen_in_the_statistics() -> None:
    task = task_of()
    clean, noise, dark = (task.features(c) for c in range(3))
    mean, noise_estimate = 0, 2
    assert noise[noise_estimate] > clean[noise_estimate]
    assert dark[mean] == pytest.approx(0.5 * clean[mean], rel=1e-5)
    again = task_of()
    assert all(np.array_equal(task.features(c), again.features(c)) for c in range(3))


def test_the_dark_is_dark_also_for_standardised_images() -> None:
    spec = DataSpec(name="digits_images", train_rows=200, standardize=True)
    data = load(spec, Path())
    x = data.x_val[:5]
    dark = under_conditions(x, data, ConditionsSpec(dark=0.25), 0)["dark"]
    raw, raw_dark = (part * data.scale + data.offset for part in (x, dark))
    assert torch.allclose(raw_dark, 0.75 * raw, atol=1e-4)


def test_what_is_measured_in_the_end_is_what_is_kept() -> None:
    task = task_of(0.3, scene={"settling": DATA.x_train[:60]})
    choice = np.array([3, 2, 0, 1, 4])
    keep = task.keep(choice)
    assert keep.sum() > decided(task, choice, 5).kept.sum()
    assert task.measure(choice, 5, 0).accuracy == task.worth(keep)


def test_the_nearest_levels_are_those_of_a_network_that_levels_make() -> None:
    task = task_of()
    for choice in ([0, 1, 2, 3, 4], [3, 0, 4, 1, 2]):
        assert task.nearest(task.keep(np.array(choice))).tolist() == choice
    # All of a layer goes only where a skip path is.
    assert task.nearest(np.zeros(int(task.kernels.n_kernels.sum()), dtype=bool)).tolist() == [
        *(3, 3, 4, 3, 4)
    ]


def test_one_game_for_several_budgets() -> None:
    own = task_of(0.5)
    game = BudgetedTask(own, [0.5, 0.3])
    check_task(game)
    assert game.conditions == 6
    shares = [game.features(c)[-1] for c in range(6)]
    assert shares == pytest.approx([0.5] * 3 + [0.3] * 3)
    choice = np.zeros(5, dtype=np.int64)
    for share, condition in ((0.5, 1), (0.3, 4)):
        found = game.measure(choice, 5, condition)
        assert found == own.within(share).measure(choice, 5, 1)
        assert found.power <= share * (1 + 1e-9)
    assert (game.keep(choice) == own.keep(choice)).all()


def test_a_policy_answers_budgets_between_those_it_was_learned_for() -> None:
    own = task_of(0.3)
    spec = AgentSpec(episodes=6, warmup_episodes=2, gradient_steps=1, evaluate_every=3)
    policy = learn(BudgetedTask(own, [0.6, 0.9]), spec, seed=0)
    assert policy.state.mean.shape == (len(own.features(0)) + 1,)
    asked = own.within(0.45)
    asked.policy = policy
    answers = asked.answers()
    names = [asked.network(answer, 0) for answer in answers]
    assert 1 < len(names) == len(set(names)) <= 8
    assert answers[0].tolist() == policy.choose(np.append(asked.features(0), 0.45)).tolist()
    for answer, name in zip(answers, names, strict=True):
        kept = kept_in_the_end(asked, answer)
        assert kept.tolist() == list(name)
        assert asked._costs.resources(kept)[2] <= 0.45 * asked._costs.dense[2] * (1 + 1e-9)
    assert own.answers() == []
    other = task_of(0.3, [0.0, 0.5])
    other.policy = policy
    with pytest.raises(SpecError, match=r"edge.agent_policy: was learned for the layers stem"):
        other.answers()


def test_a_shared_network_learns_under_masks_and_leaves_the_dense_one_alone() -> None:
    task = task_of(scene={"settling": DATA.x_train[:100], "by": "probability"})
    dense = task._model
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    train = TrainSpec(batch_size=32, learning_rate=1e-2, device="cpu")
    how = Fit(2, 1e-2, train, seed=0)
    rows = (DATA.x_train, DATA.y_train)
    shared = share_weights(dense, task.drawn, *rows, how)
    assert all(torch.equal(before[name], value) for name, value in dense.state_dict().items())
    again = share_weights(dense, task.drawn, *rows, how)
    for (name, one), other in zip(
        shared.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    learned = task_of(scene={"settling": DATA.x_train[:100], "by": "probability"})
    learned._model = shared
    for choice in ([2, 2, 0, 2, 0], [3, 3, 4, 3, 4]):
        small = np.array(choice)
        # Trained: better than a tenth, which the untrained network gives the right class.
        assert learned.measure(small, 5, 0).accuracy > task.measure(small, 5, 0).accuracy


def test_networks_of_the_game_are_drawn_within_its_budget() -> None:
    task, rng = task_of(0.4), np.random.default_rng(0)
    kept = {tuple(task.drawn(rng).kept.tolist()) for _ in range(40)}
    assert len(kept) > 10
    for one in kept:
        assert task._costs.resources(np.array(one))[2] <= 0.4 * task._costs.dense[2] * (1 + 1e-9)
    free = task_of()
    sizes = [free.drawn(rng).kept.sum() / free.kernels.n_kernels.sum() for _ in range(200)]
    assert min(sizes) < 0.3
    assert max(sizes) > 0.9


def test_networks_of_all_sizes_are_drawn() -> None:
    rng, allowed = np.random.default_rng(0), task_of().allowed
    drawn = [drawn_fractions(np.array(LEVELS), allowed, rng.random(6)) for _ in range(400)]
    assert all(allowed[np.arange(5), np.searchsorted(LEVELS, row)].all() for row in drawn)
    means = np.array([row.mean() for row in drawn])
    assert means.min() < 0.1
    assert means.max() > 0.8
    assert np.quantile(means, [0.25, 0.75]) == pytest.approx([0.25, 0.7], abs=0.1)
