"""Sweep files: conditions, objectives, search entries."""

from __future__ import annotations

import math
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rfprune.errors import SpecError
from rfprune.spec import Condition, SweepSpec, parse_condition
from rfprune.spec.search import Choices, Range, ValidReuseFactors
from rfprune.spec.yaml_files import parse_spec

OPERATORS = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}
NUMBERS = st.floats(-1e9, 1e9).map(lambda value: round(value, 3)) | st.integers(-5, 5)
LEAST: dict[str, Any] = {
    "name": "demo",
    "model": {"name": "mlp"},
    "data": {"name": "digits"},
    "search": {"prune.budget.dsp": {"low": 0.1, "high": 0.5}},
}


def sweep(**changes: Any) -> SweepSpec:
    return parse_spec(SweepSpec, {**LEAST, **changes}, "demo.yml")


@given(st.sampled_from(sorted(OPERATORS)), NUMBERS, NUMBERS)
def test_a_condition_holds_as_its_operator_does(sign: str, value: float, bound: float) -> None:
    condition = parse_condition(f"dsp {sign} {bound}")
    assert condition.holds(value) == OPERATORS[sign](value, bound)
    assert (condition.excess(value) <= 0) == condition.holds(value)


@given(st.sampled_from(sorted(OPERATORS)), NUMBERS)
def test_an_unknown_value_meets_no_condition(sign: str, bound: float) -> None:
    condition = parse_condition(f"dsp{sign}{bound}")
    assert not condition.holds(None)
    assert condition.excess(None) == math.inf


@given(NUMBERS, NUMBERS, NUMBERS)
def test_the_excess_grows_with_the_distance(near: float, far: float, bound: float) -> None:
    condition = parse_condition(f"dsp <= {bound}")
    if near <= far:
        assert condition.excess(near) <= condition.excess(far)


def test_conditions_are_kept_in_one_spelling() -> None:
    assert str(parse_condition("  val_accuracy>=0.90 ")) == "val_accuracy >= 0.9"
    assert sweep(constraints=["dsp<=5e2"]).constraints == ["dsp <= 500"]
    assert sweep(constraints=["dsp<=5"]).conditions == [
        Condition(name="dsp", operator="<=", bound=5.0)
    ]


@pytest.mark.parametrize(
    "text", ["", "dsp", "dsp<=", "<=5", "dsp=<5", "5<dsp", "dsp<=5<=6", "dsp<=-"]
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_condition(text)


def test_every_measured_quantity_can_be_a_condition() -> None:
    known = sweep().quantities()
    for name in known:
        assert parse_condition(f"{name} > 0", known).name == name


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"low": 1, "high": 2}, Range),
        ({"low": 1e-5, "high": 1e-2, "log": True}, Range),
        ({"low": 0, "high": 10, "step": 5}, Range),
        ({"choices": ["l1", "l2"]}, Choices),
        ({"valid": True, "low": 2}, ValidReuseFactors),
    ],
)
def test_search_entries_are_told_apart_by_their_keys(entry: dict[str, Any], kind: type) -> None:
    spec = sweep(search={"seed": entry})
    assert type(spec.search["seed"]) is kind
    assert SweepSpec.model_validate(spec.canonical()) == spec


def test_a_range_is_whole_if_its_ends_are() -> None:
    assert Range(low=1, high=4).whole
    assert not Range(low=1.0, high=4).whole


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"low": 4, "high": 2}, "low 4 is above high 2"),
        ({"low": 0, "high": 2, "log": True}, "log needs low > 0"),
        ({"low": 0, "high": 2, "step": 0}, "step 0 must be above 0"),
        ({"low": 0, "high": 2, "step": 3}, "step 3 is larger than the range 0 to 2"),
        ({"low": 1, "high": 4, "step": 1, "log": True}, "step and log exclude each other"),
        ({"low": 1, "high": 4, "step": 0.5}, "step 0.5 must be whole"),
        ({"low": 1, "high": float("inf")}, "search.seed.high: must be a"),
        ({"low": "1", "high": 4}, "search.seed.low: must be a number (value: '1')"),
        ({"choices": []}, "must not be empty"),
        ({"valid": False}, "search.seed.valid"),
        ({"valid": True, "low": 0}, "search.seed.low: must be above 0"),
        ({}, "'search.seed.low' is missing"),
        (5, "mapping of keys"),
    ],
)
def test_faults_of_search_entries(entry: Any, message: str) -> None:
    with pytest.raises(SpecError) as fault:
        sweep(search={"seed": entry})
    assert message in str(fault.value)
    assert "search.seed" in str(fault.value)


def test_the_search_may_not_look_at_the_test() -> None:
    for name in ("accuracy", "float_val_accuracy"):
        for changes in ({"objectives": {name: "max"}}, {"constraints": [f"{name} > 0.9"]}):
            with pytest.raises(SpecError, match=r"looks? at .*'val_accuracy'"):
                sweep(**changes)


def test_objectives_have_the_way_in_which_they_are_better() -> None:
    measured = {name: quantity.direction for name, quantity in sweep().quantities().items()}
    assert len(measured) == 29
    for name, way in measured.items():
        if name in ("accuracy", "float_val_accuracy"):
            continue
        assert sweep(objectives={name: way}).objectives == {name: way}
        with pytest.raises(SpecError, match=f"Allowed: {name}: {way}"):
            sweep(objectives={name: "max" if way == "min" else "min"})


def test_a_sweep_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        sweep().trials = 5  # type: ignore[misc]


def test_constraints_may_ask_for_the_safe_side_of_an_interval() -> None:
    asked = sweep(constraints=["lut.high <= 50000", "reachable_ns <= 5"])
    assert [condition.name for condition in asked.conditions] == ["lut.high", "reachable_ns"]
    with pytest.raises(SpecError, match=r"lut\.high"):
        sweep(constraints=["lut.hihg <= 50000"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resources": {"together": 0}}, "resources.together"),
        ({"resources": {"together": 1.5}}, "resources.together"),
        ({"resources": {"together": 4}, "early_stop": {}}, "cannot be combined with early_stop"),
        ({"resources": {"together": 4}, "retries": 0}, "needs retries of at least 1"),
        ({"resources": {"togehter": 4}}, "together"),
    ],
)
def test_trials_that_cannot_share_a_process(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as refused:
        sweep(**changes)
    assert "\n" not in str(refused.value)


def test_a_trial_to_itself_is_not_written_down() -> None:
    """So that sweeps and trials of earlier versions keep their files."""
    assert "together" not in sweep().model_dump(mode="json")["resources"]
    assert sweep(resources={"together": 3}).model_dump(mode="json")["resources"]["together"] == 3
