"""Several networks in one sweep file: labels, forms, faults."""

from __future__ import annotations

from typing import Any

import pytest

from rfprune.core.paths import named_files
from rfprune.errors import RfpruneError
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec

SEARCH = {"prune.budget.dsp": {"low": 0.1, "high": 0.4}}
WIDTHS = {"choices": [[64, 32], [16]]}


def sweep(model: Any, search: Any = SEARCH) -> SweepSpec:
    values = {"name": "a", "data": {"name": "digits"}, "model": model, "search": search}
    return parse_spec(SweepSpec, values, "a.yml")


def mlp(*hidden: int) -> dict[str, Any]:
    return {"name": "mlp", "args": {"hidden": list(hidden)}}


@pytest.mark.parametrize(
    ("choices", "labels"),
    [
        (["mlp", "cnn"], ["mlp", "cnn"]),
        ([mlp(8, 4), mlp(4)], ["mlp-8-4", "mlp-4"]),
        ([{**mlp(8), "label": "small"}, mlp(64)], ["small", "mlp"]),
        ({"small": mlp(8), "large": "mlp"}, ["small", "large"]),
        (["nets:tall", "nets:wide"], ["tall", "wide"]),
        (
            [{"name": "mlp", "weights": "a.pt"}, {"name": "mlp", "weights": "b.pt"}],
            ["mlp", "mlp-2"],
        ),
    ],
)
def test_every_network_has_a_label(choices: Any, labels: list[str]) -> None:
    spec = sweep({"choices": choices})
    assert list(spec.models) == labels
    assert spec.search["model"].choices == labels
    assert spec.model == spec.models[labels[0]]
    # What is written down is a sweep file as well, and means the same.
    assert parse_spec(SweepSpec, spec.canonical(), "again") == spec


def test_widths_are_listed_in_the_space() -> None:
    spec = sweep({"name": "mlp"}, {"model.args.hidden": WIDTHS, **SEARCH})
    assert {label: model.args["hidden"] for label, model in spec.models.items()} == {
        "mlp-64-32": [64, 32],
        "mlp-16": [16],
    }
    assert "model.args.hidden" not in spec.search


def test_arguments_multiply_the_networks() -> None:
    both = {"model.args.hidden": WIDTHS, "model.args.batch_norm": {"choices": [True, False]}}
    assert len(sweep({"name": "mlp"}, both).models) == 4


def test_one_choice_is_one_network() -> None:
    spec = sweep({"choices": [mlp(8)]})
    assert spec == sweep(mlp(8))
    assert not spec.models


def test_a_listed_scalar_argument_of_one_network_stays_as_it_was() -> None:
    spec = sweep({"name": "mlp"}, {"model.args.dropout": {"choices": [0.0, 0.1]}})
    assert not spec.models
    assert list(spec.search) == ["model.args.dropout"]


def test_the_label_of_a_trial_is_found_by_its_section() -> None:
    spec = sweep({"choices": {"small": mlp(8), "large": mlp(64)}})
    assert spec.label_of(spec.models["large"].model_dump(mode="json")) == "large"
    assert spec.label_of({"name": "mlp", "args": {"hidden": [9]}}) is None


def test_files_of_every_network_are_named() -> None:
    files = [{"name": "mlp", "weights": name} for name in ("a.pt", "b.pt")]
    found = dict(named_files(sweep({"choices": files})))
    assert found["models.mlp.weights"] == "a.pt"
    assert found["models.mlp-2.weights"] == "b.pt"


@pytest.mark.parametrize(
    ("model", "search", "said"),
    [
        ({"choices": []}, SEARCH, "must be a list of networks"),
        ({"choices": 3}, SEARCH, "must be a list of networks"),
        ({"choices": ["mpl"]}, SEARCH, "model.choices.0: unknown model 'mpl'. Did you mean 'mlp'?"),
        ({"choices": ["mlp", "mlp"]}, SEARCH, "is there twice"),
        ({"choices": ["mlp"], "name": "mlp"}, SEARCH, "give either choices or name"),
        ({"choices": [{"name": "mlp", "arg": {}}]}, SEARCH, "unknown key 'arg'. Did you mean"),
        ({"choices": {"a b": "mlp", "c": "cnn"}}, SEARCH, "'a b' is not a label. Allowed: letters"),
        ({"choices": [{**mlp(8), "label": "a"}, {**mlp(4), "label": "a"}]}, SEARCH, "label 'a'"),
        ({"choices": [[1], 2]}, SEARCH, "must be a name or a mapping"),
        ({"name": "mlp"}, {"model": {"choices": ["a"]}}, "several networks are named in model"),
        ({"choices": ["mlp", "cnn"]}, {"model": {"choices": ["mlp"]}}, "leave out search.model"),
        (
            {"name": "mlp"},
            {"model.args.hidden": WIDTHS, "model.args.dropout": {"low": 0.0, "high": 0.5}},
            "search.model.args.dropout: needs choices",
        ),
        (
            {"name": "mlp"},
            {"model.args.hidden": {"choices": [[n] for n in range(1, 70)]}},
            "69 networks. Allowed: at most 64",
        ),
    ],
)
def test_faults_are_one_sentence(model: Any, search: Any, said: str) -> None:
    with pytest.raises(RfpruneError) as caught:
        sweep(model, search)
    assert said in str(caught.value)
    assert str(caught.value).startswith("a.yml: ")
    assert "\n" not in str(caught.value)
