"""Trial files: strict, complete when written out, named by their content."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rfprune.core.quantities import RESERVED
from rfprune.results import StepRecord
from rfprune.spec import SweepSpec, TrialSpec

BINARY = {"name": "binary", "metrics": {"factor": "auc"}}
LEAST: dict[str, Any] = {"model": {"name": "mlp"}, "data": {"name": "digits"}}


def trial(**changes: Any) -> TrialSpec:
    return TrialSpec.model_validate({**LEAST, **changes})


def _sections(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Return every section that can stand in a file of this format."""
    seen.add(model)
    for field in model.model_fields.values():
        kinds = [field.annotation]
        while kinds:
            kind = kinds.pop()
            kinds += getattr(kind, "__args__", ())
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
                _sections(kind, seen)
    return seen


@pytest.mark.parametrize(
    "section",
    sorted(_sections(SweepSpec, set()), key=lambda section: section.__name__),
    ids=lambda section: section.__name__,
)
def test_every_section_is_strict_and_frozen(section: type[BaseModel]) -> None:
    assert section.model_config["extra"] == "forbid"
    assert section.model_config["frozen"] is True


def test_canonical_writes_out_every_default_and_reads_back_as_equal() -> None:
    spec = trial(hardware={"layers": {"fc1": {"reuse_factor": 4}}}, prune={"budget": {"dsp": 9}})
    text = json.dumps(spec.canonical())
    assert TrialSpec.model_validate(json.loads(text)) == spec
    assert spec.canonical()["train"]["optimizer"] == "adam"
    assert spec.canonical()["prune"]["budget"] == {"dsp": 9.0}


def test_equal_content_has_an_equal_key() -> None:
    written_out = TrialSpec.model_validate(trial().canonical())
    assert trial().key == written_out.key
    assert len(trial().key) == 12
    assert trial(hardware={"precision": "ap_fixed<16, 6>"}).key == trial().key


CHANGES: dict[str, dict[str, Any]] = {
    "model": {"model": {"name": "mlp", "args": {"hidden": [8]}}},
    "data": {"data": {"name": "digits", "split_seed": 1}},
    "train": {"train": {"epochs": 3}},
    "seed": {"seed": 1},
    "hardware": {"hardware": {"clock_ns": 3}},
    "prune": {"prune": {"steps": 3}},
    "estimator": {"estimator": "codegen"},
}


@pytest.mark.parametrize("part", CHANGES)
def test_keys_depend_on_what_they_name(part: str) -> None:
    changed = trial(**CHANGES[part])
    assert changed.key != trial().key
    decides_the_dense_network = part in ("model", "data", "train", "seed")
    assert (changed.dense_key != trial().dense_key) == decides_the_dense_network


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": True},
        {"seed": "1"},
        {"seed": 1.0},
        {"train": {"epochs": True}},
        {"train": {"learning_rate": "0.1"}},
        {"prune": {"fixed_point": 1}},
        {"prune": {"fixed_point": "yes"}},
        {"hardware": {"layers": {"fc1": {"reuse_factor": True}}}},
        {"prune": {"budget": {"dsp": float("nan")}}},
        {"prune": {"budget": {"dsp": -1}}},
        {"prune": {"budget": {}}},
    ],
)
def test_values_have_the_types_of_their_keys(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        trial(**changes)


def test_whole_numbers_are_numbers() -> None:
    spec = trial(hardware={"clock_ns": 5}, train={"learning_rate": 1}, prune={"tolerance": 0})
    assert spec.hardware.clock_ns == 5.0


@given(st.integers(1, 64), st.integers(0, 64))
def test_a_precision_is_kept_in_one_spelling(width: int, integer: int) -> None:
    spellings = [f"fixed<{width},{integer}>", f"ap_fixed< {width}, {integer} >"]
    kept = {trial(hardware={"precision": text}).hardware.precision for text in spellings}
    assert len(kept) == 1
    (text,) = kept
    assert trial(hardware={"precision": text}).hardware.precision == text


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"metrics": {"dsp": "accuracy"}}, "'dsp' is the name of something else"),
        ({"metrics": {"live": "accuracy"}}, "'live' is the name of something else"),
        ({"metrics": {"seconds": "m:f"}}, "'seconds' is the name of something else"),
        ({"metrics": {"float_val_x": "accuracy"}}, "'float_val_x' is the name"),
        (
            {"heads": {"bram": {"name": "binary", "metrics": {"x": "auc"}}, "reuse": BINARY}},
            "'reuse_factor' is the name of something else",
        ),
        (
            {"name": "binary", "metrics": {"eff": {"name": "tpr", "fpr": 2}}},
            "fpr must be a number above 0, at most 1",
        ),
        ({"metrics": {"t": {"name": "top_k", "k": 1.5}}}, "k must be a whole number above 0"),
    ],
)
def test_metrics_that_cannot_be_told_apart_or_make_no_sense(task: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        trial(task=task)


def test_no_key_of_a_record_can_be_a_metric() -> None:
    assert set(StepRecord.model_fields) <= {*RESERVED, "seconds"}
