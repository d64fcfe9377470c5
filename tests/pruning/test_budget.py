"""Budgets: what a file says becomes an amount once, and a whole number stays that number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from rfprune.core.quantities import RESOURCES
from rfprune.errors import SpecError
from rfprune.fpga.groups import build_groups
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.prunable import GroupPrunable
from rfprune.methods import Problem, find_method
from rfprune.pruning import final_amounts, step_budget
from rfprune.pruning.budget import step_fractions
from rfprune.spec import HardwareSpec, PruneSpec
from rfprune.spec.pruning import budget_amount
from rfprune.spec.yaml_files import parse_spec


def prunable(hardware: dict[str, Any] | None = None, **prune: Any) -> GroupPrunable:
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    planned = plan(
        trace(model, (16,)), HardwareSpec.model_validate({"reuse_factor": 4, **(hardware or {})})
    )
    return GroupPrunable(build_groups(planned, PruneSpec.model_validate(prune)), False)


def test_fractions_and_counts() -> None:
    dense = prunable().dense
    assert dense["dsp"] == 40
    assert final_amounts(dense, {"dsp": 0.25}) == {"dsp": 10}
    assert final_amounts(dense, {"dsp": 10}) == {"dsp": 10}
    assert final_amounts(dense, {"dsp": 4000}) == {"dsp": 40}


def test_a_resource_that_is_not_used_needs_no_pruning() -> None:
    latency = prunable({"reuse_factor": 1})
    assert final_amounts(latency.dense, {"bram18": 0.0}) == {"bram18": 0.0}
    assert latency.least["bram18"] == 0.0
    final = {"bram18": 0.0}
    assert all(step_fractions(latency.dense, final, p) == {"bram18": 1.0} for p in (0.0, 0.5, 1.0))


def test_step_budget_runs_from_dense_to_final() -> None:
    dense = prunable().dense
    assert step_budget(RESOURCES, dense, {"dsp": 10.0}, 0.0)[0] == 40
    assert step_budget(RESOURCES, dense, {"dsp": 10.0}, 1.0)[0] == 10
    assert step_budget(RESOURCES, dense, {"dsp": 10.0}, 0.5)[0] == 25
    assert np.isinf(step_budget(RESOURCES, dense, {"dsp": 10.0}, 0.5)[1:]).all()


def test_floors_are_the_least() -> None:
    assert prunable(floor=3).least["dsp"] == 6


@pytest.mark.parametrize(
    ("said", "dense", "amount"),
    [
        (0.3, 276, 0.3 * 276),
        ("30 %", 276, 0.3 * 276),
        ("30%", 276, 0.3 * 276),
        (" 12.5 % ", 1000, 125),
        ("100 %", 40, 40),
        ("0 %", 40, 0),
        (1, 40, 40),
        (1.0, 40, 40),
        ("1", 40, 1),
        ("1.0", 40, 1),
        ("0.5", 40, 0.5),
        (2, 40, 2),
        ("40", 296, 40),
        (40, 296, 40),
        ("1e2", 296, 100),
        ("400", 296, 296),
        (0, 40, 0),
        ("0", 40, 0),
    ],
)
def test_what_a_file_says_as_an_amount(said: float | str, dense: float, amount: float) -> None:
    spec = parse_spec(PruneSpec, {"budget": {"dsp": said}}, "one.yml")
    assert budget_amount(spec.budget["dsp"], dense) == amount


@pytest.mark.parametrize("percent", range(101))
@pytest.mark.parametrize("dense", [1, 7, 276, 296, 2868])
def test_a_percentage_is_the_fraction_of_the_same_value(percent: int, dense: int) -> None:
    assert budget_amount(f"{percent} %", dense) == budget_amount(percent / 100, dense)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "'' is not a budget"),
        ("thirty", "'thirty' is not a budget"),
        ("30 dsp", "'30 dsp' is not a budget"),
        ("-1", "'-1' is not a budget"),
        ("130 %", "'130 %' is not a budget"),
        ("% 30", "'% 30' is not a budget"),
        ("nan", "'nan' is not a budget"),
        ("inf", "'inf' is not a budget"),
        (-0.5, "must be at least 0"),
        (float("nan"), "must be a finite number"),
        (float("inf"), "must be a finite number"),
        (True, "must be a number"),
        (None, "must be a number"),
        ([40], "must be a number"),
    ],
)
def test_what_is_not_a_budget(said: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(PruneSpec, {"budget": {"dsp": said}}, "one.yml")
    text = str(caught.value)
    assert "one.yml" in text
    assert "budget.dsp" in text
    assert message in text
    if "is not a budget" in message:
        assert '"1" for one unit, "30 %" for a fraction' in text
    assert "\n" not in text


LAYERS = st.lists(st.integers(1, 900), min_size=1, max_size=4)


@settings(max_examples=150)
@given(LAYERS, st.integers(0, 2), st.floats(0, 1))
@example([256, 40], 1, 0.5)
@example([1000], 0, 0.5)
def test_a_whole_budget_stays_that_number(sizes: list[int], floor: int, progress: float) -> None:
    """Every one between what is least and what is dense, tens of thousands of them."""
    dense, least = {"dsp": float(sum(sizes))}, sum(min(floor, size) for size in sizes)
    for wanted in range(least, sum(sizes) + 1):
        # Up to 1 a bare number is a fraction.
        for said in (f"{wanted}", *([float(wanted)] if wanted > 1 else [])):
            final = final_amounts(dense, {"dsp": said})
            assert final == {"dsp": wanted}
            assert step_budget(["dsp"], dense, final, 1.0).tolist() == [wanted]
        between = step_budget(["dsp"], dense, final, progress)[0]
        assert min(wanted, dense["dsp"]) <= between <= dense["dsp"]


@settings(max_examples=40)
@given(LAYERS, st.integers(0, 2), st.integers(0, 2**32 - 1), st.data())
@example([256, 40], 1, 0, None)
def test_the_knapsack_keeps_exactly_as_many_groups_as_a_whole_budget_says(
    sizes: list[int], floor: int, seed: int, data: Any
) -> None:
    rng = np.random.default_rng(seed)
    layer = np.repeat(np.arange(len(sizes)), sizes)
    floors = np.minimum(floor, sizes).astype(np.int64)
    cost = np.ones((len(layer), 1))
    dense = {"dsp": float(len(layer))}
    least = max(1, int(floors.sum()))
    drawn = (
        [40] if data is None else data.draw(st.lists(st.integers(least, len(layer)), max_size=6))
    )
    method = find_method("knapsack")
    for wanted in {least, len(layer), *drawn}:
        final = final_amounts(dense, {"dsp": f"{wanted}"})
        problem = Problem(
            value=rng.random(len(layer)) + 0.01,
            cost=cost,
            budget=step_budget(["dsp"], dense, final, 1.0),
            layer=layer,
            floor=floors,
            used=lambda keep: cost[keep].sum(axis=0),
            rng=rng,
            resources=["dsp"],
        )
        assert int(method.select(problem).keep.sum()) == wanted
