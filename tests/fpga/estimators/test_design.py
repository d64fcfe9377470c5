from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import ReuseFactorError, SpecError
from rfprune.fpga.estimators.design import Design, parse_design
from rfprune.spec.yaml_files import read_yaml

DENSE: dict[str, Any] = {
    "name": "fc1",
    "type": "dense",
    "n_in": 16,
    "n_out": 32,
    "strategy": "resource",
    "reuse_factor": 8,
}


def test_a_yaml_file_and_the_same_json_file_are_one_design(tmp_path: Path) -> None:
    yaml_file, json_file = tmp_path / "a.yml", tmp_path / "a.json"
    yaml_file.write_text("part: pynq-z2\nlayers:\n- {name: a, type: fc, n_in: 4, n_out: 2}\n")
    json_file.write_text(
        '{"part": "pynq-z2", "layers": [{"name": "a", "type": "dense", "n_in": 4, "n_out": 2}]}'
    )
    first, second = (parse_design(read_yaml(path)) for path in (yaml_file, json_file))
    assert first == second
    assert first.device.name == "xc7z020"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reuse_factor": 0}, ["reuse_factor", "0"]),
        ({"n_out": 0}, ["n_out", "0"]),
        ({"type": "densee"}, ["densee", "dense"]),
        ({"weight_precision": "fixed<0,0>"}, ["fixed<0,0>", "1 to 64"]),
        (
            {"reuse_facto": 4},
            ["unknown key 'layers.0.reuse_facto'", "Did you mean 'reuse_factor'?"],
        ),
        ({"strategy": "Unrolled"}, ["strategy", "resource_unrolled"]),
        ({"n_in": None}, ["fc1", "n_in"]),
        ({"weights": {"count": 3}}, ["weights", "nnz"]),
        ({"weights": {"count": 512, "nnz": 600}}, ["weights", "nnz 600", "count 512"]),
        ({"weights": {"count": 9, "nnz": 4, "nzz": 4}}, ["layers.0.weights.nzz", "nnz"]),
    ],
)
def test_a_wrong_layer_names_file_key_and_choice(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_design({"layers": [{**DENSE, **change}]}, "net.yml")
    message = str(caught.value)
    assert message.startswith("net.yml: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"part": "xcvu99p"}, "xcvu9p"),
        ({"clock_ns": 0}, "clock_ns"),
        ({"layers": []}, "layers"),
        ({"layers": [DENSE, DENSE]}, "fc1"),
        ({"tool_version": "twenty"}, "tool_version"),
    ],
)
def test_a_wrong_design_names_the_key(change: dict[str, Any], word: str) -> None:
    with pytest.raises(SpecError, match=word):
        parse_design({"layers": [DENSE], **change}, "net.yml")


def test_a_reuse_factor_that_hls4ml_would_round_is_refused_with_its_neighbours() -> None:
    with pytest.raises(
        ReuseFactorError, match=r"net\.yml: fc1: reuse factor 12 .* 8\. Valid: .*16"
    ):
        parse_design({"layers": [{**DENSE, "reuse_factor": 12}]}, "net.yml")


def test_latency_keeps_any_reuse_factor() -> None:
    layer = {**DENSE, "strategy": "latency", "reuse_factor": 12}
    assert parse_design({"layers": [layer]}).layers[0].reuse_factor == 12


def test_unrolled_at_reuse_factor_one_is_resource() -> None:
    design = Design(layers=[{**DENSE, "strategy": "resource_unrolled", "reuse_factor": 1}])
    assert design.strategy_of(design.layers[0]) == "resource"
