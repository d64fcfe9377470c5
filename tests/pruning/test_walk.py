"""A budget that is a range: walked by one trial from its high to its low end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import SpecError
from rfprune.pruning import final_amounts
from rfprune.pruning.budget import step_amounts, walked_growth
from rfprune.results import TrialFolder
from rfprune.spec import PruneSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.trial.run import run_trial
from tests.trial.conftest import small


@given(st.floats(0.01, 0.4), st.floats(0.5, 1.0), st.integers(2, 20), st.floats(10.0, 5000.0))
def test_the_first_step_is_the_high_end_the_last_the_low_one(
    low: float, high: float, steps: int, dense: float
) -> None:
    budget = {"dsp": {"low": low, "high": high}, "lut": 100.0}
    uses = {"dsp": dense, "lut": 400.0}
    final = final_amounts(uses, budget)
    growth = walked_growth(uses, budget, steps)
    walk = [step_amounts(uses, final, k / steps, growth) for k in range(1, steps + 1)]
    amounts = np.array([amount["dsp"] for amount in walk])
    np.testing.assert_allclose(amounts, dense * np.geomspace(high, low, steps), rtol=1e-9)
    assert amounts[-1] == low * dense
    # What is no range holds throughout.
    assert {amount["lut"] for amount in walk} == {100.0}


def test_a_resource_that_the_network_does_not_use_is_not_walked() -> None:
    budget = {"dsp": {"low": 0.1, "high": 0.5}}
    assert walked_growth({"dsp": 0.0}, budget, 4) == {"dsp": 1.0}


def test_one_trial_keeps_points_all_over_the_range(tmp_path: Path) -> None:
    budget = {"dsp": {"low": 0.2, "high": 0.8}}
    spec = small(prune={**small().prune.model_dump(), "budget": budget, "steps": 4})
    folder = TrialFolder(tmp_path / "trials" / "0000")
    result = run_trial(spec, folder, dense_dir=tmp_path / "dense", base_dir=tmp_path)
    steps = folder.steps()
    assert result.budgets_met
    np.testing.assert_allclose(
        [step.fraction["dsp"] for step in steps], [1.0, *np.geomspace(0.8, 0.2, 4)], rtol=1e-9
    )
    dense = steps[0].values["dsp"]
    for step in steps:
        assert step.values["dsp"] <= step.fraction["dsp"] * dense
        assert folder.checkpoint(step.step).exists()


@pytest.mark.parametrize(
    ("prune", "said"),
    [
        ({"budget": {"dsp": {"low": 0.4, "high": 0.1}}}, "may be swapped: {low: 0.1, high: 0.4}"),
        ({"budget": {"dsp": {"low": "30 %", "high": "20 %"}}}, "may be swapped"),
        ({"budget": {"dsp": {"low": 0.4}}}, "a range has low and high and nothing else"),
        ({"budget": {"dsp": {"low": 0.0, "high": 0.4}}}, "low 0.0 must be above 0"),
        ({"budget": {"dsp": {"low": 0.1, "high": "many"}}}, "'many' is not a budget"),
        ({"budget": {"dsp": {"low": 0.1, "high": 0.4}}, "steps": 1}, "steps of at least 2"),
        (
            {"budget": {"lut": {"low": 0.1, "high": 0.4}}, "method": "widths"},
            "walks a ladder of its own",
        ),
    ],
)
def test_faults_are_one_sentence(prune: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(PruneSpec, prune, "a.yml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ends_of_two_kinds_are_compared_with_the_network() -> None:
    given = parse_spec(PruneSpec, {"budget": {"dsp": {"low": "5", "high": 0.5}}}, "a.yml")
    assert final_amounts({"dsp": 40.0}, given.budget) == {"dsp": 5.0}
    assert parse_spec(PruneSpec, given.model_dump(), "again") == given
