"""Reading files: YAML in, dotted paths, overrides, differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import SpecError
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import (
    apply_override,
    changes,
    get_path,
    parse_spec,
    parse_yaml,
    path_type,
    read_yaml,
    set_path,
)

WORDS = st.text("abcdef_", min_size=1, max_size=4)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS
SECTIONS = st.dictionaries(WORDS, SCALARS | st.dictionaries(WORDS, SCALARS, max_size=2), max_size=3)
NESTED = st.dictionaries(WORDS, SCALARS | SECTIONS, min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("-2E+3", -2000.0),
        (".5e1", 5.0),
        ("1.0e-5", 1e-5),
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("fixed<16,6>", "fixed<16,6>"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("[1e3, 2]", [1000.0, 2]),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: Any) -> None:
    assert parse_yaml(f"key: {text}", "x.yml") == {"key": value}
    assert type(parse_yaml(f"key: {text}", "x.yml")["key"]) is type(value)


def test_a_file_and_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("a: {b: 1}\n")
    assert read_yaml(path) == {"a": {"b": 1}}
    with pytest.raises(SpecError, match=r"b\.yml: no such file\. Did you mean 'a\.yml'\?"):
        read_yaml(tmp_path / "b.yml")
    with pytest.raises(SpecError, match="is a folder"):
        read_yaml(tmp_path)


def test_anchors_and_merges_work() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n"
    assert parse_yaml(text, "x.yml")["more"] == {"a": 1, "b": 3}


@given(NESTED, st.lists(WORDS, min_size=1, max_size=4), SCALARS)
def test_what_is_set_can_be_got(values: dict[str, Any], names: list[str], value: Any) -> None:
    path = ".".join(names)
    set_path(values, path, value)
    assert get_path(values, path) == value


def test_a_path_that_is_not_set_is_none() -> None:
    assert get_path({"a": {"b": 1}}, "a.c") is None
    assert get_path({"a": {"b": 1}}, "a.b.c") is None


@given(NESTED)
def test_nothing_changes_between_equal_mappings(values: dict[str, Any]) -> None:
    assert changes(values, dict(values)) == []


def test_changes_name_every_dotted_key() -> None:
    old = {"a": {"b": 1, "c": 2}, "d": [1], "e": {}}
    new = {"a": {"b": 1, "c": 3}, "d": [2], "f": 0}
    assert changes(old, new) == [
        "a.c: 2 -> 3",
        "d: [1] -> [2]",
        "e: {} -> not set",
        "f: not set -> 0",
    ]


def test_types_of_paths() -> None:
    assert path_type(TrialSpec, "train.epochs", "x") is not None
    assert path_type(TrialSpec, "hardware.layers.fc1.reuse_factor", "x") is not None
    assert path_type(TrialSpec, "model.args.hidden", "x") is Any
    for path, word in {
        "trian.epochs": "'train'",
        "train.epoch": "'epochs'",
        "train.epochs.x": "no 'x' in 'train.epochs'",
        "hardware.layers.fc1.reuse": "no 'reuse'",
        "": "does not exist",
    }.items():
        with pytest.raises(SpecError, match="does not exist") as fault:
            path_type(TrialSpec, path, "x.yml")
        assert word in str(fault.value)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.epochs=5", "train.epochs", 5),
        ("hardware.precision=fixed<8,2>", "hardware.precision", "fixed<8,2>"),
        ("constraints=[dsp<=5]", "constraints", ["dsp<=5"]),
        ("hardware.layers.fc1.reuse_factor=4", "hardware.layers.fc1.reuse_factor", 4),
        ("train.learning_rate=1e-3", "train.learning_rate", 1e-3),
        ("storage=", "storage", None),
        (" seed =1", "seed", 1),
    ],
)
def test_overrides(text: str, path: str, value: Any) -> None:
    values: dict[str, Any] = {}
    apply_override(values, text, SweepSpec)
    assert get_path(values, path) == value


def test_overrides_of_the_search_space() -> None:
    values: dict[str, Any] = {"search": {"prune.budget.dsp": {"low": 0.1, "high": 0.5}}}
    before = values["search"]["prune.budget.dsp"]
    apply_override(values, "search.prune.budget.dsp.low=0.2", SweepSpec)
    apply_override(values, "search.train.epochs={low: 2, high: 4}", SweepSpec)
    assert values["search"] == {
        "prune.budget.dsp": {"low": 0.2, "high": 0.5},
        "train.epochs": {"low": 2, "high": 4},
    }
    assert before == {"low": 0.1, "high": 0.5}
    apply_override(values, "search.prune.budget.dsp={choices: [0.5]}", SweepSpec)
    assert values["search"]["prune.budget.dsp"] == {"choices": [0.5]}
    empty: dict[str, Any] = {"search": None}
    apply_override(empty, "search.train.epochs={low: 2, high: 4}", SweepSpec)
    assert empty == {"search": {"train.epochs": {"low": 2, "high": 4}}}


def test_the_first_fault_is_told_and_the_others_counted() -> None:
    values = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "trian": {}, "seed": "x"}
    with pytest.raises(SpecError) as fault:
        parse_spec(TrialSpec, values, "x.yml")
    assert str(fault.value).startswith("x.yml: unknown key 'trian'. Did you mean 'train'?")
    assert str(fault.value).endswith("(1 more)")
