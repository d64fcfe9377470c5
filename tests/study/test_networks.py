"""The space of a sweep over several networks: what each has, what only some have, what is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from rfprune.errors import SpecError
from rfprune.hardware.reuse import valid_reuse_factors
from rfprune.results import StepRecord, SweepFolder, TrialResult
from rfprune.results.points import read_trial
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study import expand
from rfprune.study.networks import alone
from rfprune.study.record import Ended, Record
from rfprune.study.space import Space
from rfprune.study.study import lock, open_study
from rfprune.study.warm_start import read_warm_start
from tests.study.test_space import points

RF = "hardware.layers.{}.reuse_factor".format
SMALL = {"fc1": (16, 8), "output": (8, 5)}
DEEP = {"fc1": (16, 64), "fc2": (64, 32), "output": (32, 5)}
LAYERS = {"small": SMALL, "deep": DEEP}
MODELS = {
    "small": {"name": "mlp", "args": {"hidden": [8]}},
    "deep": {"name": "mlp", "args": {"hidden": [64, 32]}},
}
USUAL = {RF("*"): {"valid": True, "low": 2}, "prune.budget.dsp": {"low": 0.1, "high": 0.5}}


def sweep(search: dict[str, Any] | None = None, **keys: Any) -> SweepSpec:
    values = {
        "name": "demo",
        "model": {"choices": MODELS},
        "data": {"name": "digits"},
        "search": search or USUAL,
        "sampler": {"name": "random"},
        **keys,
    }
    return parse_spec(SweepSpec, values, "demo.yml")


def test_each_network_is_searched_as_it_would_be_alone() -> None:
    spec = sweep()
    space = expand(spec, LAYERS)
    single = {label: expand(alone(spec, label).model_copy(
        update={"search": {k: v for k, v in spec.search.items() if k != "model"}}
    ), LAYERS[label]) for label in LAYERS}  # fmt: skip
    seen = set()
    for point in points(space, 60):
        label = point["model"]
        seen.add(label)
        rest = {path: value for path, value in point.items() if path != "model"}
        assert set(rest) == {parameter.path for parameter in single[label].parameters}
        for parameter in single[label].parameters:
            assert parameter.contains(rest[parameter.path])
        # The trial is that of the network alone, so it has its name, and its dense network.
        own = single[label].resolve(alone(spec, label), rest)
        assert space.resolve(spec, point) == own
        assert space.resolve(spec, point).key == own.key
    assert seen == set(LAYERS)


def test_valid_reuse_factors_are_those_of_each_network() -> None:
    space = expand(sweep(), LAYERS)
    first = [p for p in space.parameters if p.path == RF("fc1")]
    assert [p.when["model"] for p in first] == [("small",), ("deep",)]
    for parameter, layers in zip(first, LAYERS.values(), strict=True):
        assert list(parameter.samples()) == [
            f for f in valid_reuse_factors(*layers["fc1"]) if f > 1
        ]
    (only,) = [p for p in space.parameters if p.path == RF("fc2")]
    assert only.when == {"model": ("deep",)}
    assert only.name == RF("fc2")
    (budget,) = [p for p in space.parameters if p.path == "prune.budget.dsp"]
    assert not budget.when


def test_the_size_counts_every_point_once() -> None:
    space = expand(sweep({RF("*"): {"valid": True, "low": 2, "high": 8}}), LAYERS)
    every = [tuple(sorted(point.items())) for point in space.points()]
    assert len(every) == len(set(every)) == space.size()


def test_settings_of_a_layer_are_left_out_where_there_is_no_such_layer() -> None:
    hardware = {"layers": {"fc2": {"reuse_factor": 4}}}
    prune = {"layers": {"fc2": {"prune": False}}}
    search = {RF("fc1"): {"valid": True}}
    spec = sweep(search, hardware=hardware, prune=prune)
    space = expand(spec, LAYERS)
    small = space.resolve(spec, {"model": "small", RF("fc1"): 4})
    deep = space.resolve(spec, {"model": "deep", RF("fc1"): 4})
    assert "fc2" not in small.hardware.layers
    assert "fc2" not in small.prune.layers
    assert deep.hardware.layers["fc2"].reuse_factor == 4
    assert deep.prune.layers["fc2"].prune is False


def test_a_condition_may_name_the_network() -> None:
    search = {
        RF("*"): {"valid": True},
        "prune.steps": {"low": 2, "high": 5, "when": {"model": "deep"}},
    }
    for point in points(expand(sweep(search), LAYERS), 30):
        assert ("prune.steps" in point) == (point["model"] == "deep")


def test_starting_points_belong_to_a_network() -> None:
    start = [{"model": "deep", RF("*"): 4}, {"prune.budget.dsp": 0.2}]
    space = expand(sweep(start=start), LAYERS)
    deep = {RF(layer): 4 for layer in DEEP}
    assert space.starts == (
        {"model": "small", "prune.budget.dsp": 0.2},
        {"model": "deep", **deep},
    )


def test_the_global_reuse_factor_may_matter_in_some_networks_alone() -> None:
    search = {
        RF("fc1"): {"valid": True},
        RF("output"): {"valid": True},
        "hardware.reuse_factor": {"valid": True},
    }
    space = expand(sweep(search), LAYERS)
    (shared,) = [p for p in space.parameters if p.path == "hardware.reuse_factor"]
    assert shared.when == {"model": ("deep",)}


@pytest.mark.parametrize(
    ("search", "keys", "said"),
    [
        ({RF("fc9"): {"valid": True}}, {}, "with model small: search.hardware.layers.fc9"),
        ({**USUAL, "seed": {"low": 0, "high": 3, "when": {"model": "big"}}}, {}, "never 'big'"),
        (USUAL, {"start": [{"model": "small", RF("fc2"): 4}]}, "has no layer 'fc2'"),
        ({RF("fc2"): {"choices": [3]}}, {}, "demo with model deep"),
        (
            {"hardware.reuse_factor": {"valid": True}, RF("*"): {"valid": True}},
            {},
            "has no effect",
        ),
    ],
)
def test_faults_name_the_network(search: Any, keys: Any, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        expand(sweep(search, **keys), LAYERS)
    assert said in str(caught.value)


def _run(spec: SweepSpec, folder: SweepFolder, space: Space) -> list[dict[str, Any]]:
    """Run a sweep of trials that take no time; return their points."""
    found = []
    with lock(folder):
        study = open_study(spec, folder, space.layers)
        record = Record(spec, folder, space, study)
        folder.write_spec(spec, {})
        while not record.finished:
            if (job := record.ask()) is not None:
                found.append(job.values)
                cost = float(len(job.values["model"]))
                steps = [{"step": 1.0, "val_accuracy": 0.5, "dsp": cost}]
                record.finish(job.number, Ended(steps=steps))
        study.close()
    return found


def test_a_sweep_goes_on_and_its_trials_are_known_by_their_network(tmp_path) -> None:
    folder, space = SweepFolder(tmp_path / "demo"), expand(sweep(trials=6), LAYERS)
    first = _run(sweep(trials=6, sampler={"name": "tpe"}), folder, space)
    more = _run(sweep(trials=14, sampler={"name": "tpe"}), folder, space)
    assert len(first) == 6
    assert len(more) == 8
    spec = sweep(trials=14)
    labels = {point["model"] for point in [*first, *more]}
    shown = {read_trial(trial, spec).params["model"] for trial in folder.trials()}
    assert shown == labels == set(LAYERS)


def test_a_sweep_over_networks_learns_from_one_of_a_single_network(tmp_path) -> None:
    networks = sweep(warm_start=["one"])
    one = parse_spec(
        SweepSpec,
        {**networks.canonical(), "name": "one", "models": {}, "warm_start": [],
         "model": MODELS["deep"],
         "search": {k: v for k, v in networks.canonical()["search"].items() if k != "model"}},
        "one",
    )  # fmt: skip
    folder, space = SweepFolder(tmp_path / "one"), expand(one, DEEP)
    with lock(folder):
        folder.write_spec(one, {})
    for number, point in enumerate(points(space, 3)):
        trial = folder.trial(number)
        trial.path.mkdir(parents=True)
        trial.write_spec(space.resolve(one, point))
        values = {"val_accuracy": 0.5, "dsp": 9.0}
        trial.append_step(StepRecord(step=0, accepted=True, values=values))
        trial.write_result(TrialResult(trial=number, state="complete"))
    known = read_warm_start(networks, expand(networks, LAYERS), tmp_path, tmp_path)
    assert [trial.values["model"] for trial in known.trials] == ["deep"] * 3
