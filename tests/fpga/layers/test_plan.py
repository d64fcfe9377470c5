"""The plan: settings per layer, refusals, and what can be dropped."""

from typing import Any

import pytest
from torch import nn

from rfprune.errors import ReuseFactorError, SpecError
from rfprune.fpga.layers import Plan, plan, trace
from rfprune.spec import HardwareSpec


def planned(model: nn.Module, shape: tuple[int, ...], **hardware: Any) -> Plan:
    return plan(trace(model, shape), HardwareSpec.model_validate(hardware))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4))


def test_auto_takes_the_strategy_that_prunes() -> None:
    layers = planned(mlp(), (16,), layers={"_0": {"reuse_factor": 8}}).layers
    assert [(layer.strategy, layer.reuse_factor) for layer in layers] == [
        ("resource_unrolled", 8),
        ("latency", 1),
    ]
    assert [layer.n_multipliers for layer in layers] == [64, 256]


@pytest.mark.parametrize(
    ("strategy", "io_type", "droppable"),
    [
        ("latency", "io_parallel", [True, True]),
        ("resource", "io_parallel", [False, False]),
        ("resource_unrolled", "io_parallel", [False, True]),
        ("resource_unrolled", "io_stream", [True, True]),
    ],
)
def test_droppable_as_in_the_table(strategy: str, io_type: str, droppable: list[bool]) -> None:
    found = planned(
        conv(),
        (1, 6, 6),
        strategy=strategy,
        io_type=io_type,
        layers={"_0": {"reuse_factor": 3}, "_3": {"reuse_factor": 4}},
    )
    assert [layer.droppable for layer in found.layers] == droppable
    assert len(found.notes()) == droppable.count(False)


@pytest.mark.parametrize(
    ("strategy", "io_type", "droppable"),
    [
        ("latency", "io_parallel", [True, True]),
        ("latency", "io_stream", [True, True]),
        ("resource_unrolled", "io_parallel", [False, True]),
        ("resource_unrolled", "io_stream", [True, True]),
    ],
)
def test_linear_on_a_sequence_drops_as_a_convolution(
    strategy: str, io_type: str, droppable: list[bool]
) -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Flatten(), nn.Linear(20, 4))
    found = planned(model, (5, 8), strategy=strategy, io_type=io_type, reuse_factor=4)
    assert [layer.droppable for layer in found.layers] == droppable
    assert len(found.notes()) == droppable.count(False)
    assert all((layer.order == range(layer.layer.n_weights)).all() for layer in found.layers)


def test_types_follow_the_data() -> None:
    found = planned(
        mlp(),
        (16,),
        precision="fixed<12,4>",
        weight_precision="fixed<8,2>",
        layers={"_0": {"precision": "fixed<10,3>"}},
    )
    first, second = found.layers
    assert (str(first.weight), str(first.result), str(first.data)) == (
        "fixed<10,3>",
        "fixed<10,3>",
        "fixed<12,4>",
    )
    assert (str(second.weight), str(second.result), str(second.data)) == (
        "fixed<8,2>",
        "fixed<12,4>",
        "fixed<10,3>",
    )


def test_a_result_is_rounded_once_and_before_it_is_multiplied() -> None:
    model = nn.Sequential(
        nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4), nn.Dropout(), nn.Linear(4, 4), nn.Linear(4, 2)
    )
    own = {"_2": {"precision": "fixed<9,4>"}, "_4": {"precision": "fixed<10,4>"}}
    found = planned(model, (8,), precision="fixed<12,5>", layers=own)
    assert {name: kind and str(kind) for name, kind in found.types.items()} == {
        "input_1": "fixed<12,5>",
        "_0": None,  # the ReLU rounds
        "_1": "fixed<12,5>",
        "_2": "fixed<9,4>",
        "_3": "fixed<9,4>",
        "_4": "fixed<10,4>",
        "_5": None,  # logits
    }
    assert [str(layer.data) for layer in found.layers] == [
        "fixed<12,5>",
        "fixed<12,5>",
        "fixed<9,4>",
        "fixed<10,4>",
    ]


@pytest.mark.parametrize(
    ("hardware", "error", "words"),
    [
        ({"reuse_factor": 24}, ReuseFactorError, "_0: reuse factor 24 .* silently use 16"),
        ({"layers": {"_1": {"reuse_factor": 2}}}, SpecError, "no layer '_1'.* Layers: _0, _2"),
        ({"strategy": "resource_unrolled"}, SpecError, "needs a reuse factor above 1.* from 2 on"),
    ],
)
def test_refused(hardware: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned(mlp(), (16,), **hardware)
