"""Which level a policy picks: harder input, less pruning; smaller budget, more; no flutter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.edge.adaptive import LevelPolicy, LevelTable, LevelTask, TableRule, agent_rule
from rfprune.errors import DataError, SpecError
from rfprune.methods.akperl import Policy, check_task, learn
from rfprune.methods.akperl.state import state_of
from rfprune.spec.agent import AgentSpec, RewardSpec
from tests.edge.adaptive.made import network, table

CLEAN, NOISY, DARK = table().mean
BUDGETS = st.none() | st.floats(0, 2000)
FEATURES = st.tuples(st.floats(-2, 2), st.floats(-2, 2)).map(np.array)


@st.composite
def tables(draw):
    n_levels = draw(st.integers(2, 5))
    shares = st.lists(st.floats(0, 1), min_size=n_levels, max_size=n_levels)
    powers = st.lists(st.floats(1, 2000), min_size=n_levels, max_size=n_levels)
    return replace(
        table(),
        accuracy=np.array([draw(shares) for _ in range(3)]),
        power_mw=np.array(sorted(draw(powers), reverse=True)),
    )


def limit(budget):
    return np.inf if budget is None else budget


@given(tables(), st.none() | st.floats(0, 1), FEATURES, BUDGETS, BUDGETS)
def test_more_budget_is_never_less_power_nor_less_accuracy(made, least, features, one, other):
    rule = TableRule(made, least)
    low, high = sorted((one, other), key=limit)
    accuracy = made.accuracy[made.nearest(features)]
    first, second = rule.wanted(features, low), rule.wanted(features, high)
    assert made.power_mw[first] <= made.power_mw[second]
    if low is not None and made.power_mw.min() <= low:
        assert made.power_mw[first] <= low
        good = np.inf if least is None else least
        assert min(accuracy[first], good) <= min(accuracy[second], good)


@given(tables(), st.none() | st.floats(0, 1), FEATURES, BUDGETS)
def test_the_rule_picks_what_enumeration_finds(made, least, features, budget):
    accuracy = made.accuracy[made.nearest(features)]
    levels = range(len(made.power_mw))
    inside = [a for a in levels if made.power_mw[a] <= limit(budget)]
    inside = inside or [a for a in levels if made.power_mw[a] == made.power_mw.min()]
    enough = [a for a in inside if least is not None and accuracy[a] >= least]
    if enough:
        best = min(enough, key=lambda a: made.power_mw[a])
    else:
        best = min(inside, key=lambda a: (-accuracy[a], made.power_mw[a]))
    assert TableRule(made, least).wanted(features, budget) == best


def test_harder_input_is_pruned_less_and_a_smaller_budget_more():
    rule = TableRule(table(), least_accuracy=0.8)
    assert [rule.wanted(f, None) for f in (CLEAN, NOISY, DARK)] == [2, 1, 1]
    assert [rule.wanted(NOISY, mw) for mw in (2000, 1000, 700, 500, 10)] == [1, 1, 2, 3, 3]
    assert [TableRule(table()).wanted(CLEAN, mw) for mw in (None, 900, 700, 399)] == [0, 1, 2, 3]


@given(st.lists(st.sampled_from([0, 1, 2]), max_size=40), st.integers(1, 5))
def test_a_level_changes_only_after_its_rule_wants_another_for_some_batches(conditions, hold):
    policy = LevelPolicy(TableRule(table(), 0.8), hold)
    wanted = [policy.rule.wanted(table().mean[c], None) for c in conditions]
    levels = [policy.choose(table().mean[c]) for c in conditions]
    for i in range(1, len(levels)):
        if levels[i] != levels[i - 1]:
            assert wanted[i - hold + 1 : i + 1] == [levels[i]] * hold
        elif i >= hold - 1 and len(set(wanted[i - hold + 1 : i + 1])) == 1:
            assert levels[i] == wanted[i]


def test_an_input_at_the_border_does_not_flutter():
    policy = LevelPolicy(TableRule(table(), 0.8), hold=3)
    levels = [policy.choose(f) for f in [CLEAN, NOISY, NOISY] * 10]
    assert set(levels) == {2}


def test_a_budget_that_falls_counts_at_once_and_one_that_rises_later():
    policy = LevelPolicy(TableRule(table()), hold=3)
    budgets = [None, None, 500, 500, 1500, 1500, 1500, 1500, 700]
    assert [policy.choose(CLEAN, mw) for mw in budgets] == [0, 0, 3, 3, 3, 3, 0, 0, 2]
    policy.reset()
    assert policy.level is None


def prefers(levels, choice_of):
    """Return an agent with one decision and hand-made weights: Q is largest at the given level."""
    task = LevelTask(table(), (0.0, 0.25, 0.5, 0.75))
    check_task(task)
    state = state_of(task, AgentSpec())
    weight = np.zeros((4, state.size), dtype=np.float32)
    bias = np.zeros(4, dtype=np.float32)
    bias[choice_of[0]] = 1
    # The second statistic is the noise; after monitor's two entries.
    weight[choice_of[1], 3] = 10
    return Policy(
        state=state,
        weights=((weight, bias),),
        conditions=np.stack([state.standardised(row) for row in table().mean]),
        readings=np.ones((3, 2, 2)),
        best_choice=np.zeros((3, 1), dtype=np.int64),
    )


def test_an_agent_is_followed_as_far_as_the_budget_allows():
    _, levels = network()
    rule = agent_rule(prefers(levels, (3, 0)), levels, table().power_mw)
    assert [rule.wanted(f, None) for f in (CLEAN, NOISY)] == [3, 0]
    assert [rule.wanted(NOISY, mw) for mw in (1000, 999, 600, 100)] == [0, 1, 2, 3]
    assert LevelPolicy(rule, hold=1).choose(NOISY, 650) == 2


def test_an_agent_of_other_layers_is_refused():
    _, levels = network()
    agent = prefers(levels, (3, 0))
    other = replace(agent, state=replace(agent.state, layers=("conv9", "conv10")))
    with pytest.raises(SpecError, match="decides about conv9, conv10, but the prunable layers are"):
        agent_rule(other, levels, table().power_mw)


@pytest.mark.slow
def test_an_agent_learns_the_best_level_of_each_condition():
    reward = RewardSpec(alpha=1.0, beta=0.4)
    made, fractions = table(), (0.0, 0.25, 0.5, 0.75)
    policy = learn(LevelTask(made, fractions), AgentSpec(episodes=300, reward=reward), seed=0)
    _, levels = network()
    rule = agent_rule(policy, levels, made.power_mw)
    best = np.argmax(made.accuracy - 0.4 * made.power_mw / made.power_mw[0], axis=1)
    assert [rule.wanted(row, None) for row in made.mean] == best.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"power_mw": np.array([1.0, 2.0])}, "accuracy has the shape"),
        ({"scale": np.array([0.1, np.nan])}, "scale has the shape"),
        ({"scale": np.array([0.1, 0.0])}, "must be above 0"),
        ({"conditions": ("clean",)}, "mean has the shape"),
    ],
)
def test_a_table_that_contradicts_itself(change, message):
    with pytest.raises(DataError, match=message):
        LevelTable(**{**vars(table()), **change})


def test_wrong_settings_and_inputs_are_one_sentence():
    with pytest.raises(SpecError, match=r"least_accuracy: nan. Allowed: a number, or none"):
        TableRule(table(), float("nan"))
    with pytest.raises(SpecError, match="hold: 0"):
        LevelPolicy(TableRule(table()), 0)
    with pytest.raises(DataError, match="expected 2 finite numbers"):
        TableRule(table()).wanted(np.array([0.5]), None)
    with pytest.raises(DataError, match="power budget: nan"):
        TableRule(table()).wanted(CLEAN, float("nan"))
