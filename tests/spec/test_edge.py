"""The section `edge`: in place of an FPGA, with quantities and budgets of its own."""

from __future__ import annotations

from typing import Any

import pytest

from rfprune.errors import SpecError
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import parse_spec

EDGE_TRIAL: dict[str, Any] = {
    "model": {"name": "edge_cnn"},
    "data": {"name": "digits_images"},
    "edge": {},
}
SWEEP: dict[str, Any] = {"name": "s", "search": {"seed": {"low": 0, "high": 3}}}
FPGA_TRIAL = {key: value for key, value in EDGE_TRIAL.items() if key != "edge"}


def trial(**changes: Any) -> TrialSpec:
    return parse_spec(TrialSpec, {**EDGE_TRIAL, **changes}, "trial.yml")


def sweep(**changes: Any) -> SweepSpec:
    return parse_spec(SweepSpec, {**EDGE_TRIAL, **SWEEP, **changes}, "sweep.yml")


def test_a_trial_says_only_what_its_device_has() -> None:
    on_edge = trial().canonical()
    assert "hardware" not in on_edge
    assert "estimator" not in on_edge
    on_fpga = parse_spec(TrialSpec, FPGA_TRIAL, "trial.yml").canonical()
    assert "edge" not in on_fpga
    assert TrialSpec.model_validate(on_edge) == trial()


def test_the_budget_is_the_energy_unless_one_is_named() -> None:
    assert trial().prune.budget == {"energy_mj": 0.5}
    assert trial(prune={"budget": {"macs": 0.3}}).prune.budget == {"macs": 0.3}
    assert parse_spec(TrialSpec, FPGA_TRIAL, "t").prune.budget == {"dsp": 0.3}


def test_one_dense_network_serves_all_devices() -> None:
    other = trial(edge={"device": "jetson_nano"})
    assert other.key != trial().key
    assert other.dense_key == trial().dense_key
    assert trial().dense_key == parse_spec(TrialSpec, FPGA_TRIAL, "t").dense_key


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hardware": {}}, "either 'hardware' .* or 'edge'; here both are given"),
        ({"hardware": {"part": "pynq-z2"}}, "here both are given"),
        ({"estimator": "rule4ml"}, "estimator: 'rule4ml' is for an FPGA"),
        ({"prune": {"budget": {"dsp": 0.5}}}, "'dsp' is not a resource of an edge device. .* macs"),
        ({"prune": {"structure": "dsp"}}, "prune.structure: 'dsp' is for an FPGA"),
        ({"prune": {"regularizer": {"priced": True}}}, "regularizer.priced: True is for an FPGA"),
        ({"prune": {"fixed_point": True}}, "prune.fixed_point: True is for an FPGA"),
        ({"prune": {"budget": {"energy_mw": 0.5}}}, "Did you mean 'energy_mj'"),
        ({"edge": {"levels": [0, 0.5, 0.25]}}, "does not ascend from 0"),
        ({"edge": {"levels": [0.25, 0.5]}}, "does not ascend from 0"),
        ({"edge": {"layers": []}}, "must not be empty"),
        ({"edge": {"conditions": {"dark": 1.0}}}, "must be below 1"),
        ({"edge": {"precision": "int4"}}, "must be one of fp32, int8"),
        ({"edge": {"images_per_second": 0}}, "must be above 0"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence) as caught:
        trial(**changes)
    assert "\n" not in str(caught.value)


def test_an_fpga_has_no_energy_budget() -> None:
    with pytest.raises(SpecError, match="'energy_mj' is not a resource of an FPGA"):
        parse_spec(TrialSpec, {**FPGA_TRIAL, "prune": {"budget": {"energy_mj": 0.5}}}, "t.yml")


def test_a_sweep_looks_at_what_its_device_measures() -> None:
    assert sweep().objectives == {"val_accuracy": "max", "energy_mj": "min"}
    assert sweep(objectives={"kernel_sparsity": "max", "macs": "min"}).objectives
    with pytest.raises(SpecError, match="'dsp' is not measured in a trial for an edge device"):
        sweep(objectives={"val_accuracy": "max", "dsp": "min"})
    with pytest.raises(SpecError, match="'lut' is not measured in a trial for an edge device"):
        sweep(constraints=["lut < 5"])
    values = {**FPGA_TRIAL, **SWEEP, "objectives": {"macs": "min"}}
    with pytest.raises(SpecError, match="'macs' is not measured in a trial for an FPGA"):
        parse_spec(SweepSpec, values, "sweep.yml")
