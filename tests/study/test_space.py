"""The search space against the network: wildcards, valid reuse factors, conditions, faults."""

from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rfprune.errors import ReuseFactorError, SpecError
from rfprune.fpga.layers import plan, trace
from rfprune.hardware.reuse import valid_reuse_factors
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import get_path, parse_spec
from rfprune.study import expand
from rfprune.study.parameters import Numbers
from rfprune.study.space import Space, merge, trial_values

LAYERS = {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 5)}
RF = "hardware.layers.{}.reuse_factor".format
STRATEGY = "hardware.strategy"


def sweep(search: dict[str, Any], **keys: Any) -> SweepSpec:
    values = {
        "name": "demo",
        "model": {"name": "mlp"},
        "data": {"name": "digits"},
        "search": search,
        **keys,
    }
    return parse_spec(SweepSpec, values, "demo.yml")


def space_of(search: dict[str, Any], **keys: Any) -> Space:
    return expand(sweep(search, **keys), LAYERS)


def points(space: Space, n: int, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    drawn = []
    for _ in range(n):
        trial = study.ask()
        drawn.append(space.suggest(trial))
        study.tell(trial, 0.0)
    return drawn


def test_wildcard_gives_each_layer_its_own_valid_reuse_factors() -> None:
    space = space_of({RF("*"): {"valid": True, "low": 2, "high": 64}})
    assert [p.path for p in space.parameters] == [RF("fc1"), RF("fc2"), RF("fc3")]
    for parameter, shape in zip(space.parameters, LAYERS.values(), strict=True):
        expected = [rf for rf in valid_reuse_factors(*shape) if 2 <= rf <= 64]
        assert list(parameter.samples()) == expected
        assert parameter.kind == "reuse factors"
    assert len({tuple(point.values()) for point in points(space, 20)}) > 10


def test_a_layers_own_entry_wins_over_the_wildcard_in_either_order() -> None:
    wild = {"valid": True, "low": 2}
    own = {"choices": [4, 2]}
    for search in ({RF("*"): wild, RF("fc2"): own}, {RF("fc2"): own, RF("*"): wild}):
        by_path = {p.path: p for p in space_of(search).parameters}
        assert by_path[RF("fc2")].samples() == (2, 4)
        assert len(by_path) == 3


def test_resolve_sets_exactly_the_drawn_paths_and_drops_sweep_keys() -> None:
    search = {
        RF("*"): {"valid": True},
        "prune.regularizer.weight": {"low": 1e-6, "high": 1e-2, "log": True},
        "prune.budget.dsp": {"low": 0.1, "high": 0.5, "step": 0.1},
        "prune.layers.fc1.floor": {"low": 1, "high": 4},
    }
    spec = sweep(search, seed=7)
    space = expand(spec, LAYERS)
    for values in points(space, 10):
        trial = space.resolve(spec, values)
        canonical = trial.canonical()
        assert set(canonical).isdisjoint({"search", "objectives", "trials"})
        assert {path: get_path(canonical, path) for path in values} == values
        assert trial.seed == 7
        plain = sweep(search, seed=7)
        assert trial.train == plain.train


def test_pruning_alone_leaves_the_dense_network_shared() -> None:
    spec = sweep({RF("*"): {"valid": True}, "prune.budget.dsp": {"low": 0.1, "high": 0.9}})
    space = expand(spec, LAYERS)
    trials = [space.resolve(spec, values) for values in points(space, 8)]
    assert len({trial.dense_key for trial in trials}) == 1
    assert len({trial.key for trial in trials}) == 8


def test_ordered_values_are_drawn_by_index() -> None:
    space = space_of({RF("fc1"): {"valid": True}})
    study = optuna.create_study()
    trial = study.ask()
    values = space.suggest(trial)
    assert valid_reuse_factors(16, 64)[trial.params[RF("fc1")]] == values[RF("fc1")]


CONDITIONAL = {
    STRATEGY: {"choices": ["latency", "resource_unrolled"]},
    RF("*"): {"valid": True, "low": 2, "high": 16, "when": {STRATEGY: "resource_unrolled"}},
}


def test_conditional_entries_are_drawn_only_where_the_condition_holds() -> None:
    space = space_of(CONDITIONAL)
    seen = set()
    for values in points(space, 30):
        unrolled = values[STRATEGY] == "resource_unrolled"
        assert (RF("fc1") in values) == unrolled
        seen.add(unrolled)
    assert seen == {True, False}


def test_size_counts_conditional_points_exactly() -> None:
    space = space_of(CONDITIONAL)
    per_layer = [
        sum(2 <= rf <= 16 for rf in valid_reuse_factors(*shape)) for shape in LAYERS.values()
    ]
    assert space.size() == 1 + per_layer[0] * per_layer[1] * per_layer[2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=3, max_size=3), st.integers(1, 3), st.booleans())
def test_size_equals_the_number_of_points(widths: list[int], named: int, nested: bool) -> None:
    a, b, c = widths
    search: dict[str, Any] = {
        "prune.steps": {"low": 1, "high": a},
        "prune.patience": {
            "low": 0,
            "high": b - 1,
            "when": {"prune.steps": [min(named, a)]},
        },
        "train.epochs": {"low": 1, "high": c},
    }
    if nested:
        search["prune.floor"] = {"low": 0, "high": 2, "when": {"prune.patience": [0, 1][:b]}}
    space = space_of(search)
    distinct = set()
    base = space.base

    def walk(rest: tuple[Any, ...], values: dict[str, Any]) -> None:
        if not rest:
            distinct.add(tuple(sorted(values.items())))
        elif space.active(rest[0], values):
            low, high = int(rest[0].low), int(rest[0].high)
            for value in range(low, high + 1):
                walk(rest[1:], {**values, rest[0].path: value})
        else:
            walk(rest[1:], values)

    walk(space.parameters, {})
    assert space.size() == len(distinct)
    assert get_path(dict(base), "prune.steps") == 8


def test_size_of_a_continuum_is_unknown() -> None:
    assert space_of({"train.learning_rate": {"low": 0.1, "high": 0.2}}).size() is None


@given(st.integers(-50, 50), st.integers(1, 400), st.integers(1, 60), st.sampled_from([1, 10, 100]))
def test_the_last_value_lies_on_the_grid(low: int, width: int, step: int, scale: int) -> None:
    low_, high_, step_ = low / scale, (low + max(width, step)) / scale, step / scale
    last = Numbers.last_on_grid(low_, high_, step_)
    steps = (max(width, step)) // step
    assert last == pytest.approx((low + steps * step) / scale, abs=1e-12)
    numbers = Numbers("x", low_, last, step_)
    assert numbers.count == steps + 1
    assert numbers.contains(last)


def test_wildcard_in_a_condition_means_the_same_layer() -> None:
    space = space_of(
        {
            "hardware.layers.*.strategy": {"choices": ["latency", "resource_unrolled"]},
            RF("*"): {
                "valid": True,
                "low": 2,
                "when": {"hardware.layers.*.strategy": "resource_unrolled"},
            },
        }
    )
    for values in points(space, 20):
        for layer in LAYERS:
            unrolled = values[f"hardware.layers.{layer}.strategy"] == "resource_unrolled"
            assert (RF(layer) in values) == unrolled


def test_a_condition_on_a_fixed_value_that_holds_is_no_condition() -> None:
    entry = {"low": 1, "high": 3, "when": {"prune.method": "knapsack"}}
    space = space_of({"prune.steps": entry})
    assert not space.conditional


def test_start_points_are_written_out_and_encoded() -> None:
    space = space_of(
        {RF("*"): {"valid": True}, "prune.steps": {"low": 1, "high": 9}},
        start=[{RF("*"): 4, RF("fc3"): 1, "prune.steps": 3}],
    )
    assert space.starts == ({RF("fc1"): 4, RF("fc2"): 4, RF("fc3"): 1, "prune.steps": 3},)
    encoded = space.encode(space.starts[0], "start")
    assert encoded[RF("fc1")] == valid_reuse_factors(16, 64).index(4)


def test_describe_names_every_parameter() -> None:
    rows = space_of(CONDITIONAL).describe()
    assert rows[0].values == "latency, resource_unrolled"
    assert rows[1].when == "hardware.strategy = resource_unrolled"
    assert rows[1].values == "2 4 8 16"
    assert rows[1].n_values == 4


FAULTS: list[tuple[dict[str, Any], dict[str, Any], type[SpecError], list[str]]] = [
    ({"prune.bugdet.dsp": {"low": 0.1, "high": 1}}, {}, SpecError, ["bugdet", "'budget'"]),
    ({"trials": {"low": 1, "high": 2}}, {}, SpecError, ["'trials'"]),
    ({RF("fc9"): {"valid": True}}, {}, SpecError, ["'fc9'", "Layers: fc1, fc2, fc3"]),
    ({"prune.budget.*": {"low": 0.1, "high": 1}}, {}, SpecError, ["'*'", "hardware.layers.*"]),
    ({"prune.steps": {"valid": True}}, {}, SpecError, ["valid: true", "reuse"]),
    ({STRATEGY: {"choices": ["latency", "fast"]}}, {}, SpecError, ["'fast'", "resource"]),
    (
        {"hardware.precision": {"choices": ["fixed<16,6>", "fixed<16"]}},
        {},
        SpecError,
        ["hardware.precision", "fixed<16"],
    ),
    ({"prune.tolerance": {"low": 0.5, "high": 1.5}}, {}, SpecError, ["1.5", "prune.tolerance"]),
    ({"train.epochs": {"low": 1.0, "high": 4.0}}, {}, SpecError, ["train.epochs", "whole number"]),
    ({"hardware": {"choices": [1]}}, {}, SpecError, ["hardware = 1"]),
    ({RF("fc1"): {"choices": [4, 24]}}, {}, ReuseFactorError, ["24", "16", "valid: true, low: 4"]),
    ({RF("*"): {"low": 1, "high": 4}}, {}, ReuseFactorError, ["fc1", "3", "valid: true"]),
    ({RF("fc1"): {"low": 1.0, "high": 4.0}}, {}, SpecError, ["not a reuse factor"]),
    ({RF("fc3"): {"choices": ["a", 2]}}, {}, SpecError, ["'a'", "not a reuse factor"]),
    ({RF("fc3"): {"choices": [2, 2]}}, {}, SpecError, ["twice"]),
    (
        {RF("fc1"): {"valid": True, "low": 17, "high": 31}},
        {},
        SpecError,
        ["fc1 (16x64)", "nearest is 32"],
    ),
    (
        {STRATEGY: {"choices": ["latency", "resource_unrolled"]}},
        {"hardware": {"reuse_factor": 1}},
        SpecError,
        ["resource_unrolled", "above 1"],
    ),
    (
        {RF("*"): {"valid": True}},
        {"hardware": {"strategy": "resource_unrolled"}},
        SpecError,
        ["fc1", "above 1"],
    ),
    (
        {"prune.steps": {"low": 1, "high": 3}},
        {"hardware": {"reuse_factor": 3}},
        ReuseFactorError,
        ["fc1", "3"],
    ),
    (
        {"prune.steps": {"low": 1, "high": 3, "when": {"prune.method": "global"}}},
        {},
        SpecError,
        ["never 'global'", "knapsack"],
    ),
    (
        {
            "prune.steps": {"low": 1, "high": 3, "when": {"prune.floor": 1}},
            "prune.floor": {"low": 1, "high": 3, "when": {"prune.steps": 1}},
        },
        {},
        SpecError,
        ["depend on each other"],
    ),
    (
        {"prune.steps": {"low": 1, "high": 3, "when": {"hardware.layers.*.strategy": "latency"}}},
        {},
        SpecError,
        ["'*'"],
    ),
    (
        {RF("*"): {"valid": True}, "hardware.reuse_factor": {"valid": True}},
        {},
        SpecError,
        ["has no effect"],
    ),
]


@pytest.mark.parametrize(("search", "keys", "error", "words"), FAULTS)
def test_faults_are_one_sentence(
    search: dict[str, Any], keys: dict[str, Any], error: type[SpecError], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        space_of(search, **keys)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


STARTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"prune.step": 3}, ["'prune.step'", "Did you mean 'prune.steps'", "start[0]"]),
    ({"prune.steps": 12}, ["12", "1 to 9"]),
    ({RF("fc1"): 3}, ["= 3", "2 4 8 16"]),
    ({STRATEGY: "latency", RF("fc1"): 4}, ["not searched where"]),
]


@pytest.mark.parametrize(("start", "words"), STARTS)
def test_start_points_outside_the_space_are_refused(
    start: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        space_of({**CONDITIONAL, "prune.steps": {"low": 1, "high": 9}}, start=[start])
    for word in words:
        assert word in str(caught.value)


def test_the_common_reuse_factor_is_valid_for_every_layer() -> None:
    space = space_of({"hardware.reuse_factor": {"valid": True}})
    common = set.intersection(*(set(valid_reuse_factors(*shape)) for shape in LAYERS.values()))
    assert set(space.parameters[0].samples()) == common


#: Layers of more than 4,096 weights: which reuse factors go, by strategy.
TOO_LARGE: dict[str, tuple[tuple[int, int], dict[str, Any], list[int]]] = {
    "dense": ((256, 64), {}, [1, 2]),
    "a convolution of 144 x 64": ((144, 64), {"io_type": "io_stream"}, [1, 2]),
    "unrolled": ((784, 128), {"strategy": "resource"}, [1, 2, 4, 7, 8, 14, 16]),
    "just as large": ((64, 64), {}, []),
    # Its products are partitioned whatever the reuse factor is: the layer is the fault.
    "latency": ((256, 64), {"strategy": "latency"}, []),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_reuse_factors_at_which_the_vendors_tool_stops_are_left_out(case: str) -> None:
    shape, hardware, gone = TOO_LARGE[case]
    search = {RF("fc"): {"valid": True, "high": 64}}
    space = expand(sweep(search, hardware=hardware), {"fc": shape})
    strategy = hardware.get("strategy", "auto")
    known = [rf for rf in valid_reuse_factors(*shape, strategy) if rf <= 64]
    assert list(space.parameters[0].samples()) == [rf for rf in known if rf not in gone]
    assert [", ".join(map(str, gone)) in note for note in space.notes()] == ([True] if gone else [])


def test_a_reuse_factor_that_one_strategy_of_several_can_build_stays() -> None:
    search = {
        STRATEGY: {"choices": ["latency", "resource"]},
        "hardware.reuse_factor": {"valid": True, "low": 4, "high": 8},
    }
    space = expand(sweep(search), {"fc": (256, 64)})
    assert {p.path: p.samples() for p in space.parameters}["hardware.reuse_factor"] == (4, 8)
    assert space.notes() == []


def test_what_is_named_is_searched_though_the_vendors_tool_stops() -> None:
    space = expand(sweep({RF("fc"): {"choices": [1, 4]}}), {"fc": (256, 64)})
    assert space.parameters[0].samples() == (1, 4)


def test_unrolled_above_one_and_latency_at_one_is_allowed() -> None:
    search = {
        STRATEGY: {"choices": ["latency", "resource_unrolled"]},
        "hardware.reuse_factor": {
            "valid": True,
            "low": 2,
            "when": {STRATEGY: "resource_unrolled"},
        },
    }
    drawn = points(space_of(search), 20)
    kinds = {(p[STRATEGY], "hardware.reuse_factor" in p) for p in drawn}
    assert kinds == set(itertools.chain([("latency", False), ("resource_unrolled", True)]))


EXPLORATION = "prune.agent.exploration."
RESOLVED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({**CONDITIONAL, "prune.budget.dsp": {"low": 0.1, "high": 0.9}}, {}),
    ({"seed": {"low": 0, "high": 9}, "estimator": {"choices": ["analytic", "csynth"]}}, {}),
    ({"model.args.hidden": {"low": 4, "high": 9}, RF("*"): {"valid": True}}, {}),
    (
        {
            f"{EXPLORATION}start": {"choices": [0.1, 1.0]},
            f"{EXPLORATION}end": {"choices": [0, 0.5]},
        },
        {"prune": {"agent": {"exploration": {"end": 0.0}}}},
    ),
    ({"prune.steps": {"low": 1, "high": 9}}, {"edge": {"device": "raspberry_pi_4"}}),
    ({"edge.batch_size": {"low": 1, "high": 9}}, {"edge": {"device": "raspberry_pi_4"}}),
]


@pytest.mark.parametrize(("search", "keys"), RESOLVED)
def test_a_point_is_the_trial_of_a_file_with_its_values_written_out(
    search: dict[str, Any], keys: dict[str, Any]
) -> None:
    def outcome(make: Any) -> Any:
        try:
            trial = make()
        except SpecError as error:
            return str(error)
        return trial, trial.key, trial.dense_key, trial.model_fields_set

    spec = sweep(search, **keys)
    space = expand(spec, {} if "edge" in keys else LAYERS)
    refused = 0
    for values in points(space, 30):
        whole = outcome(
            lambda v=values: parse_spec(TrialSpec, merge(trial_values(spec), v), spec.name)
        )
        assert outcome(lambda v=values: space.resolve(spec, v)) == whole
        refused += isinstance(whole, str)
    assert (refused > 0) == (f"{EXPLORATION}start" in search)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 6, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(x)[0][:, -1])


UNITS = ("gru-weight_ih_l0", "gru-weight_hh_l0")
OWN_STRATEGY = "hardware.layers.{}.strategy".format


def recurrent_space(search: dict[str, Any]) -> tuple[SweepSpec, Space]:
    spec = sweep(search)
    return spec, expand(spec, trace(Recurrent(), (5, 4)).sizes("io_parallel"))


@pytest.mark.parametrize("strategies", [None, ["resource", "resource_unrolled"]])
def test_every_point_of_a_recurrent_layer_has_one_strategy_for_both_weights(
    strategies: list[str] | None,
) -> None:
    search: dict[str, Any] = {RF("*"): {"valid": True, "high": 6}}
    if strategies:
        # A reuse factor of 1 is not one of them.
        search[RF("*")]["low"] = 2
        search[OWN_STRATEGY("*")] = {"choices": strategies}
    spec, space = recurrent_space(search)
    paths = [OWN_STRATEGY("gru"), OWN_STRATEGY("out")] if strategies else []
    names = (*UNITS, "out")
    assert {p.path for p in space.parameters} == {*paths, *map(RF, names)}
    seen = set()
    for point in points(space, 40):
        hardware = space.resolve(spec, point).hardware
        planned = plan(trace(Recurrent(), (5, 4)), hardware)
        of_gru = {layer.strategy for layer in planned.layers[:2]}
        assert len(of_gru) == 1
        seen |= of_gru
    assert seen == set(strategies or ["resource_unrolled"])


def test_a_condition_on_the_strategy_of_a_weight_is_on_that_of_its_layer() -> None:
    search = {
        OWN_STRATEGY("*"): {"choices": ["latency", "resource_unrolled"]},
        RF("*"): {"valid": True, "low": 2, "when": {OWN_STRATEGY("*"): "resource_unrolled"}},
    }
    _, space = recurrent_space(search)
    found = {p.path: p.when for p in space.parameters if p.path.endswith("reuse_factor")}
    own = {name: {OWN_STRATEGY("gru"): ("resource_unrolled",)} for name in UNITS}
    own["out"] = {OWN_STRATEGY("out"): ("resource_unrolled",)}
    assert found == {RF(name): when for name, when in own.items()}


@pytest.mark.parametrize("name", ["gru", UNITS[0]])
def test_a_strategy_is_searched_by_the_name_of_the_recurrent_layer(name: str) -> None:
    search = {OWN_STRATEGY(name): {"choices": ["latency", "resource"]}}
    if name == "gru":
        assert [p.path for p in recurrent_space(search)[1].parameters] == [OWN_STRATEGY("gru")]
    else:
        with pytest.raises(SpecError, match=r"share their strategy\. Allowed: .*layers\.gru\."):
            recurrent_space(search)
