"""Budgets: fractions, counts, and what cannot be reached."""

from typing import Any

import numpy as np
import pytest
from torch import nn

from rfprune.errors import BudgetError
from rfprune.groups import Groups, build_groups
from rfprune.network import plan, trace
from rfprune.pruning import (
    check_reachable,
    dense_use,
    final_fractions,
    least_use,
    step_budget,
)
from rfprune.spec import HardwareSpec, PruneSpec


def groups(hardware: dict[str, Any] | None = None, **prune: Any) -> Groups:
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    planned = plan(
        trace(model, (16,)), HardwareSpec.model_validate({"reuse_factor": 4, **(hardware or {})})
    )
    return build_groups(planned, PruneSpec.model_validate(prune))


def test_fractions_and_counts() -> None:
    found = final_fractions(dense_use(groups()), {"dsp": 0.25})
    assert found == {"dsp": 0.25}
    assert final_fractions(dense_use(groups()), {"dsp": 10}) == {"dsp": 0.25}
    assert final_fractions(dense_use(groups()), {"dsp": 4000}) == {"dsp": 1.0}


def test_a_resource_that_is_not_used_needs_no_pruning() -> None:
    latency = groups({"reuse_factor": 1})
    assert final_fractions(dense_use(latency), {"bram18": 0.0}) == {"bram18": 1.0}


def test_step_budget_runs_from_dense_to_final() -> None:
    case = dense_use(groups())
    assert step_budget(case, {"dsp": 0.25}, 0.0)[0] == 40
    assert step_budget(case, {"dsp": 0.25}, 1.0)[0] == 10
    assert step_budget(case, {"dsp": 0.25}, 0.5)[0] == 25
    assert np.isinf(step_budget(case, {"dsp": 0.25}, 0.5)[1:]).all()


def test_floors_are_the_least() -> None:
    assert least_use(groups(floor=3))[0] == 6
    check_reachable(groups(floor=3), {"dsp": 6 / 40})


@pytest.mark.parametrize(
    ("hardware", "prune", "fraction", "words"),
    [
        ({}, {"floor": 3}, 0.1, r"4 of 40 dsp cannot be reached: the floors of 2 layers .* 6"),
        (
            {"layers": {"_0": {"strategy": "resource"}}},
            {},
            0.5,
            r"20 of 40 dsp cannot be reached: 32 of them are in layers .* The least is 33",
        ),
    ],
)
def test_out_of_reach(
    hardware: dict[str, Any], prune: dict[str, Any], fraction: float, words: str
) -> None:
    with pytest.raises(BudgetError, match=words):
        check_reachable(groups(hardware, **prune), {"dsp": fraction})
